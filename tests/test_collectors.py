"""Bulk downloads of Canvas and Moodle: every file is its owner's, and nobody hands in for somebody else."""

import gzip
import io
import os
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from coursedir import ASSIGNMENT, make_course, nbgrader

from demo.classroom import FOUR, ONE, THREE, TWO
from handgrad.nbgrader.collectors import Owned, canvas, moodle, stem_of

STEMS = frozenset({ONE, TWO, THREE, FOUR})
CANVAS = {
    "as it is": ("doejane_4711_90210_1_every_step.ipynb", "4711"),
    "late": ("doejane_LATE_4711_90210_1_every_step.ipynb", "4711"),
    "handed in again": ("doejane_4711_90210_1_every_step-2.ipynb", "4711"),
    "downloaded twice": ("doejane_4711_90210_1_every_step (1).ipynb", "4711"),
    "a name of its own": ("doejane_4711_90210_final.ipynb", "4711"),
    "in a zip file": ("submissions/doejane_4711_90210_work/deep/1_every_step.ipynb", "4711"),
    "a name in other letters": ("王小明_4711_90210_1_every_step.ipynb", "4711"),
    "a person named like a number": ("smith_999_4711_90210_1_every_step.ipynb", None),
    "the same, in a zip file": ("smith_999_4711_90210_work/1_every_step.ipynb", None),
    "the same, late": ("smith_999_LATE_4711_90210_1_every_step.ipynb", "4711"),
    "a file named like another's": ("doejane_4711_90210_x_999_888_1_every_step.ipynb", None),
    "the same, late too": ("doejane_4711_90210_x_LATE_999_888_1_every_step.ipynb", None),
    "within a zip file": ("doejane_4711_90210_work/x_999_888_1_every_step.ipynb", "4711"),
    "not of Canvas": ("1_every_step.ipynb", None),
    "a person without letters": ("_4711_90210_1_every_step.ipynb", "4711"),
    "two numbers, and a name of its own": ("roe_112_9110_1_every_step_Nick.ipynb", "112"),
    "anonymous, late": ("LATE_anon_x7Yz1_90210_1_every_step.ipynb", None),
    "anonymous": ("anon_x7Yz1_90210_1_every_step.ipynb", None),
}
MOODLE = {
    "in folders": ("CS-88/Jane van Doe_1234_assignsubmission_file/1_every_step.ipynb", "1234"),
    "older folders": ("Jane van Doe_1234_assignsubmission_file_/1_every_step.ipynb", "1234"),
    "without folders": ("Jane van Doe_1234_assignsubmission_file_1_every_step.ipynb", "1234"),
    "a zip file": ("Jane Doe_1234_assignsubmission_file/work/1_every_step.ipynb", "1234"),
    "other letters": ("王小明_1234_assignsubmission_file/1_every_step.ipynb", "1234"),
    "a folder named like another's": (
        "Jane Doe_1234_assignsubmission_file/Ann_999_assignsubmission_file/1_every_step.ipynb",
        "1234",
    ),
    "a file named like another's": (
        "Jane Doe_1234_assignsubmission_file/Ann_999_assignsubmission_file_1_every_step.ipynb",
        "1234",
    ),
    "text typed in": ("Jane Doe_1234_assignsubmission_onlinetext/onlinetext.ipynb", None),
    "not of Moodle": ("1_every_step.ipynb", None),
}


@pytest.mark.parametrize(("path", "student"), CANVAS.values(), ids=CANVAS)
def test_canvas_files_are_their_owners(path: str, student: str | None) -> None:
    owned = canvas(Path(path).parts, STEMS)
    assert (owned and owned.student) == student


@pytest.mark.parametrize(("path", "student"), MOODLE.values(), ids=MOODLE)
def test_moodle_files_are_their_owners(path: str, student: str | None) -> None:
    owned = moodle(Path(path).parts, STEMS)
    assert (owned and owned.student) == student


def test_the_students_own_name_of_a_file_is_what_is_left() -> None:
    for path, late in ((CANVAS["as it is"][0], False), (CANVAS["late"][0], True)):
        assert canvas((path,), STEMS) == Owned("4711", f"{ONE}.ipynb", late)
    assert moodle((MOODLE["without folders"][0],), STEMS) == Owned("1234", f"{ONE}.ipynb")


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("1_every_step.ipynb", ONE),
        ("1_every_step-1.ipynb", ONE),
        ("1_every_step (2)-1.ipynb", ONE),
        ("1_every_step.py", ""),
        ("every_step.ipynb", ""),
        ("-1.ipynb", ""),
    ],
)
def test_a_name_is_a_notebooks_up_to_what_platforms_append(name: str, stem: str) -> None:
    assert stem_of(name, STEMS) == stem


# ------------------------------------------------------------------------ through nbgrader's zip_collect


def collected(tmp_path: Path, collector: str, members: Mapping[str, bytes]) -> tuple[Path, str]:
    """The course after a download with these members, and what nbgrader said."""
    root = make_course(tmp_path / "course", [])
    folder = root / "downloaded" / ASSIGNMENT / "archive"
    folder.mkdir(parents=True)
    (folder / "submissions.zip").write_bytes(zipped(members))
    done = nbgrader(
        root, "zip_collect", ASSIGNMENT, f"--collector=handgrad.nbgrader.collectors.{collector}"
    )
    assert done.returncode == 0, done.stderr
    shutil.rmtree(root / "downloaded")
    return root / "submitted", done.stdout + done.stderr


def zipped(members: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return out.getvalue()


def handed_in(submitted: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(submitted)): path.read_bytes()
        for path in submitted.rglob("*")
        if path.is_file()
    }


def test_a_download_of_canvas_is_handed_in(tmp_path: Path) -> None:
    submitted, said = collected(
        tmp_path,
        "CanvasCollector",
        {
            "doejane_4711_90210_1_every_step-1.ipynb": b"1",
            "doejane_4711_90211_2_cross_entropy.ipynb": b"2",
            "doejane_4711_90212_check.py": b"3",
            "roeann_LATE_12_90213_work.zip": zipped(
                {
                    "a/1_every_step.ipynb": b"4",
                    "b/1_every_step.ipynb": b"5",
                    "b/.ipynb_checkpoints/2_cross_entropy-checkpoint.ipynb": b"6",
                    "x_4711_1_3_batch_norm.ipynb": b"7",
                    "4_training.ipynb": b"8",
                }
            ),
            "smith_4711_13_90214_3_batch_norm.ipynb": b"9",
        },
    )
    assert handed_in(submitted) == {
        f"4711/{ASSIGNMENT}/{ONE}.ipynb": b"1",
        f"4711/{ASSIGNMENT}/{TWO}.ipynb": b"2",
        f"12/{ASSIGNMENT}/one of 2 {ONE}.ipynb": b"4",
        f"12/{ASSIGNMENT}/another one of 2 {ONE}.ipynb": b"5",
        f"12/{ASSIGNMENT}/x_4711_1_3_batch_norm.ipynb": b"7",
        f"12/{ASSIGNMENT}/{FOUR}.ipynb": b"8",
    }
    assert "12 is late" in said
    assert (
        "not taken: submissions/smith_4711_13_90214_3_batch_norm.ipynb: its name does not" in said
    )


def test_a_download_of_moodle_is_handed_in(tmp_path: Path) -> None:
    submitted, _ = collected(
        tmp_path,
        "MoodleCollector",
        {
            "Jane van Doe_1234_assignsubmission_file/1_every_step.ipynb": b"1",
            "Jane van Doe_1234_assignsubmission_file/names.txt": b"2",
            "Jane van Doe_1235_assignsubmission_file/my own.ipynb": b"3",
            "Jane van Doe_1235_assignsubmission_onlinetext/onlinetext.html": b"4",
        },
    )
    assert handed_in(submitted) == {
        f"1234/{ASSIGNMENT}/{ONE}.ipynb": b"1",
        f"1235/{ASSIGNMENT}/my own.ipynb": b"3",
    }


def again(root: Path, members: Mapping[str, bytes]) -> str:
    """What nbgrader says of a second download into the same course."""
    folder = root / "downloaded" / ASSIGNMENT / "archive"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "submissions.zip").write_bytes(zipped(members))
    collector = "--collector=handgrad.nbgrader.collectors.CanvasCollector"
    done = nbgrader(root, "zip_collect", ASSIGNMENT, collector, "--force")
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_a_second_attempt_with_one_notebook_keeps_the_others(tmp_path: Path) -> None:
    first = {f"roe_12_9021{n}_{stem}.ipynb": stem.encode() for n, stem in enumerate(sorted(STEMS))}
    submitted, _ = collected(tmp_path, "CanvasCollector", first)
    said = again(submitted.parent, {f"roe_12_90299_{TWO}-1.ipynb": b"new"})
    assert handed_in(submitted) == {
        f"12/{ASSIGNMENT}/{stem}.ipynb": b"new" if stem == TWO else stem.encode() for stem in STEMS
    }
    assert said.count("is not in this download; the one from before stays") == 3


def test_what_was_handed_in_and_not_taken_is_listed_last(tmp_path: Path) -> None:
    submitted, said = collected(
        tmp_path,
        "CanvasCollector",
        {
            "roe_12_90210_work.7z": b"7z",
            f"doe_13_90211_{ONE}.ipynb.json": b"1",
            "doe_13_90212_check.py": b"2",
        },
    )
    assert list(handed_in(submitted)) == [f"13/{ASSIGNMENT}/{ONE}.ipynb.json"]
    last = said.strip().splitlines()[-1]
    assert "not taken: submissions/roe_12_90210_work.7z: it is no notebook" in last


def a_bomb() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("big.bin", bytes(300 << 20))
        archive.writestr(f"{TWO}.ipynb", b"late")
    return out.getvalue()


BAD = {
    "cut off": (zipped({f"{ONE}.ipynb": b"1" * 999})[:-40], "work.zip"),
    "no archive": (b"rubbish", "work.zip"),
    "no gz": (b"\x1f\x8brubbish", f"{ONE}.ipynb.gz"),
    "a gz cut off": (gzip.compress(os.urandom(9999))[:-99], "work.gz"),
    "climbing": (zipped({"../../../../escaped": b"1"}), "work.zip"),
    "absolute": (zipped({"/tmp/escaped": b"1"}), "work.zip"),
    "huge": (a_bomb(), "work.zip"),
    "a tar that is none": (b"rubbish", "work.tar.gz"),
}


def test_one_bad_archive_costs_nobody_else_anything(tmp_path: Path) -> None:
    members = {
        f"roe_{number}_9021{number}_{name}": data
        for number, (data, name) in enumerate(BAD.values())
    }
    submitted, said = collected(
        tmp_path,
        "CanvasCollector",
        {**members, "good_77_90999_work.zip": zipped({f"a/{ONE}.ipynb": b"good"})},
    )
    assert handed_in(submitted)[f"77/{ASSIGNMENT}/{ONE}.ipynb"] == b"good"
    assert "Traceback" not in said
    assert not list(tmp_path.rglob("escaped"))
    for name in members:
        assert f"{name} is not unpacked whole" in said
