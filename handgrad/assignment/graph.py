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

from handgrad.assignment.loops import Held, Loop, loop_of
from handgrad.errors import UserError
from handgrad.gradients.differences import by_differences
from handgrad.gradients.exercise import Draw
from handgrad.gradients.steps import Graph, Step

Namespace = Mapping[str, Any]  # what a notebook's names stand for: any value


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement of a forward pass: the names it binds and reads, and where it stands.

    `assigns` is whether it is a plain assignment; no other statement can be a step, but a `loop` that
    fills lists.
    """

    code: CodeType
    binds: tuple[str, ...]
    reads: tuple[str, ...]  # in the order of the text
    assigns: bool
    where: str  # "cell given_forward, line 3"
    text: str
    loop: Loop | None = None

    @property
    def makes(self) -> tuple[str, ...]:
        """The names that it binds, and the lists that it fills."""
        return (*self.binds, *(self.loop.fills if self.loop else ()))


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
            found += [statement_of(one, cell) for node in body for one in _single(node)]
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
        made = {*self.made}
        read = {name for statement in self.statements for name in statement.reads}
        arrays = {name for name in read & {*asked} - made if is_numpy(values.get(name))}
        for statement in self.statements:
            if arrays & {*statement.reads}:
                arrays |= {n for n in statement.makes if is_numpy(self._entry(n, values))}
        followed = {n for n in made | read if requires_gradient(self._entry(n, values))}
        return frozenset(arrays | followed)

    @property
    def made(self) -> tuple[str, ...]:
        """All names that the statements make, lists that loops fill too, in their order."""
        return tuple(name for statement in self.statements for name in statement.makes)

    @property
    def last(self) -> str:
        """The name that the last statement binds: the loss, where nothing else is said."""
        return self.statements[-1].binds[0]

    @property
    def lists(self) -> frozenset[str]:
        """The lists that loops fill."""
        return frozenset(n for s in self.statements if s.loop for n in s.loop.fills)

    def _entry(self, name: str, values: Namespace) -> Any:
        """A value; of a list that a loop fills, its last entry."""
        value = values.get(name)
        return value[-1] if name in self.lists and isinstance(value, list) and value else value

    def graph(self, values: Namespace, carried: Collection[str], loss: str) -> Graph:
        """The steps on which `loss` rests; `values` are all names behind the forward pass.

        A step is a value that carries a gradient. What carries none (indices, a mask, a random
        upstream gradient) is a constant. Without a name the loss is the last step.
        """
        by_name: dict[str, Step] = {}
        for statement in self.statements:
            for name in statement.makes:
                if name in carried and (name not in self.lists or statement.loop):
                    by_name[name] = self._step(name, statement, values, carried)
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
            if made & {*statement.makes}
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

    def _step(
        self, name: str, statement: Statement, values: Namespace, carried: Collection[str]
    ) -> Step:
        """The step that makes `name`: it executes its own statement, with its inputs in their places.

        A list's step executes its loop, in which all that is read of the list is in its place too.
        """
        loop, starts = statement.loop, list[Statement]()
        reads: Sequence[str] = statement.reads
        if loop is not None:
            starts = [s for s in self.statements if {*s.binds} & {*loop.fills}]
            own = [s for s in starts if name in s.binds]
            reads = tuple(dict.fromkeys([*(n for s in own for n in s.reads), *loop.fills[name]]))
        inputs = tuple(read for read in reads if read in carried)

        def run(namespace: dict[str, Any]) -> Any:
            namespace |= {n: list(namespace[n]) for n in inputs if n in self.lists}
            held = {n: namespace[n] for n in inputs if loop and n in loop.fills}
            for start in starts:
                exec(start.code, namespace)  # the release's own text
            for list_name, entries in held.items():
                namespace[list_name] = Held(namespace[list_name], entries)
            exec(statement.code, namespace)
            made = namespace[name]
            return made.made if isinstance(made, Held) else made

        numpy = is_numpy(self._entry(name, values))
        compute = by_differences(_of_arrays(run, inputs)) if numpy else _of_tensors(run, inputs)
        return Step(name, inputs, compute, statement.where, loop is not None)


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
    """The numbers of a tensor, an array, a single number, or a list of these; of their own type."""
    if isinstance(value, list):
        return torch.stack([as_tensor(entry) for entry in value])
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
    """What one statement of a cell binds and reads; of a loop that fills lists, the names of its own
    are not counted.
    """
    loop = loop_of(node, cell)
    table = symtable.symtable(ast.unparse(node), cell, "exec")
    free = {*_read(table)}
    reads = [one.id for one in ast.walk(node) if isinstance(one, ast.Name) and one.id in free]
    return Statement(
        compile(ast.Module([node], []), f"<{cell}>", "exec"),
        () if loop else tuple(s.get_name() for s in table.get_symbols() if s.is_assigned()),
        tuple(name for name in dict.fromkeys(reads) if loop is None or name not in loop.own),
        isinstance(node, ast.Assign | ast.AnnAssign),
        f"cell {cell}, line {node.lineno}",
        ast.unparse(node),
        loop,
    )


def _single(node: ast.stmt) -> list[ast.stmt]:
    """`a, b = x, y` as two statements, so that each name is seen to rest on its own."""
    match node:
        case ast.Assign([ast.Tuple(names)], ast.Tuple(values)) if len(names) == len(values):
            pairs = zip(names, values, strict=True)
            return [ast.copy_location(ast.Assign([name], value), node) for name, value in pairs]
    return [node]


def _read(table: symtable.SymbolTable) -> Iterator[str]:
    """The names of the notebook that a statement reads, also from within a lambda."""
    for symbol in table.get_symbols():
        if symbol.is_referenced() and (table.get_type() == "module" or symbol.is_global()):
            yield symbol.get_name()
    for child in table.get_children():
        yield from _read(child)


def _of_arrays(run: Callable[[dict[str, Any]], Any], inputs: Sequence[str]) -> Callable[..., Any]:
    def compute(*arrays_and_constants: Any) -> Any:
        *arrays, constants = arrays_and_constants
        return run({**vars(constants), **dict(zip(inputs, arrays, strict=True))})

    return compute


def _of_tensors(
    run: Callable[[dict[str, Any]], Any], inputs: Sequence[str]
) -> Callable[..., Tensor]:
    """It computes in float64, but where it is handed float32 tensors, in that."""

    def compute(*tensors_and_constants: Any) -> Tensor:
        *tensors, constants = tensors_and_constants
        known = vars(constants)
        single = any(_is_single(value) for value in (*tensors, *known.values()))
        known = {n: in_single(v) for n, v in known.items()} if single else known
        with nullcontext() if single else InDouble():
            made = run({**known, **dict(zip(inputs, tensors, strict=True))})
            return torch.stack(made) if isinstance(made, list) else made

    return compute


def _is_single(value: object) -> bool:
    return isinstance(value, Tensor) and value.dtype is torch.float32


def _ancestors(name: str, steps: Mapping[str, Step]) -> set[str]:
    """The name and all steps that it rests on."""
    found: set[str] = set()
    left: Sequence[str] = [name]
    while left:
        found |= {*left}
        left = [i for n in left if n in steps for i in steps[n].inputs if i not in found]
    return found
