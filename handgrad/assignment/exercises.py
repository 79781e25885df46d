"""The exercises of an assignment: each is its released notebook, read."""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

from handgrad.assignment.declared import Declared
from handgrad.assignment.givencells import Families, GivenCell, GivenCells
from handgrad.assignment.graph import Forward, Namespace, as_tensor, parsed
from handgrad.assignment.refusals import refuse, refuse_cells
from handgrad.errors import UserError
from handgrad.gradients.compare import TOLERANCE, largest
from handgrad.gradients.exercise import Draw, Exercise, Files, Mistake, Parameters, Target
from handgrad.notebooks.notebooknode import NotebookNode

TAG = "forward"
_TEST = "test_"


class Exercises(Mapping[str, Exercise]):
    """By notebook stem; an exercise is made when it is first asked for, since given cells take time."""

    def __init__(
        self,
        release: Path,
        notebooks: Mapping[str, NotebookNode],
        declared: Mapping[str, Declared],
        mistakes: Mapping[str, tuple[Mistake, ...]],
    ) -> None:
        """`declared` has the notebooks that are exercises; `release` is the folder they lie in."""
        self._release = release
        self._notebooks = notebooks
        self._declared = declared
        self._mistakes = mistakes
        self._families: Families = {}
        self._made: dict[str, Exercise] = {}

    def __getitem__(self, stem: str) -> Exercise:
        if stem not in self._made:
            declared = self._declared[stem]
            file = self._release / f"{stem}.ipynb"
            cells = GivenCells(self._notebooks[stem], file, self._families)
            made = Read(cells, declared).exercise(self._mistakes.get(stem, ()))
            self._made[stem] = made
        return self._made[stem]

    def __iter__(self) -> Iterator[str]:
        return iter(self._declared)

    def __len__(self) -> int:
        return len(self._declared)


def has_forward(notebook: NotebookNode) -> bool:
    """Whether a released notebook has a cell tagged `forward`."""
    return any(TAG in cell.metadata.get("tags", ()) for cell in notebook.cells)


class Read:
    """One notebook as it is read: its forward pass, its draws, what it asks for."""

    def __init__(self, cells: GivenCells, declared: Declared) -> None:
        """Runs the given cells once. Raises UserError where they cannot be used."""
        self.cells = cells
        self.declared = declared
        refuse_cells(cells)
        self.forward = Forward.read({cell.name: cell.source for cell in cells.tagged(TAG)})
        # A function is called by given cells behind the answer, each call at a draw of its own.
        self.until = cells.first("test") if self.forward.function else cells.first("answer", "test")
        ran = cells.run(declared.parameters, self.until, self.forward.function)
        if self.forward.function and not ran.calls:
            raise UserError(
                f"cell {cells.tagged(TAG)[-1].name}",
                f"no given cell before the first test cell calls `{self.forward.function}`",
                "Call it in a given cell: each call is a draw.",
            )
        self.public = {**ran.public, **declared.parameters}
        self._several = len(ran.calls) > 1
        self.values = self._values(ran.namespace, ran.calls[0] if ran.calls else {})
        self.tests = {cell.name.removeprefix(_TEST): cell for cell in cells.tests}
        asked = {variable.removeprefix("d") for variable in self.tests if variable[0] == "d"}
        self.carried = self.forward.carried(self.values, asked)
        self.graph = self.forward.graph(self.values, self.carried, self._loss())

    def exercise(self, mistakes: tuple[Mistake, ...]) -> Exercise:
        """The exercise. Raises UserError where the notebook cannot be one."""
        refuse(self, mistakes)
        names = {"d" + name: name for name in self.graph.backward_order()}
        return Exercise(
            self.graph,
            tuple(names[variable] for variable in self.tests if variable in names),
            self._draws,
            self.public,
            self.declared.runs,
            stacked=self._several,
            either=self.declared.either,
            functions=any(self._is_function(cell) for cell in self.cells.cells),
            more=self._targets,
            mistakes=mistakes,
            axes=self.declared.axes,
            shortened=tuple(self.declared.parameters),
            holds=self._holds,
        )

    def _values(self, namespace: Namespace, call: Namespace) -> Namespace:
        """All names behind the forward pass: those of its cells, or those within its function."""
        if not self.forward.function:
            return namespace
        return self.forward.run({**namespace, **call})

    def _loss(self) -> str:
        """What a given cell calls `backward` on."""
        for cell in self.cells.cells:
            for node in ast.walk(parsed(cell.source, cell.name)):
                match node:
                    case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr="backward")):
                        return name
        return ""

    def _is_function(self, cell: GivenCell) -> bool:
        """Whether a cell asks for the definition of a function."""
        if cell.kind != "answer" or cell.name in self.tests:
            return False
        body = parsed(cell.source, cell.name).body
        return any(isinstance(node, ast.FunctionDef) for node in body)

    def _draws(self, parameters: Parameters, _files: Files) -> list[Draw]:
        ran = self.cells.run(parameters, self.until, self.forward.function)
        each = [self._values(ran.namespace, call) for call in ran.calls or ({},)]
        return [self.forward.draw(self.graph, values) for values in each]

    def _holds(self, parameters: Parameters, condition: str) -> bool:
        """Whether an author's words are true of what is drawn before the forward pass."""
        before = self.cells.cells.index(self.cells.tagged(TAG)[0])
        try:
            return bool(eval(condition, dict(self.cells.run(parameters, before).namespace)))
        except Exception as error:
            raise UserError(
                f"{self.cells.file.name}, `holds`",
                f"{condition!r} raises {type(error).__name__}: {error}",
                "Use names of the given cells above the forward pass.",
            ) from None

    def _targets(self, parameters: Parameters, _files: Files) -> dict[str, Target]:
        """Of the variables that are no gradients: what their test cells compare them with."""
        names = {"d" + name for name in self.graph.backward_order()}
        wanted = {v: _wanted(cell) for v, cell in self.tests.items() if v not in names}
        if not wanted:
            return {}
        last = max(self.cells.cells.index(self.tests[variable]) for variable in wanted)
        namespace = self.cells.run(parameters, last).namespace
        found = {}
        for variable, name in wanted.items():
            if name not in namespace:
                raise UserError(
                    f"cell {self.tests[variable].name}, line 1",
                    f"it compares with `{name}`, which no given cell above binds",
                    "Compute it in a given cell.",
                )
            want = as_tensor(namespace[name]).double()
            tolerance = self.declared.tolerance.get(variable, TOLERANCE)
            found[variable] = Target(want, largest(want), tolerance)
        return found


def _wanted(cell: GivenCell) -> str:
    """The variable that a test cell hands to `cmp` as what is wanted."""
    for node in ast.walk(parsed(cell.source, cell.name)):
        match node:
            case ast.keyword(arg="want", value=ast.Name(id=name)):
                return name
    raise UserError(
        f"cell {cell.name}",
        f"it asks for `{cell.name.removeprefix(_TEST)}`, which is no gradient of the forward pass",
        "Correct the cell's id, or say there what is wanted: cmp('name', name, want=other).",
    )
