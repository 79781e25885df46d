"""What the doctor says of a machine that can grade, and of ones that cannot."""

import os
import sys
from pathlib import Path

import pytest
import torch

from handgrad.sandbox import breakouts, doctor
from handgrad.sandbox.doctor import Check, examine
from handgrad.sandbox.launch import SETTING


@pytest.fixture(scope="module")
def checks() -> dict[str, Check]:
    """All checks of this machine, by what they are about."""
    path = os.environ["PATH"]
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{path}"
    try:
        return {check.what: check for check in examine(Path.cwd())}
    finally:
        os.environ["PATH"] = path


def test_this_machine_can_grade(checks: dict[str, Check]) -> None:
    assert [check for check in checks.values() if not check.ok] == []


def test_each_attempt_to_break_out_has_its_line_and_its_error(checks: dict[str, Check]) -> None:
    for what in breakouts.ATTEMPTS:
        assert checks[f"cannot {what}"].fact, what


def test_what_is_well_needs_no_cure(checks: dict[str, Check]) -> None:
    assert {check.cure for check in checks.values()} == {""}


def test_a_wall_that_is_missing_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(breakouts, "ATTEMPTS", {"add one and one": "1 + 1"})
    (check,) = [check for check in examine(Path.cwd()) if check.what == "cannot add one and one"]
    assert not check.ok
    assert check.fact == "a notebook can"
    assert "Do not grade" in check.cure


def test_alembic_off_the_path_has_a_cure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    check = doctor._alembic()
    assert not check.ok
    assert str(Path(sys.executable).parent) in check.cure


def test_torch_is_told_with_its_build() -> None:
    check = doctor._package("torch", (2, 4), "")
    version, build = check.fact.split(", ")
    assert torch.__version__.startswith(version)
    assert build == (f"CUDA {torch.version.cuda} build" if torch.version.cuda else "CPU build")


@pytest.mark.parametrize(
    ("module", "oldest", "fact"),
    [("no_such_module", (1,), "not installed"), ("torch", (99, 0), "99.0 is needed")],
    ids=["missing", "old"],
)
def test_a_package_that_is_missing_or_old_says_how_to_install_it(
    module: str, oldest: tuple[int, ...], fact: str
) -> None:
    check = doctor._package(module, oldest, f"pip install {module}")
    assert not check.ok
    assert fact in check.fact
    assert f"pip install {module}" in check.cure


def test_a_full_disk_and_a_foreign_folder_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_DISK_GIB", 1 << 40)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    checks = list(doctor._space(Path.cwd()))
    assert [check.ok for check in checks] == [False, False, False]
    assert all(check.cure for check in checks)


GROUPS = {
    "a pod of 1 GiB": ("1073741824", "0.8 GiB available to this control group"),
    "a group that may take more than there is": ("1125899906842624", "GiB available"),
    "no limit": ("max", "GiB available"),
}


@pytest.mark.parametrize(("limit", "fact"), GROUPS.values(), ids=GROUPS)
def test_the_memory_of_a_control_group_counts_where_it_is_less(
    limit: str, fact: str, tmp_path: Path
) -> None:
    (tmp_path / "memory.max").write_text(f"{limit}\n")
    (tmp_path / "memory.current").write_text(f"{512 << 20}\n")
    (tmp_path / "memory.stat").write_text(f"anon {100 << 20}\ninactive_file {307 << 20}\n")
    check = doctor._memory(tmp_path)
    assert check.fact.endswith(fact)
    assert check.ok == (limit != "1073741824")


def test_a_sandbox_that_does_not_start_names_the_switch(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bwrap = tmp_path / "bwrap"
    bwrap.write_text(
        "#!/bin/sh\n"
        '[ "$1" = --version ] && echo bubblewrap 0.11.0 && exit\n'
        "echo bwrap: setting up uid map: Permission denied >&2; exit 1\n"
    )
    bwrap.chmod(0o755)
    switch = tmp_path / "userns"
    switch.write_text("0\n")
    monkeypatch.setenv("HANDGRAD_BWRAP", str(bwrap))
    monkeypatch.setenv(SETTING, "bubblewrap")
    monkeypatch.setattr(doctor, "_SWITCHES", ((str(switch), "0", "Turn the switch"),))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    *_, check = examine(Path.cwd())
    assert (check.what, check.ok, check.cure) == ("sandbox starts", False, "Turn the switch")
    assert "Permission denied" in check.fact


def test_the_second_sandbox_says_what_it_does_not_cover(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SETTING, "landlock")
    monkeypatch.setattr(breakouts, "ATTEMPTS", {"read a secret": "open({secret!r})"})
    found = {check.what: check for check in doctor._sandbox()}
    assert "Landlock" in found["sandbox"].fact
    assert "path exists" in found["what that does not cover"].fact
    assert found["cannot read a secret"].ok


def test_an_unknown_sandbox_is_a_mistake_of_the_person(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SETTING, "chroot")
    (check,) = doctor._sandbox()
    assert not check.ok
    assert "'chroot'" in check.fact
