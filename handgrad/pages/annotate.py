"""A report written into the notebooks it is about, as nbgrader keeps them in `autograded/`."""

import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from handgrad.notebooks.display import node
from handgrad.pages.words import name_of, say, tell, text
from handgrad.settings import Settings
from handgrad.verdict import Finding, Report

if TYPE_CHECKING:
    from nbformat import NotebookNode

_PROBLEMS_ID = "handgrad-problems"


def shown(
    notebooks: "Mapping[str, NotebookNode]", report: Report, settings: Settings
) -> dict[str, str]:
    """The texts of the notebooks that are kept: with each finding under its test cell."""
    return {
        stem: serialised(annotated(notebook, stem, report, settings))
        for stem, notebook in notebooks.items()
    }


def annotated(
    notebook: "NotebookNode", stem: str, report: Report, settings: Settings
) -> "NotebookNode":
    """A copy of `notebook` whose test cells show what the graders decided.

    A test cell's outputs are the reason, as Markdown, and the points, as the result nbgrader reads;
    where the graders could not tell there is no result. What is odd about the file stands on top.
    """
    findings = {f.grade_id: f for f in report.findings if f.notebook == stem}
    # Only what is changed below is copied: a notebook is a thousand small tables.
    copy = type(notebook)(notebook)
    copy.cells = [type(cell)(cell) for cell in notebook.cells]
    for cell in copy.cells:
        grade_id = cell.metadata.get("nbgrader", {}).get("grade_id")
        if cell.cell_type == "code" and grade_id in findings:
            cell.outputs = _outputs(findings[grade_id], settings)
    problems = report.problems.get(stem, ())
    if problems:
        lines = [f"- {escaped(say(note, settings.language))}" for note in problems]
        heading = f"**{text('page.problems', settings.language)}**"
        source = "\n".join([heading, "", *lines])
        copy.cells.insert(
            0,
            node(
                {
                    "cell_type": "markdown",
                    "id": _PROBLEMS_ID,
                    "metadata": {"deletable": False, "editable": False},
                    "source": source,
                }
            ),
        )
    return copy


def _outputs(finding: Finding, settings: Settings) -> list[Mapping[str, object]]:
    language = settings.language
    head = f"**{name_of(finding.verdict, language)}**"
    told = [escaped(line) for line in tell(finding, settings.feedback, language)]
    reason = node(
        {
            "output_type": "display_data",
            "data": {
                "text/markdown": "\n\n".join([head, *told]),
                "text/plain": "\n".join([str(finding.verdict), *told]),
            },
            "metadata": {},
        }
    )
    if finding.points is None:
        return [reason]
    mark = node(
        {
            "output_type": "execute_result",
            "data": {"text/plain": repr(checked_points(finding))},
            "execution_count": None,
            "metadata": {},
        }
    )
    return [reason, mark]


def checked_points(finding: Finding) -> float | None:
    """The points of a finding, None where it has none; ValueError where they are no mark.

    nbgrader pays in full for nan, for what is negative and for text, so nothing of that kind may leave.
    """
    points = finding.points
    if points is not None and not (math.isfinite(points) and 0 <= points <= finding.max_points):
        raise ValueError(f"{points} of {finding.max_points} points is not a mark")
    return points


def escaped(sentence: str) -> str:
    """A sentence for Markdown. Parts of it may be a student's: no tag and no link comes of them.

    What stands between backticks is a name or a message, and shows as it is.
    """
    pieces = sentence.split("`")
    if len(pieces) % 2 == 0:  # an odd backtick of somebody's
        pieces = [sentence.replace("`", "'")]
    return "`".join(
        piece if at % 2 else "".join(f"\\{c}" if c in _SPECIAL else c for c in piece)
        for at, piece in enumerate(pieces)
    )


_SPECIAL = frozenset("\\<>[]*_#|$~!&")


def serialised(notebook: "NotebookNode") -> str:
    """The text of a notebook file, a cell a line, without a second validation.

    nbformat indents, which `json` does in Python itself: ten times as slow.
    """
    cells = ",\n".join(_json(_with_lines(cell)) for cell in notebook.cells)
    rest = _json({key: value for key, value in notebook.items() if key != "cells"})
    return f'{{"cells": [\n{cells}\n],\n{rest[1:]}\n'


def _json(table: Mapping[str, object]) -> str:
    return json.dumps(table, ensure_ascii=False, sort_keys=True)


def _with_lines(cell: "NotebookNode") -> dict[str, object]:
    table = dict(cell)
    table["source"] = cell.source.splitlines(True)
    if cell.cell_type == "code":
        table["outputs"] = [_output_with_lines(output) for output in cell.outputs]
    return table


def _output_with_lines(output: "NotebookNode") -> dict[str, object]:
    table = dict(output)
    if output.output_type == "stream":
        table["text"] = output.text.splitlines(True)
    elif "data" in output:
        table["data"] = _bundle_with_lines(output.data)
    return table


def _bundle_with_lines(bundle: Mapping[str, object]) -> dict[str, object]:
    return {
        kind: value.splitlines(True) if isinstance(value, str) and kind[:5] == "text/" else value
        for kind, value in bundle.items()
    }
