"""What is remembered of a mark is read as it was written, or not at all."""

import math
from pathlib import Path

import pytest

from handgrad.store.records import Record, Records
from handgrad.verdict import ErrorPicture, Finding, IntegrityLine, Note, Report, Verdict

REPORT = Report(
    "李雷",
    "backprop",
    (
        Finding(
            "1_every_step",
            "dlogits",
            "test_dlogits",
            Verdict.WRONG,
            0.5,
            2.0,
            error=0.125,
            remarks=(Note("flat_shape", {"got": "(64,)", "want": "(1, 64)"}),),
            diagnoses=(Note("sign"), Note("factor", {"factor": "n"})),
            picture=ErrorPicture(((0.5, -0.25), (0.0, 1.0)), 32, 27, (16, 14)),
        ),
        Finding("2_cross_entropy", "dlogits", "test_dlogits", Verdict.COULD_NOT_TELL, None, 4.0),
        Finding("3_batch_norm", "dh", "test_dh", Verdict.WRONG, 0.0, 1.0, error=math.inf),
    ),
    {"1_every_step": (Note("cell_deleted", {"cell": "dh"}),)},
    (IntegrityLine("1_every_step", 7, "torch.autograd.grad", "g = torch.autograd.grad(loss, h)"),),
)
RECORD = Record(REPORT, "due", {"1_every_step": 1234})


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    records = Records(tmp_path, "backprop")
    records.write(RECORD)
    assert records.read("李雷") == RECORD
    assert list(records.all()) == [RECORD]
    assert [path.name for path in records.folder.iterdir()] == ["李雷.json"]


def test_there_is_none_before_the_first(tmp_path: Path) -> None:
    records = Records(tmp_path, "backprop")
    assert records.read("alice") is None
    assert list(records.all()) == []


def test_the_traceback_of_a_fault_of_ours_lies_beside_the_record(tmp_path: Path) -> None:
    records = Records(tmp_path, "backprop")
    records.write(RECORD, "Traceback ...")
    (told,) = records.folder.glob("*.traceback.txt")
    assert told.read_text() == "Traceback ..."
    assert list(records.all()) == [RECORD]
    records.write(RECORD)
    assert not told.exists()


def truncated(text: str) -> str:
    return text[: len(text) // 2]


DAMAGES = {
    "empty": lambda text: "",
    "truncated": truncated,
    "zeros": lambda text: "\0" * len(text),
    "another_version": lambda text: text.replace('"version": 1', '"version": 2'),
    "a_list": lambda text: "[]",
    "no_report": lambda text: '{"version": 1, "due": ""}',
    "unknown_verdict": lambda text: text.replace('"wrong"', '"excellent"'),
    "sizes_is_a_list": lambda text: text.replace('{"1_every_step": 1234}', "[]"),
    "points_are_text": lambda text: text.replace('"points": 0.5', '"points": "full"'),
    "not_utf_8": lambda text: text,
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_record_is_none(tmp_path: Path, name: str) -> None:
    records = Records(tmp_path, "backprop")
    records.write(RECORD)
    (path,) = records.folder.iterdir()
    damaged = DAMAGES[name](path.read_text(encoding="utf-8"))
    path.write_bytes(damaged.encode("utf-16" if name == "not_utf_8" else "utf-8"))
    assert records.read("李雷") is None
    assert list(records.all()) == []
