"""Reads what a student's process sent, believing none of it: types, sizes and names are checked."""

from collections.abc import Iterator, Mapping, Sequence
from typing import cast, get_args

from torch import Tensor

from handgrad.evidence import (
    UNUSABLE,
    Answer,
    AnswerKind,
    Attempt,
    CellResult,
    CellStatus,
    RunResult,
)
from handgrad.jailed import wire
from handgrad.limits import Limits
from handgrad.plan import Cell, Plan
from handgrad.verdict import Note

_MOST_TEXT = 10_000
_MOST_AXES = 16  # some of torch's arithmetic ends the process above 64
_ANSWER_KINDS = frozenset(get_args(AnswerKind))
_STATUSES = frozenset(get_args(CellStatus))
_BESIDE_OUTPUTS = 1 << 17  # a traceback, the line that says that outputs were cut, keys
_OUTPUT_KEYS: Mapping[str, frozenset[str]] = {
    "stream": frozenset({"output_type", "name", "text"}),
    "display_data": frozenset({"output_type", "data", "metadata"}),
    "execute_result": frozenset({"output_type", "data", "metadata", "execution_count"}),
    "error": frozenset({"output_type", "ename", "evalue", "traceback"}),
}


class BorderError(Exception):
    """What came is not what a run looks like: it is forged or broken, and nothing of it is used."""


def run_of(
    key: str, body: bytes, plan: Plan, cells: Sequence[Cell], limits: Limits
) -> tuple[RunResult, tuple[Attempt, ...]]:
    """One run from its frame. Raises BorderError for anything that a runner would not send."""
    try:
        header, packed = wire.opened(body)
        if len(packed) > (limits.tensor_mib << 20) + (1 << 20):
            raise BorderError("more tensors than the limit allows")
        tensors = wire.unpack(packed)
    except wire.WireError as error:
        raise BorderError(str(error)) from None
    if header.get("run") != key:
        raise BorderError("a run under another run's name")
    taken = {name for names in plan.takes.values() for name in names}
    taken.update(*(run.replace for run in plan.runs if run.key == key))
    answers = _answers(_table(header.get("answers")), tensors, frozenset(taken))
    changed = _texts(header.get("changed"))
    withheld = tuple(_withheld(answers, plan, cells))
    answers |= {one.what.split()[0]: Answer("missing") for one in withheld}
    return (
        RunResult(
            key,
            _cells(header.get("cells"), cells, limits),
            answers,
            frozenset(name for name in changed if name in answers),
        ),
        (*_attempts(header.get("attempts"), cells), *withheld),
    )


def reason_of(sent: object, known: Mapping[str, frozenset[str]]) -> Note | None:
    """A reason from a header; raises BorderError for one that is not `known` with just these parts."""
    if sent is None:
        return None
    code, parts = _row(sent, str, dict)
    if (
        not isinstance(code, str)
        or not isinstance(parts, dict)
        or known.get(code) != frozenset(parts)
    ):
        raise BorderError("a reason that nobody gives")
    return Note(code, {name: _text(part) for name, part in parts.items()})


def _withheld(
    answers: Mapping[str, Answer], plan: Plan, cells: Sequence[Cell]
) -> Iterator[Attempt]:
    """Answers that a run says nothing of, though it came to its end: every test cell takes its own, so
    the notebook's code took them out.
    """
    for cell in cells:
        for name in plan.takes.get(cell.grade_id, ()) if cell.kind == "test" else ():
            if name not in answers:
                yield Attempt(cell.index, f"{name} was taken out of what the run sent", "")


def _answers(
    listed: Mapping[str, object], tensors: Mapping[str, Tensor], known: frozenset[str]
) -> dict[str, Answer]:
    answers: dict[str, Answer] = {}
    if not (set(listed) <= known and set(tensors) <= set(listed)):
        raise BorderError("answers to questions that were not asked")
    for name, entry in listed.items():
        if not isinstance(entry, list) or len(entry) != 2:
            raise BorderError("an answer that is no pair")
        kind, why = entry[0], reason_of(entry[1], UNUSABLE)
        if (
            kind not in _ANSWER_KINDS
            or (kind == "tensor") != (name in tensors)
            or (kind == "unusable") != (why is not None)
        ):
            raise BorderError("an answer of no known kind")
        tensor = tensors.get(name)
        if tensor is not None and tensor.dim() > _MOST_AXES:
            answers[name] = Answer("unusable", why=Note("axes", {"count": str(tensor.dim())}))
            continue
        answers[name] = Answer(cast(AnswerKind, kind), tensor, why)
    return answers


def _cells(listed: object, cells: Sequence[Cell], limits: Limits) -> tuple[CellResult, ...]:
    if not isinstance(listed, list) or len(listed) != len(cells):
        raise BorderError("another number of cells than it was given")
    results: list[CellResult] = []
    for cell, entry in zip(cells, listed, strict=True):
        fields = _table(entry)
        status = fields.get("status")
        known = isinstance(status, str) and status in _STATUSES
        if fields.get("index") != cell.index or not known:
            raise BorderError("a cell that it was not given")
        results.append(
            CellResult(
                cell.index,
                cast(CellStatus, status),
                _text(fields.get("ename")),
                _text(fields.get("evalue")),
                _outputs(fields.get("outputs"), limits),
            )
        )
    return tuple(results)


def _outputs(listed: object, limits: Limits) -> tuple[Mapping[str, object], ...]:
    if not isinstance(listed, list):
        raise BorderError("outputs that are no list")
    room = (limits.output_kib << 10) + _BESIDE_OUTPUTS
    outputs: list[Mapping[str, object]] = []
    for entry in listed:
        output = _table(entry)
        kind = output.get("output_type")
        if not isinstance(kind, str) or set(output) != _OUTPUT_KEYS.get(kind, frozenset()):
            raise BorderError("an output that is none of nbformat's")
        made = _output(kind, output)
        room -= _length(made)
        if room < 0:
            raise BorderError("more output than the limit allows")
        outputs.append(made)
    return tuple(outputs)


def _output(kind: str, output: Mapping[str, object]) -> Mapping[str, object]:
    match kind:
        case "stream":
            if output["name"] not in ("stdout", "stderr"):
                raise BorderError("a stream of another name")
            return {**output, "text": _long_text(output["text"])}
        case "error":
            lines = _texts(output["traceback"])
            return {
                "output_type": "error",
                "ename": _text(output["ename"]),
                "evalue": _text(output["evalue"]),
                "traceback": lines,
            }
        case _:
            data = _table(output["data"])
            metadata = _shallow(_table(output["metadata"]))
            made: dict[str, object] = {"output_type": kind, "metadata": metadata}
            if kind == "execute_result":
                made["execution_count"] = None
            made["data"] = {
                mime: _long_text(value) if isinstance(value, str) else _json_only(mime, value)
                for mime, value in data.items()
            }
            return made


def _json_only(mime: str, value: object) -> object:
    if mime == "application/json" or mime.endswith("+json"):
        return _shallow(value)
    raise BorderError(f"an output whose {mime[:100]} is no text")


def _shallow(value: object, depth: int = 20) -> object:
    """The value, if nothing in it lies deeper than `depth`: others will walk through it."""
    if depth == 0:
        raise BorderError("an output of too many levels")
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for part in inner:
        _shallow(part, depth - 1)
    return value


def _attempts(listed: object, cells: Sequence[Cell]) -> tuple[Attempt, ...]:
    if not isinstance(listed, list) or len(listed) > 1000:
        raise BorderError("attempts that are no list")
    lines = {
        cell.index: {line.strip()[:200] for line in cell.source.splitlines()} for cell in cells
    }
    found: list[Attempt] = []
    for entry in listed:
        index, what, line = _row(entry, int, str, str)
        if not isinstance(index, int) or index not in lines:
            raise BorderError("an attempt in a cell that it was not given")
        # A line that does not stand there is the notebook's invention.
        told = line if isinstance(line, str) and line in lines[index] else ""
        found.append(Attempt(index, _text(what)[:200], told))
    return tuple(found)


def _row(entry: object, *kinds: type) -> list[object]:
    if not isinstance(entry, list) or tuple(map(type, entry)) != kinds:
        raise BorderError("an entry of another shape")
    return entry


def _length(value: object) -> int:
    """Characters in all texts within."""
    match value:
        case str():
            return len(value)
        case dict():
            return sum(_length(key) + _length(part) for key, part in value.items())
        case list() | tuple():
            return sum(map(_length, value))
        case _:
            return 8


def _table(value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise BorderError("something that is no table")
    return value


def _texts(value: object) -> list[str]:
    if not isinstance(value, list):
        raise BorderError("something that is no list of texts")
    return [_text(part) for part in value[:1000]]


def _text(value: object) -> str:
    return _long_text(value)[:_MOST_TEXT]


def _long_text(value: object) -> str:
    """Text that can be written to a file: lone surrogates become question marks."""
    if not isinstance(value, str):
        raise BorderError("something that is no text")
    return value if value.isascii() else value.encode("utf-8", "replace").decode("utf-8")
