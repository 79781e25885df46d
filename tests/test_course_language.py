"""A course in Chinese: one setting, and students get everything in it, for the same marks."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from coursedir import ASSIGNMENT, ROOT, make_course, nbgrader
from nbformat import NotebookNode
from nbgrader.converters import GenerateAssignment
from nbgrader.utils import compute_checksum
from pool import Grader, grader
from traitlets.config.loader import PyFileConfigLoader

from demo.classroom import Course, Student
from handgrad.grading.selfcheck import selfcheck
from handgrad.nbgrader.course_language import AnswerHere, CourseLanguage
from handgrad.nbgrader.course_url import CourseUrl
from handgrad.pages.words import say, tell
from handgrad.verdict import Report, Verdict

CHINESE = re.compile(r"[\u4e00-\u9fff]")
STEMS = ("1_every_step", "2_cross_entropy", "3_batch_norm", "4_training")
TWO, THREE = STEMS[1:3]


def speaking(root: Path, language: str, assignment: str = ASSIGNMENT) -> Path:
    """The course with that language set, and nothing else."""
    settings = root / "graders" / assignment / "assignment.toml"
    old = settings.read_text(encoding="utf-8")
    others = re.sub(r'(?m)^language = "\w+".*\n', "", old)
    settings.write_text(f'language = "{language}"\n{others}', encoding="utf-8")
    return root


def released(root: Path) -> dict[str, NotebookNode]:
    folder = root / "release" / ASSIGNMENT
    return {stem: nbformat.read(folder / f"{stem}.ipynb", as_version=4) for stem in STEMS}


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A course whose language was set to Chinese before nbgrader made the release."""
    root = speaking(make_course(tmp_path_factory.mktemp("zh") / "course", ()), "zh")
    done = nbgrader(root, "generate_assignment", ASSIGNMENT, "--force")
    assert done.returncode == 0, done.stderr
    return root


def test_every_cell_of_prose_is_chinese(course: Path) -> None:
    prose = [c for n in released(course).values() for c in n.cells if c.cell_type == "markdown"]
    assert len(prose) == 68
    assert [cell.id for cell in prose if not CHINESE.search(cell.source)] == []


def test_code_points_and_names_of_cells_are_those_of_the_english_release(course: Path) -> None:
    english = released(ROOT)
    for stem, notebook in released(course).items():
        for cell, other in zip(notebook.cells, english[stem].cells, strict=True):
            if cell.cell_type == "code":
                assert cell == other
                continue
            mine, its = dict(cell.metadata.get("nbgrader", {})), other.metadata.get("nbgrader", {})
            assert mine.pop("checksum", None) == (compute_checksum(cell) if its else None)
            assert mine == {key: value for key, value in its.items() if key != "checksum"}
            assert cell.id == other.id


def test_a_written_answer_is_an_empty_place_in_chinese(course: Path) -> None:
    answers = [
        cell.source
        for cell in released(course)[STEMS[0]].cells
        if cell.cell_type == "markdown" and cell.metadata.get("nbgrader", {}).get("solution")
    ]
    assert answers == ["在这里写下你的回答"] * 2


def test_students_get_the_same_files_and_check_py_speaks_chinese(course: Path) -> None:
    made, english = course / "release" / ASSIGNMENT, ROOT / "release" / ASSIGNMENT
    assert sorted(p.name for p in made.iterdir()) == sorted(p.name for p in english.iterdir())
    assert (made / "names.txt").read_bytes() == (english / "names.txt").read_bytes()
    check = (english / "check.py").read_text(encoding="utf-8")
    assert (made / "check.py").read_text(encoding="utf-8") == check.replace(
        'LANGUAGE = "en"', 'LANGUAGE = "zh"'
    )


@pytest.fixture(scope="module")
def graded(course: Path) -> Iterator[Grader]:
    with grader(course, ASSIGNMENT) as one:
        yield one


def report_of(graded: Grader, course: Path, student: Student, **instead: bytes) -> Report:
    """The report of a student who worked in the Chinese notebooks."""
    files = {
        stem: nbformat.writes(notebook).encode()
        for stem, notebook in student.notebooks(Course.read(course, ASSIGNMENT)).items()
    }
    return graded.report({**files, **instead})


def test_the_solved_notebooks_earn_everything_and_untouched_ones_nothing(
    graded: Grader, course: Path
) -> None:
    solved = report_of(graded, course, Student("solved"))
    assert {finding.verdict for finding in solved.findings} == {Verdict.RIGHT}
    assert solved.points == solved.max_points
    blank = report_of(graded, course, Student("blank", solved=False))
    assert {finding.verdict for finding in blank.findings} == {Verdict.NOT_ATTEMPTED}
    assert blank.points == 0
    assert blank.problems == solved.problems


def test_a_mistake_of_the_assignment_s_own_and_an_unreadable_file_are_told_in_chinese(
    graded: Grader, course: Path
) -> None:
    wrong = {TWO: {"dlogits": "dlogits = F.softmax(logits, 1) / n"}}
    report = report_of(graded, course, Student("wrong", wrong), **{THREE: b""})
    (finding,) = [each for each in report.findings if each.notebook == TWO]
    assert tell(finding, "full", "zh")[0].startswith(
        "这正是下面这个错误会给出的结果：没有减去标签。"
    )
    (problem,) = report.problems[THREE]
    assert say(problem, "zh") == "无法读取这个笔记本：文件是空的。"


def test_the_course_checks_itself_in_chinese_by_the_english_names_of_its_mistakes(
    course: Path, tmp_path: Path
) -> None:
    root = shutil.copytree(course, tmp_path / "course")
    (root / "graders" / ASSIGNMENT / "variations.py").write_text(
        "from handgrad.grading.variations import Slip\n"
        "WRONG = (Slip('2_cross_entropy', 'dlogits', 'dlogits = F.softmax(logits, 1) / n',\n"
        "              'assignment', {'name': 'label not subtracted'}),)\n"
        "RIGHT = ()\n"
    )
    (slip,) = [o for o in selfcheck(root, ASSIGNMENT, mutated=False) if o.kind == "wrong"]
    assert (slip.made, slip.complaint) == ("assignment", "")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda text: re.sub(r"(?s)<!-- about_dlogits.*?(?=<!-- )", "", text), "is not translated"),
        (
            lambda text: re.sub("about_dlogits: .{8}", "about_dlogits: 00000000", text),
            "another text",
        ),
    ],
    ids=["a cell that is not translated", "a cell that changed since"],
)
def test_no_notebook_goes_out_in_two_languages(tmp_path: Path, spoil, said: str) -> None:
    root = speaking(make_course(tmp_path / "course", ()), "zh")
    prose = root / "graders" / ASSIGNMENT / "prose" / "zh" / f"{TWO}.md"
    prose.write_text(spoil(prose.read_text(encoding="utf-8")), encoding="utf-8")
    done = nbgrader(root, "generate_assignment", ASSIGNMENT, "--force")
    assert done.returncode != 0
    assert f"UserError: {prose}: the cell about_dlogits" in done.stderr
    assert said in done.stderr
    assert not (root / "release" / ASSIGNMENT).exists()


def test_an_assignment_without_a_translation_keeps_its_own_prose_and_says_so(
    tmp_path: Path,
) -> None:
    root = tmp_path / "course"
    shutil.copytree(ROOT / "examples", root)
    shutil.copy(ROOT / "source" / ASSIGNMENT / "check.py", root / "source" / "ridge")
    shutil.copy(ROOT / "nbgrader_config.py", root)
    speaking(root, "zh", "ridge")
    done = nbgrader(root, "generate_assignment", "ridge", "--no-db")
    assert done.returncode == 0, done.stderr
    folder = root / "graders" / "ridge" / "prose" / "zh"
    assert f"There is no {folder}: the prose stays as it was written" in done.stderr
    before = json.loads((root / "source" / "ridge" / "ridge.ipynb").read_text(encoding="utf-8"))
    after = json.loads((root / "release" / "ridge" / "ridge.ipynb").read_text(encoding="utf-8"))
    prose = [
        ["".join(cell["source"]) for cell in each["cells"] if cell["cell_type"] == "markdown"]
        for each in (before, after)
    ]
    assert prose[0] == prose[1]
    assert 'LANGUAGE = "zh"' in (root / "release" / "ridge" / "check.py").read_text(
        encoding="utf-8"
    )


def test_the_course_leaves_out_none_of_nbgrader_s_own_steps() -> None:
    """They are listed in nbgrader_config.py; another nbgrader may have others."""
    ours = (CourseUrl, CourseLanguage, AnswerHere)
    steps = (
        PyFileConfigLoader("nbgrader_config.py", str(ROOT))
        .load_config()
        .GenerateAssignment["preprocessors"]
    )
    stock = GenerateAssignment.class_traits()["preprocessors"].default()
    assert [step for step in steps if step not in ours] == stock
