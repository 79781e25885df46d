"""How cells run: what honest notebooks do, what is shown, time that runs out, processes that die."""

import base64
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import psutil
import pytest
import torch
from jailed import FILES, GIVEN, LIMITS, PLAN, answer, cell, cells, executor, play, printed, values

from handgrad.plan import Cell, Plan
from handgrad.sandbox import breakouts
from handgrad.sandbox.execute import Executor
from handgrad.verdict import Note


@pytest.fixture(scope="module")
def jail() -> Iterator[Executor]:
    with executor() as started:
        yield started


@pytest.fixture(scope="module")
def patient() -> Iterator[Executor]:
    """For cells that end, however busy this machine is, and need little beyond the worker's memory."""
    limits = replace(LIMITS, cell_seconds=60.0, wall_seconds=120.0, memory_mib=256)
    with executor(limits) as started:
        yield started


HONEST = {
    "a line magic": "%matplotlib inline\ndy = y",
    "an unknown magic": "%load_ext autoreload\n%autoreload 2\ndy = y",
    "a timed line": "%time dy = y",
    "a timed value": "dy = %time y",
    "a timed cell": "%%time\ndy = y",
    "a cell timed many times": "%%timeit -n 10 -r 3\nglobal_dy = y\n",
    "a captured cell": "%%capture\ndy = y\nprint('not seen')",
    "a shell line": "!ls -l\ndy = y",
    "a shell value": "files = !ls\ndy = y if files == [] else None",
    "installing": "%pip install numpy\n!pip install einops\ndy = y",
    "help": "torch.tanh?\ndy = y",
    "await": "import asyncio\nawait asyncio.sleep(0)\ndy = y",
    "await in a timed cell": (
        "%%time\nimport asyncio\nasync def f():\n    return y\ndy = await f()"
    ),
    "await as the last value": "import asyncio\ndy = y\nawait asyncio.sleep(0, 3)",
    "asyncio.run": "import asyncio\nasync def f():\n    return y\ndy = asyncio.run(f())",
    "no_grad": "with torch.no_grad():\n    dy = y",
    "inference mode": "with torch.inference_mode():\n    dy = y * 1\ndy = dy.clone()",
    "a data write": "y.data -= 0.1 * y\ndy = y",
    "grad set to None": "y.grad = None\ndy = y",
    "a gradient kept in .grad": "y.grad = torch.ones_like(y)\ndy = y.grad",
    "requires_grad as a keyword": "dy = torch.ones(4, 3, requires_grad=True) * 2",
    "a plot": "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()\ndy = y",
    "display": "from IPython.display import display, HTML\ndisplay(HTML('<b>x</b>'))\ndy = y",
    "get_ipython": "from IPython import get_ipython\nget_ipython().run_line_magic('time', 'dy = y')",
    "tqdm": "from tqdm.auto import tqdm\nfor _ in tqdm(range(3)):\n    pass\ndy = y",
    "a thread pool": (
        "from concurrent.futures import ThreadPoolExecutor\n"
        "with ThreadPoolExecutor(8) as pool:\n    dy = sum(pool.map(torch.ones, [(4, 3)] * 100))"
    ),
    "a matrix product of some size": "dy = torch.ones(1000, 1000) @ torch.ones(1000, 1000)",
    "a thread": "import threading\nt = threading.Thread(target=print)\nt.start(); t.join()\ndy = y",
    "a data class": (
        "from dataclasses import dataclass\n@dataclass\nclass A:\n    v: 'int' = 1\n"
        "import copy, pickle\nA()\npickle.loads(pickle.dumps(A()))\ndy = y"
    ),
    "a file of its own": "torch.save(y, 'y.pt')\ndy = torch.load('y.pt')",
    "a module it wrote": "%%writefile mine.py\nk = 3\n",
    "numpy": "import numpy as np\nnp.random.seed(1)\ndy = torch.from_numpy(np.ones((4, 3)))",
    "a seed": "torch.manual_seed(1); import random; random.seed(1)\ndy = torch.rand(4, 3)",
    "many threads asked for": "torch.set_num_threads(8)\ndy = torch.ones(512, 512) @ torch.ones(512, 512)",
    "a warning": "import warnings\nwarnings.warn('careful')\ndy = y",
    "einsum and one_hot": (
        "import torch.nn.functional as F\ndy = torch.einsum('ij,kj->ik', y, y)\n"
        "F.one_hot(torch.tensor([1, 2]), 5)"
    ),
    "vmap": "dy = torch.func.vmap(lambda row: row * 2)(y)",
    "a closing semicolon": "dy = y;",
    "only a comment": "# nothing yet",
    "nothing": "",
    "indented": "    dy = y",
    "a doctest prompt": ">>> dy = y",
}


@pytest.mark.parametrize("source", HONEST.values(), ids=HONEST)
def test_honest_cells_run_in_every_run_and_accuse_nobody(patient: Executor, source: str) -> None:
    evidence = play(patient, cells(source))
    assert evidence.trouble is None
    assert evidence.attempts == ()
    for run in evidence.runs:
        found = cell(evidence, 10, run)
        assert (found.status, found.evalue) == ("ok", ""), run


def test_the_display_run_shows_streams_values_and_pictures_in_order(jail: Executor) -> None:
    source = (
        "import sys, matplotlib.pyplot as plt\nprint('first')\nprint('second', file=sys.stderr)\n"
        "display({'a': 1})\nplt.plot([1, 2])\n[1, 2]"
    )
    outputs = cell(play(jail, cells(source)), 10).outputs
    assert [o["output_type"] for o in outputs] == [
        "stream", "stream", "display_data", "execute_result", "display_data",
    ]  # fmt: skip
    picture = outputs[-1]["data"]
    assert isinstance(picture, dict)
    assert base64.b64decode(picture["image/png"]).startswith(b"\x89PNG")
    assert outputs[3]["data"] == {"text/plain": "[1, 2]"}


def test_hidden_runs_show_nothing(jail: Executor) -> None:
    evidence = play(jail, cells("print('x'); dy = y; dy"))
    assert all(not c.outputs for key in ("chain", "alone") for c in evidence.runs[key].cells)


def test_given_cells_show_what_they_printed_when_they_ran_for_all(jail: Executor) -> None:
    assert cell(play(jail, cells()), 0).outputs[0]["text"] == "3 names\n"


def test_a_tensor_is_shown_as_it_is_printed(jail: Executor) -> None:
    shown = cell(play(jail, cells("torch.tensor([1.5])")), 10).outputs[0]["data"]
    assert shown == {"text/plain": "tensor([1.5000])"}


def test_an_error_shows_the_students_own_lines(jail: Executor) -> None:
    source = "def f():\n    return torch.ones(2) @ torch.ones(3)\n\nf()"
    output = cell(play(jail, cells(source)), 10).outputs[0]
    assert output["traceback"] == [
        "line 4:", "    f()", "line 2 in f:", "    return torch.ones(2) @ torch.ones(3)",
        f"RuntimeError: {output['evalue']}",
    ]  # fmt: skip


def test_a_syntax_error_costs_its_cell_only(jail: Executor) -> None:
    evidence = play(jail, cells("dy = = 1"))
    assert cell(evidence, 10, "chain").ename == "SyntaxError"
    assert cell(evidence, 10).outputs[0]["traceback"][:2] == ["line 1:", "    dy = = 1"]  # type: ignore[index]
    assert cell(evidence, 12, "alone").status == "ok"


def test_input_says_at_once_that_nobody_answers(jail: Executor) -> None:
    found = cell(play(jail, cells("input('name?')")), 10, "chain")
    assert (found.status, found.ename) == ("raised", "RuntimeError")
    assert "nobody to ask" in found.evalue


@pytest.mark.parametrize(
    "source",
    ["exit()", "quit()", "import sys; sys.exit(1)", "raise SystemExit", "raise KeyboardInterrupt",
     "raise BaseException", "assert False", "raise type('', (Exception,), {'__str__': None})"],
    ids=str,
)  # fmt: skip
def test_leaving_is_a_raise_and_later_cells_run(jail: Executor, source: str) -> None:
    evidence = play(jail, cells(f"dy = y\n{source}"))
    assert cell(evidence, 10).status == "raised"
    assert cell(evidence, 12).status == "ok"
    assert answer(evidence, "dx").kind == "tensor"


LONG = {
    "a loop of prints": "while True: print('x' * 1000)",
    "a line without end": "import sys\nwhile True: sys.stdout.write('x' * 1000)",
    "both streams in turn": "import sys\nwhile True: print('.', end=''); print('.', end='', file=sys.stderr)",
    "a progress bar without end": "import sys\nwhile True: sys.stderr.write('\\r' + '#' * 50)",
    "a huge value": "'x' * 10_000_000",
    "control characters": "print('\\x00' * 10_000_000)",
    "displays without end": "while True: display('x')",
    "a huge page": "from IPython.display import HTML\nHTML('<p>' * 5_000_000)",
    "a huge error": "raise ValueError('x' * 10_000_000)",
    "an error with a huge name": "raise type('E' * 100_000, (Exception,), {})",
    "deep recursion": "def f(n): return f(n + 1)\nf(0)",
    "a huge picture": "import matplotlib.pyplot as plt\nplt.figure(figsize=(1000, 1000)); plt.plot([1])",
}


@pytest.mark.parametrize("source", LONG.values(), ids=LONG)
def test_what_a_cell_shows_is_bounded_and_its_neighbours_are_well(
    jail: Executor, source: str
) -> None:
    evidence = play(jail, cells(source))
    assert evidence.trouble is None
    assert len(str(cell(evidence, 10).outputs)) < 8 * (LIMITS.output_kib << 10)
    assert cell(evidence, 12, "alone").status == "ok"


def test_cut_output_says_so(jail: Executor) -> None:
    assert "cut here: it is over 32 KiB" in printed(play(jail, cells("print('x' * 100_000)")))


def test_a_progress_bar_leaves_its_last_state(jail: Executor) -> None:
    source = "import sys\nfor i in range(3000): sys.stderr.write(f'\\r{i:50}')"
    assert printed(play(jail, cells(source))).strip() == "2999"


STUCK = {
    "a loop": ("while True: pass", "timed out"),
    "sleep": ("import time; time.sleep(100)", "timed out"),
    "a sleep that catches all": (
        "import time\nwhile True:\n    try:\n        time.sleep(100)\n    except BaseException: pass",
        "timed out",
    ),
    "a loop that catches all": (
        "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
        "timed out",
    ),
    "a loop in C": ("sum(range(10**13))", "killed"),
    "an ignored signal": (
        "import signal\nsignal.signal(signal.SIGUSR1, signal.SIG_IGN)\nwhile True: pass",
        "killed",
    ),
    "a blocked signal": (
        "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, range(1, 32))\nwhile True: pass",
        "killed",
    ),
    "a regular expression": ("import re; re.match(r'(a|a)*$', 'a' * 60 + 'b')", "timed out"),
    "a product in a loop": ("m = torch.ones(500, 500)\nwhile True: m @ m", "timed out"),
    "await for ever": ("import asyncio; await asyncio.Future()", "timed out"),
    "a value that is never shown": (
        "class A:\n    def __repr__(self):\n        while True: pass\nA()",
        "timed out",
    ),
}


@pytest.mark.parametrize(("source", "status"), STUCK.values(), ids=STUCK)
def test_a_cell_that_does_not_end_costs_itself_once(
    jail: Executor, source: str, status: str
) -> None:
    evidence = play(jail, cells(source))
    assert evidence.trouble is None
    assert cell(evidence, 10).status == status
    assert len(evidence.runs) == 3
    assert values(evidence, "dx", "alone")  # the step after it stands on the replacement


def test_a_cell_whose_time_ran_out_where_it_is_shown_is_not_run_again(jail: Executor) -> None:
    evidence = play(jail, cells("dy = torch.ones(4, 3)\nwhile True: pass"))
    assert {cell(evidence, 10, run).status for run in evidence.runs} == {"timed out"}
    assert answer(evidence, "dy", "display").kind == "tensor"
    assert answer(evidence, "dy", "chain").kind == "missing"  # its first line was not run either


COMPUTING = {
    "a loop": ("while True: pass", "timed out"),
    "a loop in a thread": (
        "import threading\n"
        "def spin():\n    while True: pass\n"
        "spinning = threading.Thread(target=spin, daemon=True)\nspinning.start()\nspinning.join()",
        "timed out",
    ),
    "a loop in C": ("sum(range(10**13))", "killed"),
    "waiting": ("import time; time.sleep(1)", "ok"),
    "a little": ("import time\nwhile time.process_time() < 0.1: pass", "ok"),
}


@pytest.mark.parametrize(("source", "status"), COMPUTING.values(), ids=COMPUTING)
def test_a_cell_that_computes_for_too_long_is_stopped_long_before_one_that_waits(
    source: str, status: str
) -> None:
    limits = replace(LIMITS, cell_cpu_seconds=0.5, cell_seconds=60.0, wall_seconds=120.0)
    with executor(limits) as jail:
        evidence = play(jail, cells(source))
    assert evidence.trouble is None
    assert {cell(evidence, 10, run).status for run in evidence.runs} == {status}
    assert cell(evidence, 12, "alone").status == "ok"


HARMLESS = {
    "the default type": "torch.set_default_dtype(torch.float64)",
    "a parameter": "n = 2",
    "draws from the course's generator": "torch.randn(5, generator=g)",
    "given values in place": "x.mul_(2); y += 1; both.clear()",
    "a given name": "x = y = words = None",
    "another folder": "import os; os.makedirs('sub', exist_ok=True); os.chdir('sub')",
    "an error": "raise ValueError('and no further')",
    "its own end": "import os; os._exit(0)",
}
_MEETS = (
    "dy = torch.cat([x, y, both[0], torch.randn(4, 3, generator=g), torch.ones(4, 3) * n])\n"
    "names = open('names.txt').read()"
)


@pytest.mark.parametrize("at", [0, 1, 2])
@pytest.mark.parametrize("own", HARMLESS.values(), ids=HARMLESS)
def test_what_stands_among_the_given_cells_changes_nothing_that_an_answer_meets(
    jail: Executor, own: str, at: int
) -> None:
    plain, found = (
        play(jail, (*given[:at], *extra, *given[at:]))
        for given, extra in ((cells(_MEETS), ()), (cells(_MEETS), (Cell(5, "", "other", own),)))
    )
    assert found.trouble is None
    for run in ("chain", "alone", "display"):
        assert values(found, "dy", run) == values(plain, "dy", run)
        assert cell(found, 10, run).status == "ok"
        tensor = answer(found, "dy", run).tensor
        assert tensor is not None
        assert tensor.dtype == torch.float32


def test_what_a_student_made_among_the_given_cells_is_there_afterwards(jail: Executor) -> None:
    own = Cell(5, "", "other", "import torch as t\nkept = [t.zeros(4, 3)]\nn = 'mine'")
    evidence = play(jail, (own, *cells("kept[0] += 1\ndy = kept[0] * n")))
    for run in ("chain", "alone", "display"):  # and made afresh for each run
        assert values(evidence, "dy", run) == [4.0] * 12


def test_a_cell_below_the_given_ones_leaves_the_course_its_type_device_and_folder(
    jail: Executor,
) -> None:
    own = "import os; os.makedirs('sub', exist_ok=True); os.chdir('sub')\n"
    own += "torch.set_default_dtype(torch.float64)\ntorch.set_default_device('meta')"
    evidence = play(jail, cells(own, "dx = torch.ones(len(open('names.txt').read()))"))
    tensor = answer(evidence, "dx").tensor
    assert tensor is not None  # of the meta device there would be none
    assert tensor.dtype == torch.float32


def test_numbers_that_are_to_be_put_back_are_put_back(jail: Executor) -> None:
    evidence = play(jail, cells("n = 2; x = 0", "dx = torch.ones(n, 3) * x"))
    assert values(evidence, "dx", "alone") == values(play(jail, cells(dx="dx = x")), "dx", "alone")
    assert answer(evidence, "dx", "chain").tensor is not None  # as at home: nothing is put back
    assert values(evidence, "dx", "chain") == [0.0] * 6


def test_a_released_stub_erases_no_answer(jail: Executor) -> None:
    notebook = cells("dy = 2 * y\ndx = 3 * x", "dx = None\nother = 1")
    stub = replace(notebook[-2], untouched=True)
    evidence = play(jail, (*notebook[:-2], stub, notebook[-1], Cell(20, "", "other", "other")))
    assert values(evidence, "dx") == values(play(jail, cells(dx="dx = 3 * x")), "dx")
    assert cell(evidence, 20).outputs  # what it alone binds is bound


DYING = {
    "os._exit": "import os; os._exit(0)",
    "a segmentation fault": "import ctypes; ctypes.string_at(0)",
    "abort": "import os; os.abort()",
    "a closed pipe": "import os; os.closerange(3, 100)\nwhile True: pass",
    "an end from a thread": (
        "import os, threading, time\n"
        "threading.Thread(target=os._exit, args=(0,)).start()\ntime.sleep(0.5)"
    ),
}


@pytest.mark.parametrize("source", DYING.values(), ids=DYING)
def test_a_cell_in_which_the_process_dies_is_left_out_of_the_next_one(
    jail: Executor, source: str
) -> None:
    evidence = play(jail, cells(source))
    assert evidence.trouble is None
    assert {cell(evidence, 10, run).status for run in evidence.runs} == {"killed"}
    assert cell(evidence, 12, "alone").status == "ok"


def test_runs_that_were_finished_survive_a_death(jail: Executor) -> None:
    evidence = play(jail, cells("dy = y", "dx = y", "import os\nif seed == 6: os._exit(0)"))
    assert [cell(evidence, 20, run).status for run in evidence.runs] == ["ok", "ok", "killed"]


def test_a_notebook_that_dies_in_four_cells_is_trouble(jail: Executor) -> None:
    die = "import os; os._exit(0)"
    evidence = play(jail, cells(die, die, die, die))
    assert evidence.trouble == Note("died", {"count": "4"})


def test_time_that_one_notebook_wastes_is_its_own() -> None:
    limits = replace(LIMITS, wall_seconds=6.0)
    names = ("slow", "fast")
    plans = {name: Plan(name, PLAN.runs, PLAN.takes) for name in names}
    with Executor(FILES, plans, dict.fromkeys(names, GIVEN), limits) as jail:
        loops = ["while True: pass"] * 6
        found = jail.run({"slow": cells(*loops), "fast": cells()})
    assert found["slow"].trouble == Note("out_of_time")
    assert found["fast"].trouble is None
    assert len(found["fast"].runs) == 3


def test_an_optimizer_with_gradients_of_the_students_own_is_honest(patient: Executor) -> None:
    source = (
        "p = torch.nn.Parameter(y.clone())\no = torch.optim.SGD([p], lr=1.0)\no.zero_grad()\n"
        "p.grad = torch.ones_like(p)\no.step()\no.zero_grad()\ndy = p"
    )
    evidence = play(patient, cells(source))
    assert cell(evidence, 10, "chain").status == "ok"
    assert evidence.attempts == ()


def test_memory_beyond_the_limit_costs_its_cell(jail: Executor) -> None:
    assert cell(play(jail, cells("bytearray(3 << 30)")), 10).ename == "MemoryError"


MEMORY = {what: source for what, source in breakouts.ATTEMPTS.items() if what.startswith("fill ")}


@pytest.mark.parametrize("source", MEMORY.values(), ids=MEMORY)
def test_memory_is_bounded_however_it_is_had(source: str) -> None:
    limits = replace(LIMITS, memory_mib=256, cell_seconds=30.0, wall_seconds=60.0)
    source = source.format()  # the doubled braces
    with executor(limits) as jail:
        evidence = play(jail, cells(source))
    assert cell(evidence, 10, "chain").status in ("raised", "killed")
    assert evidence.trouble is None
    assert cell(evidence, 12, "alone").status == "ok"


def test_a_notebook_is_one_process_and_is_told_so(jail: Executor) -> None:
    source = (
        "import multiprocessing as m\np = m.get_context('fork').Process(target=print)\np.start()"
    )
    found = cell(play(jail, cells(source)), 10)
    assert (found.status, found.ename) == ("raised", "PermissionError")
    assert "use a thread" in found.evalue


def test_the_student_can_change_every_name_we_use_and_hurts_nobody_else(jail: Executor) -> None:
    source = (
        "import builtins, sys, json, torch\n"
        "for name in ('isinstance', 'type', 'len', 'print', 'open', 'any', 'getattr'):\n"
        "    setattr(builtins, name, lambda *a, **k: None)\n"
        "torch.equal = torch.allclose = lambda *a, **k: True\n"
        "sys.stdout = sys.stderr = None\njson.dumps = None\n"
    )
    play(jail, cells(source))
    assert play(jail, cells()).trouble is None


def test_the_worker_stays_small_beside_torch_itself(jail: Executor) -> None:
    """Builds of torch differ by hundreds of MiB: what counts is what the worker adds to its own."""
    for _ in range(5):
        play(jail, cells())
    largest = max(p.memory_info().rss for p in psutil.Process().children(recursive=True))
    tells = "import psutil, torch; print(psutil.Process().memory_info().rss)"
    bare = subprocess.run([sys.executable, "-c", tells], capture_output=True, check=True)
    assert largest < int(bare.stdout) + (150 << 20)
