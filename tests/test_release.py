"""The release is what the source gives, and it gives nothing away."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbgrader.utils import compute_checksum

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "source" / "backprop"
RELEASE = ROOT / "release" / "backprop"
STEMS = ("1_every_step", "2_cross_entropy", "3_batch_norm", "4_training")


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}


def generate(course: Path, settings: str = "") -> Path:
    """What nbgrader makes of the source just now, in a course folder of its own."""
    for name in ("source", "data"):
        shutil.copytree(ROOT / name, course / name, symlinks=True)
    config = (ROOT / "nbgrader_config.py").read_text(encoding="utf-8")
    (course / "nbgrader_config.py").write_text(config + settings, encoding="utf-8")
    # nbgrader looks for `alembic` on PATH by its bare name
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        [sys.executable, "-m", "nbgrader", "generate_assignment", "backprop", "--no-db"],
        cwd=course,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return course / "release" / "backprop"


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The release made just now; the folder's name has a space."""
    return generate(tmp_path_factory.mktemp("a course"))


def test_the_committed_release_is_what_the_source_gives_byte_for_byte(generated: Path) -> None:
    fresh, committed = contents(generated), contents(RELEASE)
    assert sorted(fresh) == sorted(committed)
    stale = [name for name in fresh if fresh[name] != committed[name]]
    assert not stale, f"{stale}: run `make release`"


def test_students_get_the_notebooks_and_two_files() -> None:
    assert sorted(contents(RELEASE)) == [
        *(f"{stem}.ipynb" for stem in STEMS),
        "check.py",
        "names.txt",
    ]
    assert not any(p.is_symlink() for p in RELEASE.iterdir())
    assert (RELEASE / "names.txt").read_bytes() == (ROOT / "data" / "names.txt").read_bytes()


@pytest.mark.parametrize("stem", STEMS)
def test_no_line_of_a_solution_is_released(stem: str) -> None:
    released = (RELEASE / f"{stem}.ipynb").read_text(encoding="utf-8")
    hidden = 0
    for cell in nbformat.read(SOURCE / f"{stem}.ipynb", as_version=4).cells:
        if not cell.metadata.get("nbgrader", {}).get("solution"):
            continue
        code, inside = cell.cell_type == "code", cell.cell_type == "markdown"
        for line in cell.source.split("\n"):
            if "### BEGIN SOLUTION" in line or "### END SOLUTION" in line:
                inside = "BEGIN" in line
            elif inside and len(line.strip()) > 8 and not (code and line.strip()[0] == "#"):
                hidden += 1
                text = json.dumps(line.strip(), ensure_ascii=False)[1:-1]
                assert text not in released, line
        assert inside is not code  # the marks are balanced
    assert hidden


@pytest.mark.parametrize("stem", STEMS)
def test_a_released_answer_is_empty_and_says_so_in_its_first_line(stem: str) -> None:
    for cell in nbformat.read(RELEASE / f"{stem}.ipynb", as_version=4).cells:
        mark = cell.metadata.get("nbgrader", {})
        if not mark.get("solution"):
            continue
        if cell.cell_type == "markdown":
            assert cell.source == "YOUR ANSWER HERE"
        elif mark.grade_id == "backward":
            assert "= None\n    # YOUR CODE HERE\n    return" in cell.source
        else:
            assert cell.source == f"{mark.grade_id} = None\n# YOUR CODE HERE"


@pytest.mark.parametrize("stem", STEMS)
def test_no_mark_of_the_instructor_and_no_output_is_released(stem: str) -> None:
    text = (RELEASE / f"{stem}.ipynb").read_text(encoding="utf-8")
    for mark in ("BEGIN SOLUTION", "END SOLUTION", "HIDDEN TESTS", "MARK SCHEME", "graders/"):
        assert mark not in text
    for cell in nbformat.read(RELEASE / f"{stem}.ipynb", as_version=4).cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


def test_no_line_of_a_grader_is_released() -> None:
    """Given cells and the stubs of answers are public: a grader may repeat a line of those."""
    released = [(RELEASE / "check.py").read_text(encoding="utf-8")]
    for stem in STEMS:
        for cell in nbformat.read(RELEASE / f"{stem}.ipynb", as_version=4).cells:
            public = cell.id.startswith("given_") or cell.metadata.get("nbgrader", {}).get(
                "solution"
            )
            if not public:
                released.append(cell.source)
    lines = {
        line.strip()
        for path in (ROOT / "graders" / "backprop").glob("*.py")
        for line in path.read_text(encoding="utf-8").split("\n")
        if len(line.strip()) >= 30 and not line.startswith(("import", "from"))
    }
    assert lines
    assert not [line for line in lines if line in "\n".join(released)]


def test_the_points_are_a_hundred_and_only_test_cells_and_written_answers_have_them() -> None:
    total = 0
    for stem in STEMS:
        for cell in nbformat.read(RELEASE / f"{stem}.ipynb", as_version=4).cells:
            mark = cell.metadata.get("nbgrader")
            if mark is None:
                continue
            assert ("points" in mark) == mark.grade
            total += mark.get("points", 0)
            if mark.grade and cell.cell_type == "code":
                assert mark.grade_id.startswith("test_")
                assert mark.locked
    assert total == 100


@pytest.mark.parametrize("stem", STEMS)
def test_cells_are_named_after_their_grade_ids(stem: str) -> None:
    for cell in nbformat.read(SOURCE / f"{stem}.ipynb", as_version=4).cells:
        assert cell.id == cell.metadata.get("nbgrader", {}).get("grade_id", cell.id)


@pytest.mark.parametrize("stem", STEMS)
def test_everything_before_the_first_answer_is_given(stem: str) -> None:
    codes = [
        cell
        for cell in nbformat.read(RELEASE / f"{stem}.ipynb", as_version=4).cells
        if cell.cell_type == "code"
    ]
    first = next(i for i, cell in enumerate(codes) if cell.metadata.nbgrader.solution)
    for cell in codes[:first]:
        assert cell.metadata.nbgrader.locked
        assert not cell.metadata.nbgrader.grade
    assert sum("parameters" in cell.metadata.get("tags", []) for cell in codes) == 1


def test_the_courses_address_is_set_in_one_place(tmp_path: Path) -> None:
    made = generate(tmp_path, settings='\nc.CourseUrl.url = "https://example.org/backprop"\n')
    for stem in STEMS:
        first = nbformat.read(made / f"{stem}.ipynb", as_version=4).cells
        (cell,) = [cell for cell in first if cell.id == "given_files"]
        assert 'COURSE_URL = "https://example.org/backprop"  # set by the instructor' in cell.source
        assert cell.metadata.nbgrader.checksum == compute_checksum(cell)
