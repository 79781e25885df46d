"""The whole course once, from the instructor's notebooks to marks and feedback, with a made-up class.

    python -m demo [FOLDER]      FOLDER is build/demo, and is made anew

Everything happens in a course of its own: your own submissions and gradebook are not touched.
"""

import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table

from demo.classroom import CLASS, make
from handgrad.pages.words import amount, say
from handgrad.store.records import Records
from handgrad.verdict import Report, Verdict

ROOT = Path(__file__).resolve().parents[1]
ASSIGNMENT = "backprop"


STEPS = (
    ("The release, from the instructor's notebooks", "nbgrader generate_assignment"),
    ("A class, each student made by an edit named after it", ""),
    ("Marks, through the sandbox and the hidden graders", "handgrad grade"),
    ("A page for every student", "nbgrader generate_feedback"),
    ("The class at a glance", "handgrad report"),
)


def main(folder: Path) -> int:
    """The exit status: that of the first step that fails, which is also the last one."""
    console = Console()
    began = time.monotonic()
    _course(folder)
    for number, (saying, command) in enumerate(STEPS, 1):
        console.print(f"[bold]{number}. {saying}[/] {command and f'{command} {ASSIGNMENT}'}")
        if not command:
            make(folder, ASSIGNMENT, folder / "submitted")
            continue
        failed = _fails(folder, *command.split(), ASSIGNMENT)
        if failed:
            console.print(failed.stdout, markup=False, highlight=False)
            console.print(f"Step {number} failed with status {failed.returncode}: {command}")
            return failed.returncode
    reports = {record.report.student: record.report for record in Records(folder, ASSIGNMENT).all()}
    if set(reports) != set(CLASS):
        console.print(f"not graded: {', '.join(sorted(set(CLASS) - set(reports)))}")
        return 1
    console.print(_table(reports))
    console.print(f"{time.monotonic() - began:.0f} s. Look next at:")
    for path in (
        folder / "feedback" / "forgot_a_branch" / ASSIGNMENT,
        folder / "reports" / f"{ASSIGNMENT}.html",
        folder / "gradebook.db",
    ):
        console.print(
            f"  {path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}"
        )
    return 0


def _fails(folder: Path, name: str, *words: str) -> subprocess.CompletedProcess[str] | None:
    """What a command of this environment said where it did not end well."""
    done = subprocess.run(
        [Path(sys.executable).with_name(name), *words],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done if done.returncode else None


def _course(folder: Path) -> None:
    """An empty course with this repository's notebooks and graders."""
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    ignore = shutil.ignore_patterns("seed", ".seed*", "__pycache__", ".ipynb_checkpoints")
    for name in ("source", "graders", "data"):
        shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=ignore)
    shutil.copy(ROOT / "nbgrader_config.py", folder)


def _table(reports: dict[str, Report]) -> Table:
    """Student, points by exercise, total, and what stands out."""
    stems = sorted({f.notebook for report in reports.values() for f in report.findings})
    table = Table(title="The demonstration class (written answers wait for a person)")
    table.add_column("student")
    for stem in stems:
        table.add_column(stem.split("_")[0], justify="right")
    table.add_column("total", justify="right")
    table.add_column("what stands out", overflow="fold")
    for student in CLASS:
        report = reports[student]
        table.add_row(
            student,
            *(_points(report, stem) for stem in stems),
            _points(report),
            "; ".join(_stands_out(report)),
        )
    return table


def _points(report: Report, stem: str = "") -> str:
    points = [f.points for f in report.findings if not stem or f.notebook == stem]
    known = sum(p for p in points if p is not None)
    return amount(known) + ("?" if None in points else "")


def _stands_out(report: Report) -> Iterator[str]:
    counts = Counter(finding.verdict for finding in report.findings)
    for verdict in (Verdict.COULD_NOT_TELL, Verdict.WRONG, Verdict.NOT_ATTEMPTED):
        names = [f.name for f in report.findings if f.verdict is verdict]
        if 0 < counts[verdict] <= 3:
            yield f"{verdict}: {', '.join(names)}"
        elif names:
            yield f"{verdict}: {len(names)}"
    if counts[Verdict.RIGHT_STEP]:
        yield f"{counts[Verdict.RIGHT_STEP]} right after a wrong one"
    remarks = {note.code for f in report.findings for note in f.remarks} - {"follow_through"}
    yield from sorted(f"remark: {code.replace('_', ' ')}" for code in remarks)
    for stem, notes in report.problems.items():
        for note in notes:
            yield f"{stem}: {say(note, 'en')}"
    if report.integrity:
        yield f"{len(report.integrity)} on the integrity list"


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else ROOT / "build" / "demo"))
