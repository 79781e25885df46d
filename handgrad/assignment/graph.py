"""A forward pass as a notebook writes it, read as a graph: each statement that binds a value is a step."""

import ast
import symtable
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from types import CodeType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from handgrad.errors import UserError
from handgrad.gradients.differences import by_differences
from handgrad.gradients.exercise import Draw
from handgrad.gradients.steps import Graph, Step

Namespace = Mapping[str, Any]  # what a notebook's names stand for: any value


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement of a forward pass: the names it binds and reads, and where it stands.

    `assigns` is whether it is a plain assignment, the only kind of statement that can be a step.
    """

    code: CodeType
    binds: tuple[str, ...]
    reads: tuple[str, ...]  # in the order of the text
    assigns: bool
    where: str  # "cell given_forward, line 3"
    text: str


@dataclass(frozen=True)
class Forward:
    """A forward pass: the statements of its cells, or of the body of the function `function`."""

    statements: tuple[Statement, ...]
    function: str = ""

    @classmethod
    def read(cls, cells: Mapping[str, str]) -> "Forward":
        """Read the cells' texts, by name. Raises UserError where one is no Python, or binds a name twice.

        A cell that ends in the definition of a function gives that function's body.
        """
        found: list[Statement] = []
        function = ""
        for cell, source in cells.items():
            body = parsed(source, cell).body
            if body and isinstance(last := body[-1], ast.FunctionDef):
                function = last.name
                body = [node for node in last.body if not isinstance(node, ast.Return)]
            found += [statement_of(node, cell) for node in body]
        bound: dict[str, str] = {}
        for statement in found:
            for name in statement.binds:
                if name in bound:
                    raise UserError(
                        statement.where,
                        f"`{name}` is bound for a second time, after {bound[name]}",
                        "Give each value of the forward pass a name of its own.",
                    )
                bound[name] = statement.where
        return cls(tuple(found), function)

    def run(self, given: Namespace) -> dict[str, Any]:
        """All names behind the statements, run one after the other behind `given`."""
        namespace = dict(given)
        for statement in self.statements:
            exec(statement.code, namespace)  # the release's own text
        return namespace

    def carried(self, values: Namespace, asked: Collection[str]) -> frozenset[str]:
        """The names that carry a gradient: in torch where autograd follows them; in NumPy what is
        computed from the arrays whose gradients are `asked` for, and these.
        """
        made = {name for statement in self.statements for name in statement.binds}
        read = {name for statement in self.statements for name in statement.reads}
        arrays = {name for name in read & {*asked} - made if is_numpy(values.get(name))}
        for statement in self.statements:
            if arrays & {*statement.reads}:
                arrays |= {name for name in statement.binds if is_numpy(values.get(name))}
        return frozenset(arrays | {n for n in made | read if requires_gradient(values.get(n))})

    def graph(self, values: Namespace, carried: Collection[str], loss: str) -> Graph:
        """The steps on which `loss` rests; `values` are all names behind the forward pass.

        A step is a value that carries a gradient. What carries none (indices, a mask, a random
        upstream gradient) is a constant. Without a name the loss is the last step.
        """
        by_name = {
            name: _step(name, statement, values, carried)
            for statement in self.statements
            for name in statement.binds
            if name in carried
        }
        names = list(by_name)
        if loss not in by_name and names:
            loss = names[-1]
        needed = _ancestors(loss, by_name)
        kept = [step for name, step in by_name.items() if name in needed and name != loss]
        return Graph((*kept, by_name[loss]) if loss in by_name else ())

    def draw(self, graph: Graph, values: Namespace) -> Draw:
        """The leaves as they are drawn, and what else the steps read, in float64, under its own name."""
        made = {step.name for step in graph.steps}
        read = [
            name
            for statement in self.statements
            if made & {*statement.binds}
            for name in statement.reads
        ]
        constants = {
            name: in_double(values[name])
            for name in read
            if name in values and name not in made and name not in graph.leaves
        }
        return Draw(
            {name: as_tensor(values[name]) for name in graph.leaves}, SimpleNamespace(**constants)
        )


def parsed(source: str, cell: str) -> ast.Module:
    """The cell's syntax tree. Raises UserError where it is no Python."""
    try:
        return ast.parse(source)
    except SyntaxError as error:
        raise UserError(
            f"cell {cell}, line {error.lineno}",
            f"this is no Python ({error.msg})",
            "Mend the line.",
        ) from None


def in_double(value: Any) -> Any:
    """A float tensor or array in float64, exactly; anything else as it is."""
    if isinstance(value, Tensor) and value.is_floating_point():
        return value.detach().double()
    return value.astype(np.float64) if is_numpy(value) and isinstance(value, np.ndarray) else value


def as_tensor(value: Any) -> Tensor:
    """The numbers of a tensor, an array, or a single number; of its own type."""
    return value.detach() if isinstance(value, Tensor) else torch.as_tensor(np.array(value))


def in_single(value: Any) -> Any:
    """What `in_double` made, as the notebook has it."""
    return value.float() if isinstance(value, Tensor) and value.dtype is torch.float64 else value


def requires_gradient(value: object) -> bool:
    """Whether autograd follows this value."""
    return isinstance(value, Tensor) and value.is_floating_point() and value.requires_grad


def is_numpy(value: object) -> bool:
    """Whether it is an array of floats, or one of NumPy's single floats."""
    return isinstance(value, np.ndarray | np.generic) and value.dtype.kind == "f"


class InDouble(TorchFunctionMode):
    """Makes float64 of every float32 tensor that a statement makes, exactly: `torch.ones(n)`, `.float()`."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        if type(made) is Tensor and made.dtype is torch.float32:
            return made.double()
        return made


def statement_of(node: ast.stmt, cell: str) -> Statement:
    """What one statement of a cell binds and reads."""
    table = symtable.symtable(ast.unparse(node), cell, "exec")
    free = {*_read(table)}
    reads = [one.id for one in ast.walk(node) if isinstance(one, ast.Name) and one.id in free]
    return Statement(
        compile(ast.Module([node], []), f"<{cell}>", "exec"),
        tuple(symbol.get_name() for symbol in table.get_symbols() if symbol.is_assigned()),
        tuple(dict.fromkeys(reads)),
        isinstance(node, ast.Assign | ast.AnnAssign),
        f"cell {cell}, line {node.lineno}",
        ast.unparse(node),
    )


def _read(table: symtable.SymbolTable) -> Iterator[str]:
    """The names of the notebook that a statement reads, also from within a lambda."""
    for symbol in table.get_symbols():
        if symbol.is_referenced() and (table.get_type() == "module" or symbol.is_global()):
            yield symbol.get_name()
    for child in table.get_children():
        yield from _read(child)


def _step(name: str, statement: Statement, values: Namespace, carried: Collection[str]) -> Step:
    """The step that makes `name`: it executes its own statement, with its inputs put in their places.

    It computes in float64, but where it is handed float32 tensors, in that.
    """
    inputs = tuple(read for read in statement.reads if read in carried)

    def compute_numpy(*arrays_and_constants: Any) -> Any:
        *arrays, constants = arrays_and_constants
        namespace = {**vars(constants), **dict(zip(inputs, arrays, strict=True))}
        exec(statement.code, namespace)  # the release's own text
        return namespace[name]

    def compute(*tensors_and_constants: Any) -> Tensor:
        *tensors, constants = tensors_and_constants
        single = any(tensor.dtype is torch.float32 for tensor in tensors)
        known = {n: in_single(v) for n, v in vars(constants).items()} if single else vars(constants)
        with nullcontext() if single else InDouble():
            namespace = {**known, **dict(zip(inputs, tensors, strict=True))}
            exec(statement.code, namespace)  # the release's own text
        made: Tensor = namespace[name]
        return made

    numpy = is_numpy(values[name])
    return Step(name, inputs, by_differences(compute_numpy) if numpy else compute, statement.where)


def _ancestors(name: str, steps: Mapping[str, Step]) -> set[str]:
    """The name and all steps that it rests on."""
    found: set[str] = set()
    left: Sequence[str] = [name]
    while left:
        found |= {*left}
        left = [i for n in left if n in steps for i in steps[n].inputs if i not in found]
    return found
