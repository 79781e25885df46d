"""The `handgrad` command: words in, one exit status out; every sub-command is a few lines."""

import argparse
import gc
import json
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from handgrad import __version__, atomic
from handgrad.errors import LostError, UserError
from handgrad.sandbox.launch import SANDBOXES, SETTING

if TYPE_CHECKING:
    from handgrad.batch.dask_cluster import Cluster
    from handgrad.sandbox.doctor import Check


FORMATS = ("json", "junit", "github", "gradescope", "prairielearn")
_NOT_DONE = 2  # with a format 1 says that an answer is wrong


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 if it did what was asked, 1 if a person has something to mend."""
    options = _parser().parse_args(arguments)
    if getattr(options, "sandbox", None):
        os.environ[SETTING] = options.sandbox  # for the processes that grade, too
    try:
        return int(options.run(options))
    except UserError as error:
        print(f"handgrad: {error}", file=sys.stderr)
        return _NOT_DONE if getattr(options, "format", "") else 1
    except LostError as error:
        print(f"handgrad: {error}. Run the same command again", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("handgrad: stopped. Run the same command again to go on", file=sys.stderr)
        return 130


def command() -> NoReturn:
    """The command as a program of its own."""
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    if "torch" in sys.modules:
        os._exit(status)  # all is written and closed; torch would tidy up for half a second
    sys.exit(status)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="handgrad", description="Grade gradients written by hand, one step at a time."
    )
    parser.add_argument("--version", action="version", version=f"handgrad {__version__}")
    commands = parser.add_subparsers(required=True, metavar="command")

    check = commands.add_parser("check", help="grade one notebook or folder, without a gradebook")
    check.add_argument("notebook", type=Path, help="a notebook, or a submission's folder")
    check.add_argument("--assignment", default="", help="of which the folder is a submission")
    check.add_argument(
        "--format",
        choices=FORMATS,
        help="print this, and exit with 0 (all right), 1 (something wrong) or 2 (could not tell)",
    )
    check.add_argument("--output", type=Path, metavar="FILE", help="write that to FILE instead")
    check.add_argument("--html", type=Path, metavar="FILE", help="write a page to FILE")
    _add_course(check)
    _add_no_sandbox(check)
    _add_sandbox(check)
    check.set_defaults(run=_check)

    watch = commands.add_parser("watch", help="judge a notebook or folder at every save")
    watch.add_argument("notebook", type=Path, help="a notebook, or a submission's folder")
    watch.add_argument("--assignment", default="", help="of which the folder is a submission")
    watch.add_argument("--no-browser", action="store_true", help="do not open the page")
    _add_course(watch)
    _add_no_sandbox(watch)
    _add_sandbox(watch)
    watch.set_defaults(run=_watch)

    grade = commands.add_parser("grade", help="grade the submissions that are due")
    grade.add_argument("assignment")
    grade.add_argument("--student", action="append", default=[], help="only this one; repeatable")
    where = grade.add_mutually_exclusive_group()
    where.add_argument("--jobs", type=_at_least_one, default=0, help="processes (default: cores)")
    where.add_argument("--dask", metavar="ADDRESS", help="mark on this dask.distributed cluster")
    grade.add_argument(
        "--trusted-network",
        action="store_true",
        help="with --dask: nobody else is on that network, who could read the seed and run programs",
    )
    grade.add_argument("--force", action="store_true", help="also what is graded and unchanged")
    grade.add_argument("--json", action="store_true", help="print one JSON object")
    _add_course(grade)
    _add_sandbox(grade)
    grade.set_defaults(run=_grade)

    report = commands.add_parser("report", help="the class at a glance, from what is stored")
    report.add_argument("assignment")
    report.add_argument("--csv", type=Path, metavar="FILE", help="also write the marks to FILE")
    report.add_argument("--json", action="store_true", help="print the report as JSON")
    _add_course(report)
    report.set_defaults(run=_report)

    doctor = commands.add_parser("doctor", help="say whether this machine can grade")
    doctor.add_argument("--json", action="store_true", help="print one JSON list")
    _add_course(doctor)
    _add_sandbox(doctor)
    doctor.set_defaults(run=_doctor)

    take = commands.add_parser("import", help="hand in a lecture's own notebook for a student")
    take.add_argument("notebook", type=Path)
    take.add_argument("--student", required=True)
    take.add_argument("--assignment", default="backprop")
    _add_course(take)
    take.set_defaults(run=_import)

    roster = commands.add_parser("roster", help="enter a CSV file of students into the gradebook")
    roster.add_argument("file", type=Path)
    _add_course(roster)
    roster.set_defaults(run=_roster)

    pack = commands.add_parser("pack", help="make what another platform grades with")
    pack.add_argument("platform", choices=["gradescope"])
    pack.add_argument("assignment")
    pack.add_argument("--output", type=Path, metavar="FILE", default=Path("autograder.zip"))
    _add_course(pack)
    pack.set_defaults(run=_pack)

    restore = commands.add_parser("restore", help="put a copy of the gradebook back")
    restore.add_argument("copy", type=Path, nargs="?", help="default: the newest sound one")
    _add_course(restore)
    restore.set_defaults(run=_restore)

    fresh = commands.add_parser(
        "new", help="make an assignment from a forward pass and its solution"
    )
    fresh.add_argument("assignment")
    fresh.add_argument(
        "--from",
        dest="cells",
        type=Path,
        required=True,
        metavar="FILE",
        help="cells.py or a notebook",
    )
    _add_course(fresh)
    fresh.set_defaults(run=_new)

    own = commands.add_parser("selfcheck", help="let an assignment prove what it says of itself")
    own.add_argument("assignment")
    own.add_argument("--matrix", type=Path, help="write mistakes made against mistakes named here")
    _add_course(own)
    own.set_defaults(run=_selfcheck)
    return parser


def _add_no_sandbox(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--no-sandbox",
        action="store_true",
        help="run the notebook without the sandbox: only for one that you vouch for",
    )


def _add_sandbox(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--sandbox",
        choices=SANDBOXES,
        help=f"default: what {SETTING} names, else the first that works here",
    )


def _add_course(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--course", type=Path, default=None, help="the course's folder (default: found from here)"
    )


def find_course(start: Path) -> Path | None:
    """The course that a folder lies in: the nearest one above with graders and nbgrader's settings."""
    for folder in (start, *start.parents):
        if (folder / "nbgrader_config.py").is_file() and (folder / "graders").is_dir():
            return folder
    return None


def _check(options: argparse.Namespace) -> int:
    from handgrad.sandbox.launch import Launched, launch

    launched: Launched | None = None
    with suppress(UserError):  # what there is to say about it is said when it is needed
        launched = launch(sandboxed=not options.no_sandbox)
    gc.disable()  # it would look at all of torch again and again
    from handgrad.doors.check import as_html, check, not_graded, print_table, rendered, status

    gc.freeze()
    gc.enable()
    course = _course_of(options)
    try:
        result = check(
            options.notebook,
            course,
            name=options.assignment,
            sandboxed=not options.no_sandbox,
            launched=launched,
        )
    except Exception as error:
        if not options.format:
            raise
        # A platform waits for a result: that nothing could be told, and why.
        why = error.fact if isinstance(error, UserError) else str(error)
        result = not_graded(options.notebook, course, options.assignment, why)
        print(f"handgrad: {error}", file=sys.stderr)
        if not isinstance(error, UserError | LostError):
            traceback.print_exc()
    if options.html:
        atomic.write(options.html, as_html(result))
    if options.format and not options.output:
        print(rendered(result, options.format))
    else:
        print_table(result)  # for a log, beside the file
    if options.output:
        try:
            options.output.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise atomic.refused(error, options.output) from None
        atomic.write(options.output, rendered(result, options.format or "json"))
    return status(result.report) if options.format else 0


def _course_of(options: argparse.Namespace) -> Path | None:
    """The course that `options.notebook` is looked at with; None for what the package brings."""
    course: Path | None = options.course or find_course(Path.cwd())
    if not options.course and course and course.is_relative_to(options.notebook.resolve()):
        return None  # handed in with the notebooks: its graders would be the student's
    return course


def _watch(options: argparse.Namespace) -> int:
    import asyncio

    from handgrad.doors.companion import watch

    with suppress(KeyboardInterrupt):  # Ctrl-C is how it ends
        asyncio.run(
            watch(
                options.notebook,
                _course_of(options),
                options.assignment,
                sandboxed=not options.no_sandbox,
                browser=not options.no_browser,
            )
        )
    return 0


def _grade(options: argparse.Namespace) -> int:
    from rich.console import Console

    from handgrad.batch.progress import Bar, as_json, tell
    from handgrad.batch.run import grade, local_pool

    course, console = _course(options), Console(stderr=True)
    with ExitStack() as stack:
        pool, jobs = local_pool, options.jobs
        if options.dask:
            cluster = stack.enter_context(_cluster(options, course))
            pool, jobs = (lambda *_: cluster), cluster.processes
        summary = grade(
            course,
            options.assignment,
            students=options.student,
            jobs=jobs,
            force=options.force,
            watcher=stack.enter_context(Bar(console)),
            pool=pool,
        )
    if options.json:
        print(json.dumps(as_json(summary), ensure_ascii=False, indent=2))
    else:
        tell(Console(), summary, options.assignment)
    return 1 if summary.failed else 0


def _cluster(options: argparse.Namespace, course: Path) -> "Cluster":
    from importlib.util import find_spec

    if find_spec("distributed") is None:
        raise UserError(
            "--dask", "dask.distributed is not installed", "Run `pip install 'handgrad[dask]'`"
        )
    from handgrad.assignment.source import Source
    from handgrad.batch.dask_cluster import Cluster

    source = Source(course.resolve(), options.assignment)
    return Cluster(options.dask, source, trusted_network=options.trusted_network)


def _report(options: argparse.Namespace) -> int:
    import datetime

    from handgrad.pages.reportfiles import as_csv, as_json, write
    from handgrad.settings import Settings
    from handgrad.store.course import Course
    from handgrad.store.roster import class_records

    root = _course(options)
    settings = Settings.read(root / "graders" / options.assignment / "assignment.toml")
    records = class_records(Course(root), options.assignment)
    now = datetime.datetime.now().astimezone()
    page, report = write(root, options.assignment, records, settings.language, now)
    if options.csv:
        atomic.write(options.csv, as_csv(report))
    if options.json:
        print(json.dumps(as_json(report), ensure_ascii=False, indent=2))
    else:
        print(f"{page}: {len(report.graded)} graded, {len(report.errands)} things need a person")
    return 0


def _doctor(options: argparse.Namespace) -> int:
    from dataclasses import asdict

    from rich.console import Console
    from rich.markup import escape

    from handgrad.sandbox.doctor import examine

    console = Console(highlight=False)
    checks = []
    course = options.course or find_course(Path.cwd())
    for check in chain(examine(course or Path.cwd()), _names(course)):
        checks.append(check)
        if not options.json:
            sign = "[green]ok[/]     " if check.ok else "[bold red]problem[/]"
            console.print(f"{sign} {escape(check.what)}: {escape(check.fact)}")
            if check.cure:
                console.print(f"        {escape(check.cure)}")
    if options.json:
        print(json.dumps([asdict(check) for check in checks], ensure_ascii=False, indent=2))
    bad = [check for check in checks if not check.ok]
    if not options.json:
        console.print(f"{len(bad)} problems" if bad else "This machine can grade.")
    return 1 if bad else 0


def _names(course: Path | None) -> "Iterator[Check]":
    """Whether every name of a student in the course may be shown by nbgrader's pages."""
    from handgrad.sandbox.doctor import Check

    if course is None or not (course / "nbgrader_config.py").is_file():
        return
    from handgrad.store.course import Course
    from handgrad.store.roster import odd_names

    odd = odd_names(Course(course))
    cures = "; ".join(dict.fromkeys(each.cure for each in odd[:5]))
    facts = "; ".join(f"{each.where}: {each.fact}" for each in odd[:5])
    yield Check("names of students", not odd, facts or "may be shown as they are", cures)


def _import(options: argparse.Namespace) -> int:
    from handgrad.doors.handin import import_into

    folder = import_into(_course(options), options.assignment, options.notebook, options.student)
    print(f"{folder} is ready: run `handgrad grade {options.assignment}`")
    return 0


def _roster(options: argparse.Namespace) -> int:
    from handgrad.store.course import Course
    from handgrad.store.rosterfile import enter, read_roster

    students = read_roster(options.file)
    enter(Course(_course(options)), students)
    print(f"{len(students)} students of {options.file} are in the gradebook")
    return 0


def _pack(options: argparse.Namespace) -> int:
    from handgrad.assignment.source import Source
    from handgrad.platforms.pack import gradescope

    gradescope(Source(_course(options).resolve(), options.assignment), options.output)
    print(f"{options.output} is ready to be uploaded. It holds the secret seed: show it to nobody")
    return 0


def _restore(options: argparse.Namespace) -> int:
    from handgrad.store.backups import restore
    from handgrad.store.course import Course
    from handgrad.store.gradebook import Gradebook

    file = Gradebook(Course(_course(options)).db_url, "").path
    if file is None:
        raise UserError("gradebook", "it is not a file", "Restore it with its database's own tools")
    copy, aside = restore(file, options.copy)
    print(
        f"{file.name} is {copy.name} again" + (f"; what was there is {aside.name}" if aside else "")
    )
    return 0


def _at_least_one(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of at least 1")
    return int(text)


def _new(options: argparse.Namespace) -> int:
    from handgrad.assignment.new import new
    from handgrad.nbgrader.release import make_release

    root = _course(options)
    files, left = new(root, options.assignment, options.cells)
    for file in files:
        print(f"wrote {file}")
    make_release(root, options.assignment)
    print(f"released; run `handgrad selfcheck {options.assignment}`. What only you know:")
    for each in left:
        print(f"- {each}")
    return 0


def _selfcheck(options: argparse.Namespace) -> int:
    from handgrad.grading.matrix import matrix
    from handgrad.grading.selfcheck import selfcheck

    outcomes = []
    for outcome in selfcheck(_course(options), options.assignment):
        outcomes.append(outcome)
        mark = "no " if outcome.complaint else "yes"
        print(
            f"{mark}  {outcome.label}  {outcome.complaint or outcome.remark}".rstrip(), flush=True
        )
    if options.matrix:
        atomic.write(options.matrix, matrix(outcomes, options.assignment))
    failed = [outcome for outcome in outcomes if outcome.complaint]
    unnamed = [outcome.label for outcome in outcomes if outcome.unnamed]
    if unnamed:
        found = sum(outcome.found for outcome in outcomes)
        print(f"{len(unnamed)} of {found} found without a name, which mistakes.py can give them:")
        print(*(f"     {label}" for label in unnamed), sep="\n")
    print(f"{len(outcomes) - len(failed)} of {len(outcomes)} as they should be")
    return 1 if failed else 0


def _course(options: argparse.Namespace) -> Path:
    course = options.course or find_course(Path.cwd())
    if course is None:
        raise UserError(
            str(Path.cwd()), "this is no course, and lies in none", "Go to one, or use --course"
        )
    return Path(course)


if __name__ == "__main__":
    command()
