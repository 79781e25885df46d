"""The sandboxes, and the demonstration, in places where courses live: what their kernels deny is denied."""

import ast
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from places import DENIED, PLACES, SANDBOXES, Place, reachable

from handgrad.sandbox import bubblewrap

BREAKOUTS = """
import socket, tempfile
from pathlib import Path
from handgrad.sandbox import breakouts, launch
with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0)) as server:
    secret = Path(folder, "secret")
    secret.write_text("not for notebooks")
    tried = breakouts.try_all(secret, server.getsockname()[1])
    assert secret.read_text() == "not for notebooks"
print(launch.chosen(), [attempt.what for attempt in tried if not attempt.held])
"""


@pytest.mark.parametrize("where", DENIED)
def test_where_namespaces_are_denied_landlock_is_chosen_and_holds(where: str) -> None:
    with DENIED[where].folder() as home:
        done = _there(DENIED[where], home, "-c", BREAKOUTS)
    assert done.stdout.strip() == "landlock []", done.stdout + done.stderr


if "bubblewrap" in SANDBOXES:

    @pytest.mark.parametrize("where", [name for name in PLACES if name not in DENIED])
    def test_bubblewrap_without_landlock_shows_its_own_processes_and_no_more(where: str) -> None:
        """As on kernels before 5.13, which know nothing of Landlock."""
        place = replace(PLACES[where], denied="landlock")
        with place.folder() as home:
            done = _there(place, home, "-c", BREAKOUTS)
        sandbox, _, left = done.stdout.strip().partition(" ")
        assert sandbox == "bubblewrap", done.stderr
        assert set(ast.literal_eval(left)) <= set(bubblewrap.UNCOVERED), left


if os.geteuid() == 0:

    def test_the_sandbox_holds_for_an_ordinary_user_too() -> None:
        """The tests of test_sandbox.py once more, as nobody, with an interpreter that nobody can reach."""
        place = PLACES["a user"]
        with place.folder() as home:
            tests = reachable().root / "tests/test_sandbox.py"
            done = _there(
                place,
                home,
                *("-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:handgrad"),
                *("--basetemp", home / "pytest", "--rootdir", reachable().root, tests),
                HANDGRAD_INNER="1",
            )
            assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]


@pytest.mark.parametrize("where", DENIED)
def test_the_demonstration_runs_where_namespaces_are_denied(where: str) -> None:
    with DENIED[where].folder() as home:
        done = _there(DENIED[where], home, "-m", "demo", home / "demo")
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
        assert (home / "demo/gradebook.db").exists()


def _there(
    place: Place, home: Path, *words: str | Path, **more: str
) -> subprocess.CompletedProcess[str]:
    """Run our Python in a place."""
    return subprocess.run(
        place.command(*words),
        cwd=home,
        env=place.environment(HOME=str(home), **more),
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
