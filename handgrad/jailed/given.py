"""The given leading cells of every notebook, run once before any student's code is near."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType

from handgrad.jailed.attempts import Attempts
from handgrad.jailed.cellcode import CellCode, compiled, know_lines, shows_nothing
from handgrad.jailed.outputs import Output, Outputs, describe, show_figures
from handgrad.jailed.shell import Shell, use
from handgrad.jailed.snapshot import Snapshot
from handgrad.limits import Limits
from handgrad.plan import Cell, Plan


class GivenCellFailedError(Exception):
    """The course's own text does not run: nothing can be graded."""


@dataclass(frozen=True, slots=True)
class Start:
    """What a run begins with: the state after the given leading cells, and what each of them showed."""

    snapshot: Snapshot
    shown: Sequence[Sequence[Output]]


@dataclass(frozen=True, slots=True)
class Given:
    """The state that each run of one notebook's plan starts from, by key of the run."""

    module: ModuleType
    starts: Mapping[str, Start]


@dataclass(frozen=True, slots=True)
class _Family:
    """Notebooks with the same text before their parameters share one namespace up to there."""

    module: ModuleType
    snapshot: Snapshot
    shown: Sequence[Sequence[Output]]


class GivenCells:
    """Runs given cells: those before the parameters once for all notebooks that have the same text
    there, the others once for each set of parameters.
    """

    def __init__(self, shell: Shell, attempts: Attempts, limits: Limits) -> None:
        self._shell = shell
        self._attempts = attempts
        self._limits = limits
        self._families: dict[tuple[str, ...], _Family] = {}
        self._codes: dict[tuple[int, str], CellCode] = {}

    def prepare(self, plan: Plan, cells: Sequence[Cell]) -> Given:
        """Run them for every run of the plan. Raises GivenCellFailedError where one raises."""
        self._attempts.kinds = {cell.index: cell.kind for cell in cells}
        know_lines(cells)
        codes = [self._compiled(cell) for cell in cells]
        at = next((i for i, cell in enumerate(cells) if cell.parameters), len(cells))
        family = self._family(plan.notebook, codes[:at])
        use(self._shell, family.module)
        made: dict[tuple[tuple[str, float], ...], Start] = {}
        starts: dict[str, Start] = {}
        for run in plan.runs:
            key = tuple(sorted(run.parameters.items()))
            if key not in made:
                namespace = family.snapshot.restore(family.module)
                shown = list(family.shown)
                for code in codes[at:]:
                    shown.append(self._run(plan.notebook, code))
                    if code.cell.parameters:
                        namespace.update(run.parameters)
                made[key] = Start(Snapshot(namespace), shown)
            starts[run.key] = made[key]
        return Given(family.module, starts)

    def _compiled(self, cell: Cell) -> CellCode:
        key = cell.index, cell.source
        if key not in self._codes:
            self._codes[key] = compiled(cell)
        return self._codes[key]

    def _family(self, notebook: str, codes: Sequence[CellCode]) -> _Family:
        key = tuple(code.cell.source for code in codes)
        if key not in self._families:
            module = ModuleType("__main__")
            use(self._shell, module)
            shown = [self._run(notebook, code) for code in codes]
            self._families[key] = _Family(module, Snapshot(vars(module)), shown)
        return self._families[key]

    def _run(self, notebook: str, code: CellCode) -> list[Output]:
        outputs = Outputs(self._limits.output_kib << 10)
        self._shell.show(outputs)
        try:
            value = code.execute(self._shell.user_ns)
            if value is not None and not shows_nothing(code.cell.source):
                outputs.data("execute_result", *self._shell.shown(value))
            show_figures(outputs)
        except Exception as error:
            name, text = describe(error)
            raise GivenCellFailedError(
                f"given cell {code.cell.index} of {notebook} raised {name}: {text}"
            ) from error
        finally:
            self._shell.show(None)
        return outputs.finish()
