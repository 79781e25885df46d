"""The doors to autograd: shut in student cells, silent in given ones, and nobody accused wrongly."""

from collections.abc import Iterator

import pytest
from jailed import GIVEN, LIMITS, PLAN, answer, cell, cells, executor, play, values

from handgrad.jailed.doorseen import seen_in
from handgrad.plan import Cell
from handgrad.sandbox.execute import Executor


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
    "grad": "dy = x.grad",
    "grad by getattr": "dy = getattr(x, 'gr' + 'ad')",
    "grad in text": "exec('dy = x.' + 'grad')",
    "requires_grad": "x.requires_grad = True",
    "requires_grad_": "x.requires_grad_()",
    "retain_grad": "x.retain_grad()",
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


# What still runs, and gives nothing.
VAIN = {
    "grad_fn": "assert x.tanh().grad_fn is None",
    "grad_fn of the class in C": "torch._C.TensorBase.grad_fn.__get__(x.tanh())",
    "a leaf made in a thread": (
        "import threading, torch\nout = []\ndef run():\n"
        "    t = torch.ones(3, requires_grad=True)\n    out.append(t.tanh().requires_grad)\n"
        "t = threading.Thread(target=run); t.start(); t.join()\nassert out == [False]"
    ),
    "a raw thread": (
        "import _thread, time, torch\nout = []\n"
        "_thread.start_new_thread(lambda: out.append(torch.is_grad_enabled()), ())\n"
        "time.sleep(0.2)\nassert out == [False]"
    ),
    "a process": (
        "import os, torch\npid = os.fork()\n"
        "if pid == 0: os._exit(int(torch.ones(1, requires_grad=True).tanh().requires_grad))\n"
        "assert os.waitpid(pid, 0)[1] == 0"
    ),
    "a graph": "assert not (torch.ones(3, requires_grad=True) * 2).requires_grad",
}


@pytest.mark.parametrize("source", VAIN.values(), ids=VAIN)
def test_nothing_records_a_graph(jail: Executor, source: str) -> None:
    found = cell(play(jail, cells(source)), 10, "chain")
    assert (found.status, found.ename) in (("ok", ""), ("raised", "AttributeError"))


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


def _seen(*sources: str) -> list[str]:
    found = seen_in(Cell(i, "", "answer", source) for i, source in enumerate(sources))
    return [attempt.door for attempt in found]


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
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_door_that_the_code_names_is_seen_with_its_line(source: str, doors: list[str]) -> None:
    assert _seen(source) == doors
    for attempt in seen_in([Cell(3, "", "other", source)]):
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


def test_given_cells_are_not_searched() -> None:
    assert seen_in([Cell(0, "", "given", "loss.backward()"), Cell(1, "", "test", "x.grad")]) == []


def test_a_name_that_never_runs_still_reaches_the_evidence(jail: Executor) -> None:
    evidence = play(jail, cells("dy = y\nif seed == -1:\n    y.sum().backward()"))
    (attempt,) = evidence.attempts
    assert (attempt.cell, attempt.door, attempt.line) == (
        10,
        "Tensor.backward",
        "y.sum().backward()",
    )
    assert cell(evidence, 10).status == "ok"
