"""The doors to autograd: shut in student cells, silent in given ones, and nobody accused wrongly."""

from collections.abc import Iterator

import pytest
from jailed import GIVEN, LIMITS, PLAN, REPLACED, answer, cell, cells, executor, play, values

from handgrad.plan import Cell
from handgrad.sandbox.execute import Executor
from handgrad.sandbox.integrity import listed_in


@pytest.fixture(scope="module")
def jail() -> Iterator[Executor]:
    with executor() as started:
        yield started


# Each computes d(tanh(x).sum())/dx where autograd is on.
DOORS = {
    "backward": "x.tanh().sum().backward(); dy = x.grad",
    "backward by getattr": "getattr(x.tanh().sum(), 'back' + 'ward')()",
    "backward by its class": "torch.Tensor.backward(x.sum())",
    "backward in text": "import base64\nexec(base64.b64decode('eC5zdW0oKS5iYWNrd2FyZCgp'))",
    "backward from a thread": (
        "import threading\nlater = []\ndef run():\n    try: x.sum().backward()\n"
        "    except RuntimeError as error: later.append(error)\n"
        "t = threading.Thread(target=run); t.start(); t.join()\nraise later[0]"
    ),
    "backward in a file": (
        "open('mine.py', 'w').write('def f(t): t.sum().backward()')\nimport mine\nmine.f(x)"
    ),
    "requires_grad": "x.requires_grad = True",
    "requires_grad_": "x.requires_grad_()",
    "a hook": "x.register_hook(print)",
    "autograd.grad": "dy, = torch.autograd.grad(x.tanh().sum(), x)",
    "autograd.grad by name": "from torch.autograd import grad\ndy, = grad(x.tanh().sum(), x)",
    "autograd.backward": "torch.autograd.backward(x.sum())",
    "jacobian": "dy = torch.autograd.functional.jacobian(torch.tanh, x)",
    "functional.vjp": "dy = torch.autograd.functional.vjp(torch.tanh, x, x)",
    "gradcheck": "torch.autograd.gradcheck(torch.tanh, x)",
    "enable_grad": "with torch.enable_grad():\n    pass",
    "enable_grad as a decorator": "@torch.enable_grad()\ndef f(): pass\nf()",
    "set_grad_enabled": "torch.set_grad_enabled(True)",
    "the mode in C": "torch._C._set_grad_enabled(True)",
    "func.grad": "dy = torch.func.grad(lambda x: x.tanh().sum())(x)",
    "func.vjp": "f, back = torch.func.vjp(torch.tanh, x)\ndy, = back(x)",
    "func.jacrev": "dy = torch.func.jacrev(torch.tanh)(x)",
    "func.jvp": "dy = torch.func.jvp(torch.tanh, (x,), (x,))[1]",
    "functorch": "import functorch\ndy = functorch.grad(lambda x: x.tanh().sum())(x)",
    "eager transforms": (
        "from torch._functorch.eager_transforms import vjp\nf, back = vjp(torch.tanh, x)"
    ),
    "forward mode": (
        "import torch.autograd.forward_ad as ad\nwith ad.dual_level():\n"
        "    dy = ad.unpack_dual(torch.tanh(ad.make_dual(x, x))).tangent"
    ),
    "forward mode in C": "torch._C._enter_dual_level()",
    "a Function": (
        "class F(torch.autograd.Function):\n    @staticmethod\n    def forward(ctx, t): return t\n"
        "    @staticmethod\n    def backward(ctx, d): return d\nF.apply(x)"
    ),
    "the engine": "torch.autograd.Variable._execution_engine.run_backward((x,), (), False, False, ())",
    "TorchScript": "torch.jit.script('def f(x): return x')",
    "a formula in aten": "dy = torch.ops.aten.tanh_backward(torch.ones_like(y), y)",
    "a formula by getattr": "dy = getattr(torch.ops.aten, 'tanh_back' + 'ward')(y, y)",
    "a formula of batch norm": "torch.ops.aten.native_batch_norm_backward",
    "backward in aten": "torch.ops.aten._backward(x, [])",
    "the mode in aten": "torch.ops.aten.set_grad_enabled(True)",
    "a formula in torch": "dy = torch._softmax_backward_data(y, y, 1, torch.float32)",
    "a formula by its name": "torch._C._jit_get_operation('aten::tanh_backward')",
    "a formula in Python": "from torch._decomp.decompositions import tanh_backward\ndy = tanh_backward(y, y)",
    "jax": "import jax",
    "jax by name": "import importlib\nimportlib.import_module('jax')",
}  # fmt: skip


@pytest.mark.parametrize("source", DOORS.values(), ids=DOORS)
def test_a_shut_door_raises_in_the_students_cell_and_is_noted(jail: Executor, source: str) -> None:
    evidence = play(jail, cells(source))
    found = cell(evidence, 10, "chain")
    assert (found.status, found.ename) == ("raised", "DerivativesByHandError")
    assert found.evalue.startswith("derivatives here are written by hand: ")
    assert answer(evidence, "dy").kind == "missing"
    assert evidence.attempts
    assert all(attempt.cell == 10 for attempt in evidence.attempts)
    assert any(attempt.line in source for attempt in evidence.attempts)


def test_whoever_only_keeps_a_gradient_is_not_accused(jail: Executor) -> None:
    evidence = play(jail, cells("for t in (x, y):\n    t.retain_grad()\ndy = 2 * y"))
    assert cell(evidence, 10, "chain").status == "ok"
    assert answer(evidence, "dy").kind == "tensor"
    assert evidence.attempts == ()


GRADS = {
    "by name": "dy = {}.grad",
    "by getattr": "dy = getattr({}, 'gr' + 'ad')",
    "in text": "exec('dy = {}.' + 'grad')",
    "copied": "dy = {}.grad.clone()",
}


@pytest.mark.parametrize("source", GRADS.values(), ids=GRADS)
def test_the_grad_of_a_given_value_stands_for_an_answer_and_earns_as_much_as_skip(
    jail: Executor, source: str
) -> None:
    evidence = play(jail, cells(source.format("y"), dx="dx = y.grad * 2"))
    for run in ("chain", "alone"):
        assert answer(evidence, "dy", run).kind == "skipped"
    assert values(evidence, "dx", "alone") == (2 * REPLACED).flatten().tolist()
    assert {attempt.cell for attempt in evidence.attempts} == {10, 12}


@pytest.mark.parametrize("source", GRADS.values(), ids=GRADS)
def test_the_grad_of_any_other_tensor_raises(jail: Executor, source: str) -> None:
    evidence = play(jail, cells(source.format("both[0].tanh()")))
    assert cell(evidence, 10, "chain").ename == "DerivativesByHandError"
    assert answer(evidence, "dy").kind == "missing"


# What still runs, and gives nothing: in a thread of the student's own torch records a graph.
ALL_WAYS = """\
import torch
from torch.autograd.graph import get_gradient_edge
t = torch.ones(3, requires_grad=True)
y = (t * t).sum()
ways = [
    lambda: y.grad_fn(torch.ones(())), lambda: y._grad_fn(torch.ones(())), lambda: y.backward(),
    lambda: torch.autograd.grad(y, t), lambda: torch.autograd.backward(y),
    lambda: y.register_hook(print), lambda: get_gradient_edge(y).node(torch.ones(())),
    lambda: torch.autograd.Variable._execution_engine.run_backward((y,), (), False, False, ()),
    lambda: torch.autograd.functional.vjp(lambda x: (x * x).sum(), t),
    lambda: torch.func.grad(lambda x: (x * x).sum())(t), lambda: t.grad,
]
found = []
for way in ways:
    try:
        got = way()
    except Exception:
        continue
    found.append(got)
found += [t.grad_fn, (t * 1).grad_fn]
assert all(each is None for each in found), found
"""
VAIN = {
    "the thread of the cells": ALL_WAYS,
    "a thread": (
        f"import threading\nway = {ALL_WAYS!r}\nout = []\ndef run():\n    try: exec(way, {{}})\n"
        "    except BaseException as error: out.append(error)\n"
        "t = threading.Thread(target=run); t.start(); t.join()\nif out: raise out[0]"
    ),
    "a raw thread": (
        f"import _thread, threading\nway = {ALL_WAYS!r}\nout = []\nover = threading.Event()\n"
        "def run():\n    try: exec(way, {})\n"
        "    except BaseException as error: out.append(error)\n    over.set()\n"
        "_thread.start_new_thread(run, ())\nover.wait()\nif out: raise out[0]"
    ),
    "a graph": "assert not (torch.ones(3, requires_grad=True) * 2).requires_grad",
}


@pytest.mark.parametrize("source", VAIN.values(), ids=VAIN)
def test_autograd_gives_nothing(jail: Executor, source: str) -> None:
    found = cell(play(jail, cells(source)), 10)
    assert (found.status, found.evalue) == ("ok", "")


def test_given_cells_pass_shut_doors_in_silence() -> None:
    lecture = (
        "p = torch.nn.Parameter(x.clone())\nfor t in (x, y):\n    t.requires_grad = True\n"
        "    t.retain_grad()\nloss = y.sum()\nfor t in both:\n    t.grad = None\nloss.backward()\n"
        "dy = y if x.grad is None and not x.requires_grad else None\n"
        "def loss_of(t):\n    t.retain_grad()\n    t.sum().backward()\n    return t.sum()"
    )
    given = (*GIVEN, Cell(3, "", "given", lecture))
    with Executor(
        {"check.py": b"", "names.txt": b"a"},
        {"notebook": PLAN},
        {"notebook": (Cell(0, "", "given", "import torch\nwords = []"), *GIVEN[1:])},
        LIMITS,
    ) as jail:
        first = Cell(0, "", "given", "import torch\nwords = []")
        late = Cell(14, "", "given", "loss.backward()\ngrads = [t.grad for t in both]")
        evidence = play(jail, (first, *given[1:], *cells("loss_of(x)")[3:], late))
    assert {c.status for c in evidence.runs["chain"].cells if c.index != 12} == {"ok"}
    assert values(evidence, "dy")
    assert evidence.attempts == ()


# Names that a student's text borrows from a library's file reach nothing either.
BORROWED = {
    "a library's file name": "exec(compile('torch.set_grad_enabled(True)', torch.__file__, 'exec'))",
    "a frozen module's name": "exec(compile('torch.set_grad_enabled(True)', '<frozen x>', 'exec'))",
    "torch's own way": "exec(compile('torch.set_grad_enabled(True)', '/x/grad_mode.py', 'exec'))",
    "a library's globals": (
        "exec(compile('set_grad_enabled(True)', torch.__file__, 'exec'), vars(torch))"
    ),
}


@pytest.mark.parametrize("source", BORROWED.values(), ids=BORROWED)
def test_a_library_is_known_by_its_code_and_not_by_its_name(jail: Executor, source: str) -> None:
    evidence = play(jail, cells(source))
    assert cell(evidence, 10).ename == "DerivativesByHandError"
    assert [attempt.what for attempt in evidence.attempts] == ["torch.set_grad_enabled"]


def test_a_notebook_cannot_empty_the_list_of_what_its_text_names(jail: Executor) -> None:
    clear = (
        "import gc\nfor each in gc.get_objects():\n    if type(each).__name__ == 'Attempts':\n"
        "        each.found.clear()\n        each.found = type('Deaf', (list,), {'append': print})()"
    )
    evidence = play(jail, cells("dy = y.grad", f"{clear}\ndx = y", "y.sum().backward()"))
    told = {(attempt.cell, attempt.what) for attempt in evidence.attempts}
    assert {(10, "Tensor.grad"), (12, "get_objects"), (20, "Tensor.backward")} <= told


def _seen(*sources: str) -> list[str]:
    found = listed_in(Cell(i, "", "answer", source) for i, source in enumerate(sources))
    return [attempt.what for attempt in found]


@pytest.mark.parametrize(
    ("source", "doors"),
    [
        ("loss.backward()", ["Tensor.backward"]),
        ("if False:\n    (a + b).sum().backward(retain_graph=True)", ["Tensor.backward"]),
        ("print((dlogits - logits.grad).abs().max())", ["Tensor.grad"]),
        ("torch.autograd.grad(a, b)", ["torch.autograd.grad"]),
        ("from torch.autograd import grad", ["torch.autograd.grad"]),
        ("import torch.autograd as ag", ["torch.autograd"]),
        ("from torch.autograd.functional import jacobian", ["torch.autograd.functional.jacobian"]),
        ("from torch.func import vmap, vjp", ["torch.func.vjp"]),
        ("torch.func.jacrev(f)", ["torch.func.jacrev"]),
        ("import jax.numpy as jnp", ["jax.numpy"]),
        ("%time loss.backward()", []),  # a magic's text is no code until it runs
        ("%matplotlib inline\nfiles = !ls\nloss?\nloss.backward()", ["Tensor.backward"]),
        ("import sympy as sp", ["sympy"]),
        ("x = torch.zeros(3, dtype=torch.cfloat)", ["complex numbers"]),
        ("dy = f(x + 1e-20j).imag", ["complex numbers"]),
        ("dy = torch.ops.aten.mul(x, y)", ["torch.ops.aten.mul"]),
        (
            "torch._C._dispatch_tls_set_dispatch_key_included('x', True)",
            ["torch._C._dispatch_tls_set_dispatch_key_included"],
        ),
        ("torch._softmax_backward_data(y, y, 1, torch.float32)", ["torch._softmax_backward_data"]),
        (
            "with torch.autograd.graph.saved_tensors_hooks(a, b): pass",
            ["torch.autograd.graph.saved_tensors_hooks"],
        ),
        ("import check\ncheck._grading = None", ["_grading"]),
        ("setattr(check, '_grading', None)", ["_grading"]),
        ("from handgrad.jailed import wire", ["handgrad.jailed"]),
        ("sys.modules['handgrad.jailed.wire']", ["handgrad.jailed.wire"]),
        ("f = torch._C._set_grad_enabled.__closure__[0].cell_contents", ["cell_contents"]),
        ("import ctypes", ["ctypes"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_door_that_the_code_names_is_seen_with_its_line(source: str, doors: list[str]) -> None:
    assert _seen(source) == doors
    for attempt in listed_in([Cell(3, "", "other", source)]):
        assert attempt.cell == 3
        assert attempt.line in source


@pytest.mark.parametrize(
    "source",
    [
        "# loss.backward()",
        "'''loss.backward() and logits.grad'''",
        "optimizer.zero_grad()",
        "for p in parameters:\n    p.grad = None",
        "with torch.no_grad():\n    pass",
        "def backward(dout):\n    return dout\nbackward(1)",
        "class Layer:\n    def backward(self, d):\n        return d\nLayer().backward(1)",
        "class Value:\n    def __init__(self):\n        self.grad = 0.0\nValue().grad",
        "for p, g in zip(ps, gs):\n    p.grad = g\np -= lr * p.grad",
        "torch.func.vmap(f)",
        "from torch.autograd import Variable",
        "grad = 1\ngrad",
        "gradient.backward_pass()",
        "def f(:",
        "(" * 500 + ")" * 500,
    ],
    ids=lambda source: source.splitlines()[0][:40],
)
def test_an_innocent_word_is_not_accused(source: str) -> None:
    assert _seen(source) == []


def test_a_class_of_ones_own_may_be_defined_in_another_cell() -> None:
    layer = "class Layer:\n    def backward(self, d):\n        return d"
    assert _seen(layer, "Layer().backward(1)") == []


GIVEN_LOSS = Cell(
    0, "", "given", "logits = h @ W2\nloss = logits.sum()\nfor p in both: p.grad = None"
)


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("loss.backward()", "Tensor.backward"),
        ("(loss + 1).sum().backward()", "Tensor.backward"),
        ("dlogits = logits.grad", "Tensor.grad"),
    ],
    ids=str,
)
def test_a_decoy_elsewhere_does_not_silence_what_is_asked_of_given_values(
    source: str, what: str
) -> None:
    decoy = (
        "class Mine:\n    def backward(self): return 1\n    def grad(self): return 2\n"
        "Mine().backward()"
    )
    cells = [GIVEN_LOSS, Cell(1, "", "other", decoy), Cell(2, "", "answer", source)]
    assert [(one.cell, one.what) for one in listed_in(cells)] == [(2, what)]


@pytest.mark.parametrize(
    "source",
    [
        "logits.grad = dlogits\nprint(logits.grad)",
        "for p, g in zip(both, grads):\n    p.grad = g\n    p.data -= 0.1 * p.grad",
        "class Linear:\n    def backward(self, d): return d @ W2.T\nlayer = Linear()\nlayer.backward(logits)",
        "class Linear:\n    def backward(self, d): return d\nLinear(logits).backward(loss)",
    ],
    ids=["a value's own grad", "an update", "a layer", "a layer made of given values"],
)
def test_what_is_the_students_own_is_not_listed_beside_given_values(source: str) -> None:
    assert listed_in([GIVEN_LOSS, Cell(1, "", "answer", source)]) == ()


@pytest.mark.parametrize(
    "source",
    ["x = 1\n" * 100_000, "%time x\n" * 20_000, "a?\n" * 20_000, "(" * 200_000],
    ids=["a long cell", "magics", "help", "brackets"],
)
def test_no_text_holds_up_whoever_reads_it(source: str) -> None:
    found = [one.what for one in listed_in([Cell(1, "", "other", source)])]
    assert found in ([], ["too long to be searched"])


def test_given_cells_are_not_searched() -> None:
    assert listed_in([Cell(0, "", "given", "loss.backward()"), Cell(1, "", "test", "x.grad")]) == ()


def test_a_name_that_never_runs_still_reaches_the_evidence(jail: Executor) -> None:
    evidence = play(jail, cells("dy = y\nif seed == -1:\n    y.sum().backward()"))
    (attempt,) = evidence.attempts
    assert (attempt.cell, attempt.what, attempt.line) == (
        10,
        "Tensor.backward",
        "y.sum().backward()",
    )
    assert cell(evidence, 10).status == "ok"
