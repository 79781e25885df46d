"""A batch as a person watches it: a bar while it runs, and what to know when it has ended."""

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from handgrad.batch.run import Result, Summary, Watcher
from handgrad.errors import UserError


class Bar(Watcher):
    """Draws a bar on `console`; enter it for the time of the batch."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._open = self._failed = self._done = 0
        self._progress = Progress(
            TextColumn("grading"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[told]}"),
            TimeRemainingColumn(),
            console=console,
        )
        self._task = self._progress.add_task("", total=None, told="")

    def __enter__(self) -> "Bar":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def begin(self, due: int, standing: int) -> None:
        self._progress.update(self._task, total=due)
        if standing:
            self.note(f"{standing} graded before, and unchanged since")

    def graded(self, one: Result) -> None:
        self._open += one.open
        self._step()
        if one.open:
            self.note(f"{one.student}: the graders could not tell everywhere; a person has to look")

    def failed(self, student: str, error: UserError) -> None:
        self._failed += 1
        if self._progress.tasks[0].total is not None:  # one of those that are due
            self._step()
        said = str(error) if error.where != student else f"{error.fact}. {error.cure}"
        self._console.print(f"[red]{escape(student)}[/]: {escape(said)}", highlight=False)

    def note(self, text: str) -> None:
        self._console.print(escape(text), highlight=False)

    def _step(self) -> None:
        self._done += 1
        rate = self._progress.tasks[0].speed
        told = [f"{rate:.1f}/s" if rate else ""]
        told += [f"{self._failed} failed"] if self._failed else []
        told += [f"{self._open} could not tell"] if self._open else []
        self._progress.update(self._task, advance=1, told=", ".join(filter(None, told)))


def tell(console: Console, summary: Summary, assignment: str) -> None:
    """What was done, who changed and by how much, and what now."""
    rate = summary.graded / summary.seconds if summary.seconds else 0.0
    console.print(
        f"{summary.graded} graded in {summary.seconds:.1f} s ({rate:.1f} a second), "
        f"{summary.standing} stood, {len(summary.failed)} failed.",
        highlight=False,
    )
    for one in summary.changed:
        console.print(f"{escape(one.student)} changed:", highlight=False)
        for change in one.changes:
            console.print(
                f"  {change.notebook} {change.name}: {_points(change.before)} "
                f"-> {_points(change.now)}",
                highlight=False,
            )
    if summary.left:
        console.print(
            f"{summary.left} are still due: run `handgrad grade {assignment}` again to go on."
        )
    elif summary.open:
        console.print(
            f"{len(summary.open)} need a person: `handgrad report {assignment}` lists them."
        )


def as_json(summary: Summary) -> dict[str, object]:
    """The same for programs."""
    return {
        "graded": summary.graded,
        "standing": summary.standing,
        "left": summary.left,
        "seconds": round(summary.seconds, 3),
        "open": summary.open,
        "failed": {
            student: {"where": error.where, "fact": error.fact, "cure": error.cure}
            for student, error in summary.failed.items()
        },
        "changed": [
            {
                "student": one.student,
                "gradients": [
                    {"notebook": c.notebook, "name": c.name, "before": c.before, "now": c.now}
                    for c in one.changes
                ],
            }
            for one in summary.changed
        ],
    }


def _points(points: float | None) -> str:
    return "?" if points is None else f"{points:g}"
