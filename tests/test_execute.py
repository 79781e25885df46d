"""Cells in, evidence out: runs, answers, prefixes, and a worker that is lost."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import torch
from jailed import (
    FILES,
    GIVEN,
    LIMITS,
    PLAN,
    REPLACED,
    answer,
    cell,
    cells,
    executor,
    play,
    printed,
    values,
)

from handgrad.errors import LostError, UserError
from handgrad.jailed import wire
from handgrad.plan import Cell, Plan, Run
from handgrad.sandbox.border import BorderError, run_of
from handgrad.sandbox.execute import Executor
from handgrad.verdict import Note


@pytest.fixture(scope="module")
def jail() -> Iterator[Executor]:
    with executor() as started:
        yield started


def test_a_clean_notebook_gives_every_run_without_trouble(jail: Executor) -> None:
    evidence = play(jail, cells())
    assert evidence.trouble is None
    assert evidence.attempts == ()
    assert list(evidence.runs) == ["display", "chain", "alone"]
    assert {c.status for run in evidence.runs.values() for c in run.cells} == {"ok"}


def test_parameters_of_a_run_are_assigned_behind_their_cell(jail: Executor) -> None:
    evidence = play(jail, cells())
    for run, seed in (("chain", 5), ("alone", 6), ("display", 1)):
        x = torch.randn(4, 3, generator=torch.Generator().manual_seed(seed))
        torch.testing.assert_close(answer(evidence, "dy", run).tensor, 2 * x.tanh())


def test_the_replacement_takes_the_place_of_whatever_was_computed(jail: Executor) -> None:
    for dy in ("dy = 2 * y", "dy = None", "raise ValueError", "", "del y"):
        evidence = play(jail, cells(dy, dx="dx = dy * 1"))
        assert values(evidence, "dx", "alone") == REPLACED.flatten().tolist(), dy


def test_a_replacement_written_to_in_place_is_put_back(jail: Executor) -> None:
    more = "dy.mul_(0)", "x.zero_(); y.data.fill_(7)", "dx = torch.stack([dy, x, y])"
    notebook = (*cells(dx="", dy=""), *cells("", "", *more)[7:])
    sources = [*notebook[:3], *notebook[3:5], *notebook[7:], *notebook[5:7]]
    evidence = play(jail, sources)
    got = answer(evidence, "dx", "alone").tensor
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(6))
    assert got is not None
    torch.testing.assert_close(got, torch.stack([REPLACED, x, x.tanh()]))


def test_runs_do_not_see_each_other(jail: Executor) -> None:
    marks = (
        "dy = torch.tensor([float('mark' in globals()), float(len(words)), x.sum(), both[0].sum()])\n"
        "mark = 1; words.append('x'); x.zero_(); both.append(3)"
    )
    evidence = play(jail, cells(marks))
    for run, seed in (("chain", 5), ("display", 1)):
        x = torch.randn(4, 3, generator=torch.Generator().manual_seed(seed))
        got = values(evidence, "dy", run)
        assert got[:2] == [0.0, 3.0]
        assert got[2] == pytest.approx(float(x.sum()))
        assert got[2] == got[3], "the list no longer holds the variable's own tensor"


@pytest.mark.parametrize(
    ("made", "change", "look"),
    [
        ("import numpy as np\nkept = np.zeros(3)", "kept += 1", "float(kept.sum())"),
        ("kept = [0] * 100_000", "kept[777] = 1", "float(sum(kept))"),
        ("kept = [0] * 100_000", "kept.append(1)", "float(sum(kept))"),
        ("from collections import Counter\nkept = Counter()", "kept['a'] += 1", "float(kept['a'])"),
        ("kept = bytearray(3)", "kept[0] = 1", "float(sum(kept))"),
    ],
    ids=["an array", "a long list", "a longer list", "a counter", "bytes"],
)
def test_what_a_run_changes_in_a_given_value_is_not_there_in_the_next(
    made: str, change: str, look: str
) -> None:
    given = (Cell(0, "", "given", f"import torch\n{made}"), *GIVEN[1:])
    with Executor(FILES, {"notebook": PLAN}, {"notebook": given}, LIMITS) as jail:
        evidence = play(jail, (*given, *cells(f"dy = torch.tensor({look})\n{change}")[3:]))
    assert [values(evidence, "dy", run) for run in ("display", "chain", "alone")] == [[0.0]] * 3


def test_what_skip_hands_out_is_of_its_name_and_of_its_run(jail: Executor) -> None:
    # The sum, as the very tensor is no answer.
    source = "dy = torch.stack([skip('x').sum(), skip('y').sum()])"
    evidence = play(jail, cells(source))
    sums = [value for run in ("display", "chain") for value in values(evidence, "dy", run)]
    assert len(set(sums)) == 4


def test_submissions_do_not_see_each_other(jail: Executor) -> None:
    play(jail, cells("torch.tanh = None; import check; check.left = 1; open('left', 'w').close()"))
    source = (
        "import check, os; dy = torch.tensor([hasattr(check, 'left'), os.path.exists('left')]) * 1"
    )
    evidence = play(jail, cells(source))
    assert values(evidence, "dy") == [0.0, 0.0]


def test_notebooks_of_one_submission_do_not_see_each_other() -> None:
    plan = Plan("second", PLAN.runs, PLAN.takes)
    with Executor(
        FILES, {"notebook": PLAN, "second": plan}, {"notebook": GIVEN, "second": GIVEN}, LIMITS
    ) as both:
        found = both.run(
            {
                "notebook": cells("import os; torch.ones = None; open('left', 'w'); os._exit(0)"),
                "second": cells("import os; dy = torch.ones(1) * os.path.exists('left')"),
            }
        )
    assert values(found["second"], "dy") == [0.0]
    assert cell(found["notebook"], 10).status == "killed"


def test_a_cell_put_in_early_runs_after_the_given_cells_and_changes_none_of_their_values(
    jail: Executor,
) -> None:
    early = (
        GIVEN[0],
        Cell(30, "", "other", "words.append('zoe'); print(len(words), len(x))"),
        *cells("dy = torch.ones(len(words))")[1:],
    )
    evidence = play(jail, early)
    assert len(values(evidence, "dy")) == 3
    assert cell(evidence, 30).outputs[0]["text"] == "4 4\n"
    assert cell(evidence, 0).outputs[0]["text"] == "3 names\n"


def test_functions_of_given_cells_see_the_names_of_the_run() -> None:
    given = (
        Cell(0, "", "given", "import torch\nscale = 2\ndef scaled(t):\n    return t * scale"),
        Cell(1, "", "given", "k = 3", parameters=True),
        Cell(2, "", "given", "def by_k(t):\n    return t * k"),
    )
    plan = Plan("n", (Run("one", {"k": 5}), Run("two", {"k": 7})), {"test_d": ("d",)})
    answers = Cell(3, "d", "answer", "scale = 10\nd = scaled(by_k(torch.ones(1)))")
    with Executor({}, {"n": plan}, {"n": given}, LIMITS) as jail:
        evidence = jail.run({"n": (*given, answers, Cell(4, "test_d", "test", ""))})["n"]
    assert values(evidence, "d", "one") == [50.0]
    assert values(evidence, "d", "two") == [70.0]


OF_FLOATS = Note("sequence_of", {"kind": "list", "count": "32", "what": "float"})


@pytest.mark.parametrize(
    ("source", "kind", "why"),
    [
        ("", "missing", None),
        ("dy = None", "missing", None),
        ("dy = [0.5] * 32", "unusable", OF_FLOATS),
        ("dy = (1, 'a')", "unusable", Note("sequence", {"kind": "tuple", "count": "2"})),
        ("dy = 'rows'", "unusable", Note("no_tensor", {"kind": "str"})),
        ("dy = y.numpy().astype(str)", "unusable", Note("no_tensor", {"kind": "ndarray"})),
        ("dy = y.numpy() + 0j", "unusable", Note("complex_numbers")),
        ("import numpy as np; dy = np.broadcast_to(y.numpy()[0], (10**9, 3))", "unusable",
         Note("too_large", {"shape": "(1000000000, 3)"})),
        ("dy = 10**100", "unusable", Note("no_tensor", {"kind": "int"})),
        ("dy = 3.0", "tensor", None),
        ("dy = True", "tensor", None),
        ("dy = y.numpy()", "tensor", None),
        ("dy = y.numpy()[::-1]", "tensor", None),
        ("dy = y.numpy().sum()", "tensor", None),
        ("dy = y > 0", "tensor", None),
        ("dy = y + 0j", "unusable", Note("complex_numbers")),
        ("dy = y.to_sparse()", "unusable", Note("sparse", {"layout": "torch.sparse_coo"})),
        ("dy = y.to('meta')", "unusable", Note("elsewhere", {"device": "meta"})),
        ("dy = y[0].expand(10**9, 3)", "unusable", Note("too_large", {"shape": "(1000000000, 3)"})),
        ("dy = skip('y')", "skipped", None),
        ("dy = skip('y').clone()", "skipped", None),
        ("dy = y.double()", "tensor", None),
        ("dy = y.half()", "tensor", None),
        ("dy = y.bfloat16()", "tensor", None),
        ("dy = torch.arange(3)", "tensor", None),
        ("dy = torch.tensor(1.0)", "tensor", None),
        ("dy = torch.zeros(0, 3)", "tensor", None),
        ("dy = torch.zeros(2).expand(4, 2).T", "tensor", None),
        ("dy = torch.ones(2, requires_grad=True)", "tensor", None),
        ("dy = torch.nn.Parameter(y)", "tensor", None),
        ("dy = torch.tensor([float('nan'), float('inf')])", "tensor", None),
    ],
    ids=lambda value: value if isinstance(value, str) and value.startswith("dy") else "",
)  # fmt: skip
def test_an_answer_is_a_plain_tensor_or_says_why_not(
    jail: Executor, source: str, kind: str, why: Note | None
) -> None:
    found = answer(play(jail, cells(source)), "dy")
    assert (found.kind, found.why) == (kind, why)
    if kind == "tensor":
        assert found.tensor is not None
        assert type(found.tensor) is torch.Tensor
        assert not found.tensor.requires_grad
        assert found.tensor.is_contiguous()


LIAR = """\
class Liar(torch.Tensor):
    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        return True
    layout = dtype = device = shape = property(lambda self: torch.bool)
    def __eq__(self, other):
        return True
dy = torch.ones(4, 3).as_subclass(Liar)
"""
ACTOR = """\
class Actor:
    __class__ = torch.Tensor
    def __getattr__(self, name):
        return lambda *a, **k: True
dy = Actor()
"""


def test_a_subclass_that_lies_is_only_its_numbers(jail: Executor) -> None:
    assert values(play(jail, cells(LIAR)), "dy") == [1.0] * 12


def test_an_object_that_plays_a_tensor_is_unusable(jail: Executor) -> None:
    assert answer(play(jail, cells(ACTOR)), "dy").kind == "unusable"


def test_all_answers_of_a_run_share_one_limit(jail: Executor) -> None:
    evidence = play(jail, cells("dy = torch.ones(700_000)", "dx = torch.ones(700_000)"))
    assert answer(evidence, "dy").kind == "tensor"
    assert answer(evidence, "dx").kind == "unusable"


def test_an_answer_changed_after_its_test_cell_is_noted(jail: Executor) -> None:
    evidence = play(jail, cells("dy = 2 * y", "dx = dy; dy = dy + 1"))
    assert evidence.runs["chain"].changed == {"dy"}
    assert play(jail, cells()).runs["chain"].changed == frozenset()


def test_test_cells_run_only_where_people_look(jail: Executor) -> None:
    source = "dy = y\ndef cmp(*_):\n    print('called')"
    evidence = play(jail, cells(source))
    assert printed(evidence, 11) == "called\n"
    assert cell(evidence, 11, "chain").outputs == ()


def test_skipping_what_does_not_exist_is_an_error_of_that_cell(jail: Executor) -> None:
    assert cell(play(jail, cells("dy = skip('nothing')")), 10).ename == "NameError"


def test_a_given_cell_that_raises_stops_everything_with_a_cure() -> None:
    broken = (Cell(0, "", "given", "open('no such file')"),)
    with (
        pytest.raises(
            UserError, match="given cell 0 of notebook raised FileNotFoundError"
        ) as error,
        Executor({}, {"notebook": PLAN}, {"notebook": broken}, LIMITS) as jail,
    ):
        jail.wait()
    assert error.value.cure


def test_a_lost_worker_is_said_and_the_next_call_starts_another() -> None:
    before = set(_descendants())
    with executor() as jail:
        play(jail, cells())
        _worker(before).kill()
        with pytest.raises(LostError, match="the sandbox was lost"):
            play(jail, cells())
        assert play(jail, cells()).trouble is None


def test_closing_leaves_no_process_behind() -> None:
    before = set(_descendants())  # the jail that the other tests share
    with executor() as jail:
        play(jail, cells("import os\nif os.fork() == 0:\n    while True: pass"))
        started = set(_descendants()) - before
        assert started
    # They have been killed; a busy machine takes a moment to bury them.
    _, alive = psutil.wait_procs(started, timeout=60)
    assert [p for p in alive if p.status() != psutil.STATUS_ZOMBIE] == []


def test_killing_the_grader_kills_its_worker(tmp_path: Path) -> None:
    code = (
        "import jailed, time\n"
        "with jailed.executor() as jail:\n"
        "    print('ready', flush=True)\n"
        "    jailed.play(jail, jailed.cells('while True: pass'))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    with subprocess.Popen(
        [__import__("sys").executable, "-c", code],
        stdout=subprocess.PIPE,
        env=environment,
        cwd=tmp_path,
    ) as grader:
        assert grader.stdout is not None
        assert grader.stdout.readline() == b"ready\n"
        time.sleep(0.3)
        started = psutil.Process(grader.pid).children(recursive=True)
        assert started
        os.kill(grader.pid, signal.SIGKILL)
    _, alive = psutil.wait_procs(started, timeout=60)
    assert alive == []


def test_without_a_sandbox_the_same_comes_back() -> None:
    with executor(sandboxed=False) as free, executor() as jail:
        for source in ("dy = 2 * y", "import os; os._exit(1)", "while True: pass"):
            loose, held = play(free, cells(source)), play(jail, cells(source))
            assert [c.status for c in loose.runs["chain"].cells] == [
                c.status for c in held.runs["chain"].cells
            ]
            assert answer(loose, "dy").kind == answer(held, "dy").kind


def test_no_sandbox_is_an_error_with_a_cure_and_never_a_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bwrap = tmp_path / "bwrap"
    bwrap.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && echo bubblewrap 0.9.0 && exit\necho no namespaces >&2; exit 1\n'
    )
    bwrap.chmod(0o755)
    monkeypatch.setenv("HANDGRAD_BWRAP", str(bwrap))
    monkeypatch.setenv("HANDGRAD_SANDBOX", "bubblewrap")  # or the other one would do
    with pytest.raises(UserError, match="no namespaces") as error, executor() as jail:
        jail.wait()
    assert "doctor" in error.value.cure


CLEAN: dict[str, object] = {
    "run": "chain",
    "cells": [
        {"index": c.index, "status": "ok", "ename": "", "evalue": "", "outputs": []}
        for c in cells()
    ],
    "answers": {"dy": ["tensor", None], "dx": ["missing", None]},
    "changed": [],
    "attempts": [],
}


def _body(header: dict[str, object], tensors: dict[str, torch.Tensor]) -> bytes:
    return wire.frame(header, wire.pack(tensors))


def _raw(header: bytes) -> bytes:
    return len(header).to_bytes(4, "little") + bytes(4) + header


def _deep(levels: int) -> object:
    value: object = 1
    for _ in range(levels):
        value = [value]
    return value


def _outputs(*outputs: object) -> dict[str, object]:
    first = {"index": 0, "status": "ok", "ename": "", "evalue": "", "outputs": list(outputs)}
    return {**CLEAN, "cells": [first, *CLEAN["cells"][1:]]}  # type: ignore[index]


STREAM = {"output_type": "stream", "name": "stdout", "text": "x"}
DISPLAY = {"output_type": "display_data", "metadata": {}, "data": {"text/plain": "x"}}
ONE = torch.ones(1)


def test_a_frame_as_a_runner_sends_it_is_read() -> None:
    result, attempts = run_of("chain", _body(CLEAN, {"dy": ONE}), PLAN, cells(), LIMITS)
    assert result.answers["dy"].tensor is not None
    assert attempts == ()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xff\xff\xff",
        _body({**CLEAN, "run": "display"}, {"dy": ONE}),
        _body({**CLEAN, "run": 3}, {"dy": ONE}),
        _body({**CLEAN, "answers": {"dother": ["tensor", None]}}, {"dother": ONE}),
        _body({**CLEAN, "answers": {"dy": ["perfect", ""]}}, {"dy": ONE}),
        _body({**CLEAN, "answers": {"dy": ["missing", None]}}, {"dy": ONE}),
        _body({**CLEAN, "answers": {"dy": [["tensor"], ""]}}, {"dy": ONE}),
        _body(CLEAN, {}),
        _body(CLEAN, {"dy": ONE, "dx": ONE}),
        _body(CLEAN, {"dy": torch.ones(3 << 20)}),
        _body({**CLEAN, "cells": []}, {"dy": ONE}),
        _body({**CLEAN, "cells": None}, {"dy": ONE}),
        _body({**CLEAN, "changed": {"dy": 1}}, {"dy": ONE}),
        _body({**CLEAN, "attempts": [[99, "door", "line"]]}, {"dy": ONE}),
        _body({**CLEAN, "attempts": [[True, "door", "line"]]}, {"dy": ONE}),
        _body({**CLEAN, "attempts": [["0", "door", "line"]]}, {"dy": ONE}),
        _body(_outputs({**STREAM, "name": "log"}), {"dy": ONE}),
        _body(_outputs({**STREAM, "more": 1}), {"dy": ONE}),
        _body(_outputs({**STREAM, "text": "x" * 200_000}), {"dy": ONE}),
        _body(_outputs({**DISPLAY, "data": {"text/html": {"a": 1}}}), {"dy": ONE}),
        _body(_outputs({**DISPLAY, "metadata": {"a": _deep(30)}}), {"dy": ONE}),
        _body(_outputs({**DISPLAY, "data": {"application/json": _deep(900)}}), {"dy": ONE}),
        _body(_outputs({"output_type": "pickle", "data": "x"}), {"dy": ONE}),
        _body(CLEAN, {"dy": ONE})[:-1],
        _raw(b"[" * 70_000),
        _raw(b'{"run":"chain","cells":[' + b"{}," * 400_000 + b"{}]}"),
        _raw(b" " * (27 << 20) + b"{}"),
        wire.frame(CLEAN, (2 << 20).to_bytes(8, "little") + b"{" + b" " * (2 << 20)),
    ],
    ids=[
        "nothing", "a length too long", "another run's name", "a name that is a number",
        "an answer nobody asked for", "an unknown kind", "missing yet there", "a kind that is a list",
        "a tensor that is not there", "a tensor too many", "too many bytes", "no cells",
        "cells that are null", "changed that is a table", "an attempt in no cell", "a cell called True",
        "a cell called by text", "a third stream", "a key too many", "too much output",
        "html that is a table", "deep metadata", "deep json", "an output of no known type",
        "cut short", "nested 70,000 deep", "400,000 objects", "a long header", "many names",
    ],
)  # fmt: skip
def test_a_forged_frame_is_refused_whole(body: bytes) -> None:
    with pytest.raises(BorderError):
        run_of("chain", body, PLAN, cells(), LIMITS)


def test_an_answer_that_a_finished_run_says_nothing_of_is_missing_and_is_listed() -> None:
    body = _body({**CLEAN, "answers": {"dy": ["tensor", None]}}, {"dy": ONE})
    result, attempts = run_of("chain", body, PLAN, cells(), LIMITS)
    assert result.answers["dx"].kind == "missing"
    assert [(one.cell, one.what) for one in attempts] == [
        (13, "dx was taken out of what the run sent")
    ]


def test_a_tensor_of_ninety_axes_is_no_answer() -> None:
    body = _body(CLEAN, {"dy": torch.ones((1,) * 60)})
    forged = body.replace(str([1] * 60).replace(" ", "").encode(), b"[" + b"1," * 89 + b"1]")
    header, packed = wire.opened(body)
    length = int.from_bytes(packed[:8], "little") + len(forged) - len(body)
    names = length.to_bytes(8, "little") + forged[len(body) - len(packed) + 8 :]
    result, _ = run_of("chain", wire.frame(header, names), PLAN, cells(), LIMITS)
    assert result.answers["dy"].kind == "unusable"
    assert result.answers["dy"].why == Note("axes", {"count": "90"})


def test_a_line_that_stands_in_no_cell_is_not_told() -> None:
    attempts = [[10, "Tensor.grad", "dy = 2 * y"], [10, "Tensor.grad", "the grader's own words"]]
    _, found = run_of(
        "chain", _body({**CLEAN, "attempts": attempts}, {"dy": ONE}), PLAN, cells(), LIMITS
    )
    assert [one.line for one in found] == ["dy = 2 * y", ""]


TELLING = {
    "an error's words": "raise ValueError(f'the seed is {seed}')",
    "an error's name": "raise type(f'Seed{seed}', (Exception,), {})",
    "an answer's class": "dy = type(f'Seed{seed}', (), {})()",
}


@pytest.mark.parametrize("source", TELLING.values(), ids=TELLING)
def test_a_hidden_run_says_nothing_in_words(jail: Executor, source: str) -> None:
    evidence = play(jail, cells(source))
    assert "1" in repr(evidence.runs["display"])  # the notebook's own number, for people to read
    for run in ("chain", "alone"):
        told = [(c.ename, c.evalue, c.outputs) for c in evidence.runs[run].cells]
        words = repr((told, answer(evidence, "dy", run).why))
        assert "eed5" not in words
        assert "eed6" not in words
        assert "seed is 5" not in words


def test_an_error_is_told_in_the_words_of_the_run_that_people_see(jail: Executor) -> None:
    found = cell(play(jail, cells("raise ValueError('too small')")), 10, "chain")
    assert (found.ename, found.evalue) == ("ValueError", "too small")


# Everything that a process can reach of itself: objects, and all memory that it may read.
SEARCH = """\
import ctypes, gc, re
gc.unfreeze()
kept = [o for o in gc.get_objects() if type(o).__name__ == 'Run' and not o.display]
needle = re.compile(b'a number that only [a] hidden run has')  # which is not what it finds
found = 0
for line in open('/proc/self/maps'):
    start, end = (int(part, 16) for part in line.split()[0].split('-'))
    if line.split()[1].startswith('rw'):
        found += len(needle.findall(ctypes.string_at(start, end - start)))
print(len(kept), found)
"""


def test_the_public_run_has_a_process_that_never_held_the_hidden_ones() -> None:
    hidden = Run("a number that only a hidden run has", {"seed": 5})
    plan = Plan("notebook", (Run("display", display=True), hidden), PLAN.takes)
    limits = replace(LIMITS, cell_seconds=60.0, cell_cpu_seconds=60.0, wall_seconds=120.0)
    with executor(limits, plan) as jail:
        first = play(jail, cells())
        evidence = play(jail, cells(SEARCH))
    assert first.runs[hidden.key].answers["dy"].kind == "tensor"
    assert printed(evidence).split() == ["0", "0"], cell(evidence, 10)


def test_text_that_is_no_text_is_made_harmless() -> None:
    body = _body(_outputs({**STREAM, "text": "\ud800"}), {"dy": ONE})
    result, _ = run_of("chain", body, PLAN, cells(), LIMITS)
    assert result.cells[0].outputs[0]["text"] == "?"


def _descendants() -> list[psutil.Process]:
    return [p for p in psutil.Process().children(recursive=True) if p.pid]


def _worker(before: set[psutil.Process]) -> psutil.Process:
    """The process with torch in it: the largest one that was not there before."""
    return max(set(_descendants()) - before, key=lambda p: p.memory_info().rss)
