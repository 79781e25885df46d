"""Throw damaged notebooks at the reader: no crash, no hang, one clear error each.

    python benchmarks/fuzz_reader.py [--inputs 12000] [--seed 1]

Every input is one of the released notebooks, solved or not, damaged in one of several ways: values
replaced in its JSON, bytes changed, cells moved, the whole made up. Each is read as a submission is and
what comes back is looked at. Ends with status 1 at the first input that does not do as it should, after
hypothesis has made it small, and leaves it in a file.
"""

import argparse
import json
import re
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import nbformat
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from demo.classroom import Course  # noqa: E402
from handgrad.limits import Limits  # noqa: E402
from handgrad.notebooks.notebookfile import UnreadableError  # noqa: E402
from handgrad.notebooks.submission import read  # noqa: E402
from handgrad.pages.words import reason  # noqa: E402
from handgrad.verdict import Note  # noqa: E402

SLOW = 2.0  # seconds of the processor for one input
LIMITS = Limits(notebook_mib=4)


_WORDS = """
    cells cell_type source input metadata nbgrader grade_id grade solution locked task points
    schema_version checksum id outputs output_type text data tags nbformat nbformat_minor worksheets
    attachments image/png language_info kernelspec name level code markdown raw heading html
    dlogits test_dlogits dh test_dh bessel parameters given_forward
""".split()  # noqa: SIM905 (a table of words)
_TEXTS = (
    st.text(max_size=30)
    | st.sampled_from(_WORDS)
    | st.sampled_from(
        ("\ud800", "\0", "\x1b[2J", "<script>", "]]>", "```\n~~~", "a" * 5000, "[x](javascript:1)")
    )
)
_NUMBERS = st.integers() | st.floats() | st.just(10**400) | st.just(-1)
_JSON = st.recursive(
    st.none() | st.booleans() | _NUMBERS | _TEXTS,
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(_TEXTS, inner, max_size=6),
    max_leaves=30,
)
_BYTES = st.sampled_from(
    (b"{", b"}", b"[", b"]", b'"', b"\\", b"\\u", b"\\ud800", b",", b":", b"\xff", b"\xef\xbb\xbf",
     b"NaN", b"1e999", b"-", b"null", b"\0", b"\n" * 50, b"[" * 200, b'{"a":' * 90, b"9" * 4400)
) | st.binary(max_size=12)  # fmt: skip


def replaced(draw: st.DrawFn, document: object) -> None:
    """One value somewhere in the document becomes another, or a key does, or a part is repeated."""
    here: object = document
    while isinstance(here, dict | list) and here:
        keys = sorted(here) if isinstance(here, dict) else range(len(here))
        key = draw(st.sampled_from(keys))
        inner = here[key]  # type: ignore[index, call-overload]
        if isinstance(inner, dict | list) and inner and draw(st.integers(0, 3)):
            here = inner
            continue
        match draw(st.integers(0, 4)):
            case 0:
                del here[key]  # type: ignore[arg-type]
            case 1 if isinstance(here, list):
                here.insert(draw(st.integers(0, len(here))), inner)
            case 2 if isinstance(here, dict):
                here[draw(_TEXTS)] = here.pop(key)
            case _:
                here[key] = draw(_JSON)  # type: ignore[index, call-overload]
        return


def shuffled(draw: st.DrawFn, document: dict[str, list[object]]) -> None:
    """Cells deleted, doubled, moved; the grade ids of two of them swapped."""
    cells = document.get("cells")
    if not isinstance(cells, list) or not cells:
        return
    for _ in range(draw(st.integers(1, 4))):
        one, other = (draw(st.integers(0, len(cells) - 1)) for _ in range(2))
        match draw(st.integers(0, 3)):
            case 0 if len(cells) > 1:
                del cells[one]
            case 1:
                cells.insert(other, json.loads(json.dumps(cells[one])))
            case 2:
                cells[one], cells[other] = cells[other], cells[one]
            case _:
                first, second = cells[one], cells[other]
                if isinstance(first, dict) and isinstance(second, dict):
                    first["metadata"], second["metadata"] = (
                        second.get("metadata"),
                        first.get("metadata"),
                    )


def bitten(draw: st.DrawFn, data: bytes) -> bytes:
    """Bytes cut out of the file, or put into it."""
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(data)))
        length = draw(st.sampled_from((0, 1, 2, 20, 500, 10**6)))
        data = data[:start] + draw(_BYTES) + data[start + length :]
    return data


@st.composite
def submissions(draw: st.DrawFn, notebooks: list[bytes]) -> tuple[str, bytes]:
    """What was done, and the file."""
    base = draw(st.sampled_from(notebooks))
    match draw(st.integers(0, 5)):
        case 0:
            return "made up", json.dumps(draw(_JSON), allow_nan=True).encode("utf-8", "replace")
        case 1:
            return "bytes changed", bitten(draw, base)
        case 2:
            document = json.loads(base)
            shuffled(draw, document)
            return "cells moved", json.dumps(document).encode()
        case 3:
            document = json.loads(base)
            shuffled(draw, document)
            for _ in range(draw(st.integers(1, 5))):
                replaced(draw, document)
            return "values and cells", bitten(draw, json.dumps(document).encode())
        case _:
            document = json.loads(base)
            for _ in range(draw(st.integers(1, 8))):
                replaced(draw, document)
            return "values replaced", json.dumps(document).encode()


def check(data: bytes, released: nbformat.NotebookNode) -> str:
    """What came of it: "read", or the code of the reason. Raises AssertionError otherwise."""
    began = time.process_time()
    refused: Note | None = None
    try:
        prepared = read(data, released, LIMITS)
    except UnreadableError as error:
        refused = error.why
    took = time.process_time() - began
    assert took < SLOW, f"{took:.1f} s"
    if refused is not None:
        said = reason(refused, "en")
        assert "\n" not in said, said
        assert len(said) < 400, said
        said.encode("utf-8")
        return refused.code
    nbformat.validate(prepared.notebook)
    nbformat.writes(prepared.notebook).encode("utf-8")
    mine = {
        cell.metadata.get("nbgrader", {}).get("grade_id"): cell for cell in prepared.notebook.cells
    }
    for original in released.cells:
        about = original.metadata.get("nbgrader", {})
        if about.get("grade_id"):
            cell = mine[about.grade_id]
            assert cell.metadata == original.metadata
            assert cell.cell_type == original.cell_type
            assert about.solution or cell.source == original.source
    return "read"


def campaign(inputs: int, start: int, tell: Callable[[str], None]) -> Counter[tuple[str, str]]:
    """Try so many inputs; what was done and what came of it, counted."""
    course = Course.read(ROOT, "backprop")
    released = course.release["1_every_step"]
    notebooks = [nbformat.writes(course.solved("1_every_step")).encode()]
    notebooks += [nbformat.writes(notebook).encode() for notebook in course.release.values()]
    found: Counter[tuple[str, str]] = Counter()
    slowest = 0.0

    @seed(start)
    @settings(
        max_examples=inputs,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink),
    )
    @given(submissions(notebooks))
    def attempt(one: tuple[str, bytes]) -> None:
        nonlocal slowest
        how, data = one
        began = time.process_time()
        try:
            came = check(data, released)
        except BaseException:
            Path("fuzz_reader.failed").write_bytes(data)
            raise
        slowest = max(slowest, time.process_time() - began)
        found[how, kind(came)] += 1
        if found.total() % 2000 == 0:
            tell(f"{found.total()} inputs, the slowest {slowest:.2f} s")

    attempt()
    tell(f"{found.total()} inputs, the slowest {slowest:.2f} s")
    return found


def kind(fact: str) -> str:
    """An error's fact without what is particular to one file."""
    return re.sub(r"\d+", "#", fact.replace("UTF-8", "text").split("(")[0]).strip()[:60]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=12_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    found = campaign(options.inputs, options.seed, lambda line: print(line, flush=True))
    for (how, came), count in sorted(found.items()):
        print(f"{count:7}  {how:18} {came}")
    total = found.total()
    print(f"{total} inputs: {total} ended as a notebook or with one clear error")
    return 0 if total >= options.inputs else 1


if __name__ == "__main__":
    sys.exit(main())
