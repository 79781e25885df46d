"""Whether two expressions say the same thing in other words: `1/n*x.sum(0)` and `x.sum(dim=0)/n`."""

import ast
from collections.abc import Callable, Mapping
from itertools import chain
from typing import TypeAlias

Form: TypeAlias = "tuple[Form | str | float, ...]"
Numbers = Mapping[float, Form]

# What makes data of its own. A slice that reaches one of these has not understood its input.
DRAWS = frozenset({"randint", "randn", "rand", "random", "randperm", "manual_seed", "seed"})
DRAWS |= {"Generator", "open", "read_csv", "urlopen"}

_FUNCTION_MODULES = frozenset({"torch", "F", "functional", "nn", "np", "math", "special", "linalg"})
_RENAMED = {
    "reshape": "view",
    "view_as": "view",
    "flatten": "view",
    "t": "T",
    "matmul": "@",
    "mm": "@",
}
_AXES = frozenset({"dim", "axis"})
# The axis is the first argument after the tensor, keepdim the second.
_REDUCTIONS = frozenset(
    {"sum", "mean", "max", "amax", "var", "std", "softmax", "log_softmax", "argmax"}
)


def form(node: ast.expr, names: Mapping[str, str], numbers: Numbers | None = None) -> Form:
    """What is left of an expression without the ways of writing it.

    A sum and a product do not mind their order, a quotient is a power, `torch.exp(x)` is `x.exp()`,
    `dim=0` is the first argument, `keepdims` is `keepdim`, and the shape given to a view is not read.
    `names` says which name stands for which, `numbers` which number stands for a name.
    """
    return _Reader(names, numbers or {}).read(node)


class _Reader:
    def __init__(self, names: Mapping[str, str], numbers: Numbers) -> None:
        self.names = names
        self.numbers = numbers

    def read(self, node: ast.expr) -> Form:
        match node:
            case ast.Constant(int() | float() as value) if not isinstance(value, bool):
                number = float(min(value, 1e300))  # a whole number may be too long for a float
                return self.numbers.get(number, ("number", number))
            case ast.Constant(value):
                return ("constant", repr(value))
            case ast.Name(name):
                return ("name", self.names.get(name, name))
            case ast.UnaryOp(ast.USub(), operand):
                return _product([("number", -1.0), self.read(operand)])
            case ast.UnaryOp(ast.UAdd(), operand):
                return self.read(operand)
            case ast.BinOp():
                return self._operation(node)
            case ast.Subscript(value=owner, slice=index):
                picked = self.read(owner)
                if picked[:2] == ("call", "max") and self.read(index) == ("number", 0.0):
                    return ("attribute", "values", picked)
                return ("item", picked, self.read(index))
            case ast.Attribute(value=owner, attr=attribute):
                return ("attribute", attribute, self.read(owner))
            case ast.Call():
                return self._call(node)
            case ast.Tuple(elements) | ast.List(elements):
                return ("tuple", *map(self.read, elements))
            case ast.Slice():
                return ("slice", ast.dump(node))
        return ("other", ast.dump(node))

    def _operation(self, node: ast.BinOp) -> Form:
        left, right = self.read(node.left), self.read(node.right)
        match node.op:
            case ast.Add():
                return _sum([left, right])
            case ast.Sub():
                return _sum([left, _product([("number", -1.0), right])])
            case ast.Mult():
                return _product([left, right])
            case ast.Div():
                return _product([left, _power(right, ("number", -1.0))])
            case ast.Pow():
                return _power(left, right)
            case ast.MatMult():
                return ("@", left, right)
        return ("operation", type(node.op).__name__, left, right)

    def _call(self, node: ast.Call) -> Form:
        match node.func:
            case ast.Attribute(value=owner, attr=method):
                module = owner.attr if isinstance(owner, ast.Attribute) else None
                module = owner.id if isinstance(owner, ast.Name) else module
                arguments = list(node.args)
                if module in _FUNCTION_MODULES:
                    if not arguments:
                        return ("call", method)
                    owner, *arguments = arguments
            case ast.Name(method):
                return ("call", method, *map(self.read, node.args))
            case _:
                return ("other", ast.dump(node))
        on = self.read(owner)
        method = _RENAMED.get(method, method)
        if method == "view":
            return ("view", on)
        if method == "T":
            return ("attribute", "T", on)
        if method == "@" and arguments:
            return ("@", on, self.read(arguments[0]))
        if method in _UNARY:
            return _UNARY[method](on)
        if method == "pow" and arguments:
            return _power(on, self.read(arguments[0]))
        return self._method(method, on, arguments, node.keywords)

    def _method(
        self, method: str, on: Form, arguments: list[ast.expr], keywords: list[ast.keyword]
    ) -> Form:
        options: dict[str, Form] = {}
        for keyword in keywords:
            name = "dim" if keyword.arg in _AXES else str(keyword.arg)
            if name != "generator":
                options[name.replace("keepdims", "keepdim")] = self.read(keyword.value)
        if method in _REDUCTIONS:
            for name, argument in zip(("dim", "keepdim"), arguments, strict=False):
                options.setdefault(name, self.read(argument))
            arguments = []
        for default, value in (("unbiased", "True"), ("correction", "1"), ("dtype", "None")):
            if options.get(default) in (("constant", value), ("number", 1.0)):
                del options[default]
        if method == "amax":
            return ("attribute", "values", ("call", "max", on, *sorted(options.items())))
        return ("call", method, on, *map(self.read, arguments), *sorted(options.items()))


def _parts(kind: str, form: Form) -> list[Form]:
    """The terms of a sum, the factors of a product; the form itself where it is none."""
    return [part for part in form[1:] if isinstance(part, tuple)] if form[0] == kind else [form]


def _sum(terms: list[Form]) -> Form:
    return ("sum", *sorted((part for term in terms for part in _parts("sum", term)), key=repr))


def _product(factors: list[Form]) -> Form:
    number = 1.0
    rest: list[Form] = []
    for factor in chain.from_iterable(_parts("product", each) for each in factors):
        if factor[0] == "number" and isinstance(factor[1], float):
            number *= factor[1]
        else:
            rest.append(factor)
    if number != 1.0 or not rest:
        rest.append(("number", number))
    return rest[0] if len(rest) == 1 else ("product", *sorted(rest, key=repr))


def _power(base: Form, exponent: Form) -> Form:
    match base:
        case ("number", float(value)) if exponent == ("number", -1.0) and value:
            return ("number", 1.0 / value)
        case ("product", *_):
            return _product([_power(factor, exponent) for factor in _parts("product", base)])
        case ("power", tuple() as inner, tuple() as first):
            return _power(inner, _product([first, exponent]))
    return ("power", base, exponent)


_UNARY: Mapping[str, Callable[[Form], Form]] = {
    "exp": lambda x: ("exp", x),
    "log": lambda x: ("log", x),
    "tanh": lambda x: ("tanh", x),
    "sqrt": lambda x: _power(x, ("number", 0.5)),
    "rsqrt": lambda x: _power(x, ("number", -0.5)),
    "square": lambda x: _power(x, ("number", 2.0)),
    "reciprocal": lambda x: _power(x, ("number", -1.0)),
    "neg": lambda x: _product([("number", -1.0), x]),
}
