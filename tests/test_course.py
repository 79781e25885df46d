"""A course's settings, with what an instructor may put beside them."""

import sys
from pathlib import Path

import pytest

from handgrad.errors import UserError
from handgrad.store.course import Course
from handgrad.store.rows import Late

RULE = """
from nbgrader.plugins import LateSubmissionPlugin


class OnePointAnHour(LateSubmissionPlugin):
    def late_submission_penalty(self, student_id, score, total_seconds_late):
        return total_seconds_late / 3600
"""


def course(root: Path, settings: str) -> Course:
    text = f"c = get_config()\nc.CourseDirectory.course_id = 'a'\n{settings}\n"
    (root / "nbgrader_config.py").write_text(text, encoding="utf-8")
    return Course(root)


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a course adds to the path goes with its test."""
    monkeypatch.setattr(sys, "path", [*sys.path])


def test_a_rule_for_lateness_beside_the_settings_is_found(tmp_path: Path) -> None:
    (tmp_path / "rule_of_ours.py").write_text(RULE, encoding="utf-8")
    found = course(tmp_path, "c.AssignLatePenalties.plugin_class = 'rule_of_ours.OnePointAnHour'")
    assert found.penalties.of(Late("alice", 10.0, 2 * 3600.0)) == 2.0


def test_a_penalty_takes_no_more_than_there_is(tmp_path: Path) -> None:
    (tmp_path / "rule_again.py").write_text(RULE, encoding="utf-8")
    found = course(tmp_path, "c.AssignLatePenalties.plugin_class = 'rule_again.OnePointAnHour'")
    assert found.penalties.of(Late("alice", 10.0, 1e6)) == 10.0


@pytest.mark.parametrize(
    ("settings", "fact"),
    [
        pytest.param("c.AssignLatePenalties.plugin_class = 'nowhere.Rule'", "nowhere", id="plugin"),
        pytest.param("raise ValueError('mine')", "mine", id="an error of their own"),
        pytest.param("c.CourseDirectory.ignore = 3", "ignore", id="type"),
    ],
)
def test_broken_settings_are_one_sentence(tmp_path: Path, settings: str, fact: str) -> None:
    with pytest.raises(UserError, match=fact) as raised:
        course(tmp_path, settings)
    assert raised.value.where == str(tmp_path / "nbgrader_config.py")
    assert "\n" not in str(raised.value)
