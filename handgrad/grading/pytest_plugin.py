"""The option `--submission`, by which a person runs hidden graders with pytest itself.

`pytest graders/backprop --submission submitted/alice/backprop` runs the tests that grade, on one
submission. Every pytest session of this environment loads this module, so it imports next to nothing.
"""

from pathlib import Path

import pytest

PLUGIN = "handgrad-graders"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("handgrad").addoption(
        "--submission",
        metavar="FOLDER",
        help="a submission to grade with hidden graders: submitted/<student>/<assignment>",
    )


def pytest_configure(config: pytest.Config) -> None:
    folder = config.getoption("--submission", None)
    if folder is None:
        return
    if not Path(folder).is_dir():
        raise pytest.UsageError(f"{folder}: there is no such folder. Name a submission's folder.")
    from handgrad.grading.by_hand import GradersByHand

    config.pluginmanager.register(GradersByHand(config, Path(folder)), PLUGIN)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    graders = metafunc.config.pluginmanager.has_plugin(PLUGIN)
    if hasattr(metafunc.module, "NOTEBOOK") and not graders:
        raise pytest.UsageError(
            f"{metafunc.module.__file__}: these are hidden graders, and no submission was named. "
            "Add --submission submitted/<student>/<assignment>."
        )
