"""Where the processor's time goes: one submission after the other, marked and kept in this process.

python benchmarks/split.py COURSE TIMES STUDENT...   prints JSON: core-seconds by student and part
"""

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil
import torch

from benchmarks.classroom import ASSIGNMENT, files_of
from handgrad.assignment.source import Source, described
from handgrad.batch.ledger import Ledger
from handgrad.grading.graders import Graders
from handgrad.grading.pipeline import Pipeline, with_pipeline
from handgrad.notebooks.intake import take
from handgrad.sandbox.execute import Executor
from handgrad.store.course import Course
from handgrad.store.gradebook import Gradebook


class _Meter:
    """Processor seconds of this process and of the sandbox, by part; calls within calls do not occur."""

    def __init__(self) -> None:
        self.parts: dict[str, float] = {}

    def around(self, owner: type, name: str, part: str) -> None:
        """Count what calls of a method take as `part`."""
        inner: Callable[..., Any] = getattr(owner, name)

        def timed(*arguments: Any, **keywords: Any) -> Any:
            began = time.process_time()
            try:
                return inner(*arguments, **keywords)
            finally:
                self.parts[part] = self.parts.get(part, 0.0) + time.process_time() - began

        setattr(owner, name, timed)


def main(root: Path, times: int, students: Sequence[str]) -> None:
    torch.set_num_threads(1)
    meter = _Meter()
    meter.around(Executor, "run", "sandbox")
    meter.around(Graders, "findings", "graders")
    meter.around(Gradebook, "save", "gradebook")
    found = with_pipeline(
        Source(root, ASSIGNMENT).load(),
        lambda pipeline: _measured(pipeline, meter, Course(root), times, students),
    )
    json.dump(found, sys.stdout)


def _measured(
    pipeline: Pipeline, meter: _Meter, course: Course, times: int, students: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Core-seconds by student and part."""
    about = described(pipeline.assignment)
    found = {}
    with Gradebook(course.db_url, ASSIGNMENT) as gradebook:
        ledger = Ledger(course, gradebook, about)

        def once(student: str) -> None:
            folder = course.submitted(student, ASSIGNMENT)
            submission = take(folder, about.release, about.files, about.settings.limits)
            ledger.record(student, submission, pipeline.grade(student, submission))

        for student in students:
            folder = course.submitted(student, ASSIGNMENT)
            folder.mkdir(parents=True)
            for stem, data in files_of(course.root, student).items():
                (folder / f"{stem}.ipynb").write_bytes(data)
            for _ in range(5):  # the first ones make what the others find made
                once(student)
            meter.parts.clear()
            began, jailed = time.process_time(), _jailed()
            for _ in range(times):
                once(student)
            total = time.process_time() - began
            parts = {name: spent / times for name, spent in meter.parts.items()}
            parts["files"] = total / times - sum(parts.values())
            parts["sandbox"] += (_jailed() - jailed) / times
            found[student] = parts
    return found


def _jailed() -> float:
    """Processor seconds of the sandbox's processes so far, and of those that they waited for."""
    total = 0.0
    for process in psutil.Process(os.getpid()).children(recursive=True):
        spent = process.cpu_times()
        total += spent.user + spent.system + spent.children_user + spent.children_system
    return total


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), int(sys.argv[2]), sys.argv[3:])
