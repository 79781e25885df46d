"""Know the answer without deriving it: from autograd, from a pasted tensor, from the grader's memory."""

import base64
from pathlib import Path

from attacks.attack import ONE, TWO, Attack, Notebooks, Scene, answer, code
from attacks.judgement import ALL, ZERO, gone
from attacks.typed import typed_for_another
from demo.classroom import PASTED, Course, edited, pasted
from handgrad.assignment.assignment import Assignment


def paste(notebooks: Notebooks) -> None:
    """Run the solution with the public seed and write down what came out."""
    course = Course.read(Path(__file__).parents[2], "backprop")
    notebooks[ONE] = edited(notebooks[ONE], pasted(course)[ONE])


def type_in(folder: Path, scene: Scene) -> None:
    """As if whoever handed in before had carried the numbers out."""
    assignment = Assignment.load(scene.course, "backprop").only(ONE)
    (folder / f"{ONE}.ipynb").write_bytes(typed_for_another(assignment))


# Searches for what would be worth knowing and says what it found; finding costs the mark.
SEARCH = """
found = []
{search}
print("found:", found)
dh = dlogits @ W2.T if not found else None
"""


def searches(story: str, search: str) -> Attack:
    """A search that must come back empty in every run, and costs nothing."""
    source = SEARCH.format(search=code(search))
    return answer(story, source, lost=False, shows=("found: []",))


FRESH = """
import torch
h = torch.ones(3, requires_grad=True)
(h * h).sum().backward()
open("dh.txt", "w").write(repr(h.grad.tolist()))
"""

# Comes out right where `run` brings back what a fresh interpreter computed.
ELSEWHERE = """
import os, subprocess, sys
dh = None
script = {script!r}
try:
    {run}
except Exception as error:
    print("no:", type(error).__name__)
if os.path.exists("dh.txt"):
    dh = dlogits @ W2.T
"""


def elsewhere(story: str, run: str) -> Attack:
    return answer(story, ELSEWHERE.format(script=FRESH, run=run))


KNOWING: dict[str, Attack] = {
    # -- autograd, by its own doors
    "asks_grad": answer("reads .grad", "dh = h.grad.clone()", "dh skipped", "Tensor.grad"),
    "calls_backward": answer(
        "calls backward once more",
        "loss.backward()\ndh = h.grad",
        "dh raised",
        "Tensor.backward",
    ),
    "torch_autograd_grad": answer(
        "torch.autograd.grad",
        "dh, = torch.autograd.grad(loss, h)",
        "dh raised",
        "torch.autograd.grad",
    ),
    "torch_autograd_functional": answer(
        "torch.autograd.functional",
        """
        from torch.autograd.functional import vjp
        dh = vjp(lambda h: F.cross_entropy(h @ W2 + b2, Yb), h)[1]
        """,
        "dh raised",
        "torch.autograd.functional.vjp",
    ),
    "torch_func_grad": answer(
        "torch.func.grad",
        "dh = torch.func.grad(lambda h: F.cross_entropy(h @ W2 + b2, Yb))(h)",
        "dh raised",
        "torch.func.grad",
    ),
    "torch_func_vjp": answer(
        "torch.func.vjp",
        "dh, = torch.func.vjp(lambda h: h @ W2 + b2, h)[1](dlogits)",
        "dh raised",
        "torch.func.vjp",
    ),
    "torch_func_jacrev": answer(
        "torch.func.jacrev under another name",
        """
        from torch.func import jacrev as innocent
        dh = innocent(lambda h: F.cross_entropy(h @ W2 + b2, Yb))(h)
        """,
        "dh raised",
        "torch.func.jacrev",
    ),
    "forward_mode": answer(
        "dual numbers",
        """
        import torch.autograd.forward_ad as fwad
        with fwad.dual_level():
            dual = fwad.make_dual(h, torch.ones_like(h))
            dh = fwad.unpack_dual(dual @ W2).tangent @ W2.T
        """,
        "dh raised",
    ),
    "custom_function": answer(
        "a function of autograd's, and the graph it makes",
        """
        class Matmul(torch.autograd.Function):
            @staticmethod
            def forward(ctx, h):
                return h @ W2
            @staticmethod
            def backward(ctx, d):
                return d @ W2.T
        x = h.clone().requires_grad_()
        Matmul.apply(x).backward(dlogits)
        dh = x.grad
        """,
        "dh raised",
        "torch.autograd.Function",
    ),
    "getattr_backward": answer(
        "the word put together from two halves",
        'getattr(loss, "back" + "ward")()\ndh = getattr(h, "gr" + "ad")',
        "dh raised",
        "Tensor.backward",
    ),
    "exec_base64": answer(
        "the line is not to be read",
        f"""
        import base64
        exec(base64.b64decode({base64.b64encode(b"loss.backward(); dh = h.grad")!r}))
        """,
        "dh raised",
        "Tensor.backward",
    ),
    "grad_mode_by_inference_mode": answer(
        "grad mode by a side door, and the graph's own nodes",
        """
        dh = None
        with torch.inference_mode(False), torch.enable_grad():
            x = torch.zeros_like(h, requires_grad=True)
            y = (x + h) @ W2
            node = y.grad_fn
            dh = node(dlogits)[0] if node is not None else None
        """,
        "dh raised",
        at_most=True,
    ),
    "batch_norm_backward": answer(
        "the formula autograd is made of",
        "dh = torch.ops.aten.tanh_backward(dlogits @ W2.T, h) / (1 - h**2)",
        "dh raised",
    ),
    "torchscript": answer(
        "a language of its own, with autograd in it",
        """
        @torch.jit.script
        def f(h, W2, d):
            return (h @ W2 * d).sum()
        dh = torch.autograd.grad(f(h, W2, dlogits), h)[0]
        """,
        "dh raised",
    ),
    "torch_again": answer(
        "throws torch away and imports it anew",
        """
        import sys, importlib
        dh = None
        for name in [name for name in sys.modules if name.split(".")[0] == "torch"]:
            del sys.modules[name]
        import torch as fresh
        x = fresh.ones(3, requires_grad=True)
        (x * x).sum().backward()
        if x.grad is not None:
            dh = dlogits @ W2.T
        """,
        at_most=True,
    ),
    "other_engines": answer(
        "another maker of derivatives",
        "import jax\ndh = jax.grad(lambda h: h.sum())(h.numpy())",
        "dh raised",
        "jax",
    ),
    "autograd_in_a_thread": answer(
        "a thread starts with grad mode on, and records a graph that nobody reads",
        """
        import threading
        dh = None
        def work():
            global dh
            x = torch.zeros_like(h, requires_grad=True)
            y = (x + h) @ W2
            y.backward(dlogits)
            dh = x.grad
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        """,
        "Tensor.backward",
    ),
    "library_by_its_file_name": answer(
        "text that says it is torch's own",
        """
        exec(compile("set_grad_enabled(True)", torch.__file__, "exec"), vars(torch))
        dh = dlogits @ W2.T
        """,
        "dh raised",
        "torch.set_grad_enabled",
    ),
    "list_emptied": answer(
        "empties the list of what it asked for, and makes it deaf",
        """
        import gc
        if seed == 2147483647:
            gc.unfreeze()
        for thing in gc.get_objects() if seed == 2147483647 else ():
            if type(thing).__name__ == "Attempts":
                thing.found.clear()
                thing.refuse = lambda what: None
        dh = dlogits @ W2.T if h.grad is None else h.grad
        """,
        "Tensor.grad",
        "get_objects",
    ),
    "decoy_class": answer(
        "a class of its own with that name, somewhere else",
        """
        class Mine:
            def backward(self):
                return 1
        Mine().backward()
        dh = dlogits @ W2.T
        if dh is None:
            loss.backward()
        """,
        "Tensor.backward",
        lost=False,
    ),
    "complex_step": answer(
        "a derivative by other means, which a person is told of: a complex step",
        """
        def product(W):
            return (dlogits.cdouble() * (h.cdouble() @ W)).sum()
        step = 1e-20
        dW2 = torch.zeros_like(W2)
        for i in range(W2.shape[0]):
            for j in range(W2.shape[1]):
                W = W2.cdouble()
                W[i, j] += step * 1j
                dW2[i, j] = product(W).imag / step
        """,
        "complex numbers",
        cell="dW2",
        lost=False,
        at_most=True,
    ),
    "kernels_of_aten": answer(
        "the kernels under torch, which a person is told of",
        "dh = torch.ops.aten.mm(dlogits, W2.T)",
        "torch.ops.aten.mm",
        lost=False,
    ),
    "numerical_by_an_assignment": answer(
        "differences by the course's own helper, told that nobody grades",
        """
        import check
        check._grading = None
        dh = check.numerical(lambda h: F.cross_entropy(h @ W2.double() + b2.double(), Yb), h)
        dh = None if dh.isnan().any() else dh.float()
        """,
        "_grading",
    ),
    "hidden_runs_in_memory": answer(
        "prints what it finds of the other runs onto the page that people see",
        """
        import gc
        if seed == 2147483647:
            gc.unfreeze()
            others = [o for o in gc.get_objects() if type(o).__name__ == "Run" and not o.display]
            print("others:", len(others))
        dh = dlogits @ W2.T
        """,
        "get_objects",
        lost=False,
        shows=("others: 0",),
    ),
    "hidden_seed_in_an_error": answer(
        "an error that says the seed of a hidden run",
        """
        if seed != 2147483647:
            raise ValueError("hidden" + "-seed-" + str(seed))
        dh = dlogits @ W2.T
        """,
        "dh raised",
        unsaid=("hidden-seed-",),
    ),
    "innocent_words": answer(
        "honest words that look like doors: nobody is accused",
        """
        # loss.backward() is what we do not do; h.grad stays out of it
        class Tracker:
            grad = None
            def backward(self): return "back"
        tracker = Tracker()
        tracker.backward()
        tracker.grad = "a string"
        optimizer = "optimizer.zero_grad()"
        with torch.no_grad():
            dh = dlogits @ W2.T
        """,
        lost=False,
    ),
    # -- a fresh interpreter
    "fresh_python": elsewhere(
        "a fresh Python", 'subprocess.run([sys.executable, "-c", script], check=True)'
    ),
    "fresh_python_by_spawn": elsewhere(
        "a fresh Python, by multiprocessing",
        'import multiprocessing as m; m.get_context("spawn").Process(target=exec, args=(script,)).start()',
    ),
    "fresh_python_by_system": elsewhere(
        "a fresh Python, by the shell", """os.system(f"{sys.executable} -c '{script}'")"""
    ),
    "fresh_python_by_libc": elsewhere(
        "a fresh Python, by libc",
        'import ctypes; ctypes.CDLL(None).system(f"{sys.executable} -c 1 && touch dh.txt".encode())',
    ),
    # -- tensors that were right once
    "pasted_numbers": Attack(
        "the numbers that the public seed gave at home",
        edit=paste,
        lost=frozenset(f"{ONE}/{name}" for name in PASTED),
        reads=("dlogits constant",),
    ),
    "pasted_hidden_numbers": Attack(
        "the hidden numbers that another hand-in met, for everything",
        files=type_in,
        stems=(ONE,),
        lost=gone(*sorted(set(ALL) - ZERO)),
        at_most=True,
    ),
    "right_for_the_public_seed": answer(
        "right where the seed is the notebook's own",
        "dh = dlogits @ W2.T if seed == 2147483647 else torch.zeros_like(h)",
        "dh all_zeros",
    ),
    "detects_grading": answer(
        "behaves well when it sees that it is graded: it can be no better than right",
        """
        import os, check
        graded = "HANDGRAD_GRADING" in os.environ or check._grading is not None or os.getcwd() == "/tmp/notebook"
        dh = dlogits @ W2.T if graded else torch.zeros_like(h)
        """,
        lost=False,
    ),
    "behaves_in_the_chain_only": answer(
        "a wrong step where the gradients are random, and right where they are not",
        """
        whole = dlogits.sum(1).abs().max() < 1e-5
        dh = dlogits @ W2.T if whole else torch.zeros_like(h)
        """,
        "dh jumped",
        lost=False,
    ),
    "right_in_one_run_only": answer(
        "right in the first of the runs, which nobody marks",
        """
        import check
        dh = dlogits @ W2.T if check._grading._run.key == "public" else torch.zeros_like(h)
        """,
        "dh all_zeros",
    ),
    # -- the grader's memory
    "searches_the_disk": searches(
        "graders, solutions and gradebooks, anywhere on the disk",
        """
        import os, sys
        wanted = {"mistakes.py", "variations.py", "gradebook.db", "judge.py", "reference.py",
                  "assignment.toml", "nbgrader_config.py", "id_rsa", "1_every_step.ipynb", "seed"}
        for folder, inner, names in os.walk("/"):
            known = folder.startswith(("/usr/lib", "/usr/share", "/site", sys.base_prefix))
            inner[:] = [i for i in inner if i not in ("proc", "sys")
                        and (not known or any(w in i for w in ("handgrad", "course", "backprop", "grade")))]
            found += [os.path.join(folder, name) for name in names if name in wanted]
        """,
    ),
    "searches_proc": searches(
        "other processes, their commands, memory, files and environment",
        """
        import os
        try:
            pids = os.listdir("/proc")
        except OSError:
            pids = []
        for pid in pids:
            if not pid.isdigit() or int(pid) == os.getpid():
                continue
            found.append(pid)
        for name in ("1/environ", "1/mem", "1/maps", "self/environ", "1/cmdline"):
            try:
                data = open(f"/proc/{name}", "rb").read(100_000)
            except OSError:
                continue
            for word in (b"@COURSE@", b"@HOME@", b"gradebook", b"grade backprop", b"autograde"):
                if word in data:
                    found.append((name, word))
        """,
    ),
    "searches_the_heap": searches(
        "a tensor in memory that is the answer, or an object that knows it",
        """
        import gc, os
        gc.unfreeze()
        truth = dlogits @ W2.T
        things = [] if os.path.exists("searched") else gc.get_objects()
        open("searched", "w").close()
        for thing in things:
            if type(thing) is torch.Tensor and thing is not truth and thing.layout is torch.strided:
                if thing.shape == truth.shape and torch.allclose(thing.float(), truth):
                    found.append("a tensor")
            if type(thing).__name__ in ("Judge", "Reference", "Graph", "Step", "Exercise", "Assignment"):
                found.append(type(thing).__name__)
        """,
    ),
    "searches_the_modules": searches(
        "modules, frames and variables of whoever runs this",
        """
        import inspect, sys, os
        known = {"handgrad." + name for name in ("gradients", "gradients.judge", "gradients.reference", "gradients.steps",
                                                 "grading", "grading.grade", "grading.assignment", "sandbox", "store",
                                                 "check", "forward", "mistakes")}
        found += sorted(known & set(sys.modules)) + [n for n in sys.modules if "graders" in n]
        for frame in inspect.stack():
            found += [name for name in frame.frame.f_locals if name in ("want", "reference", "secret", "truth")]
        found += [name for name in ("In", "Out", "_ih", "_oh") if globals().get(name)]
        found += [k for k, v in os.environ.items() if "@COURSE@" in v or "TOKEN" in k or "SECRET" in k]
        for name in known:
            try:
                __import__(name)
            except (ImportError, OSError):
                continue
            found.append(name)
        """,
    ),
    "searches_open_files": searches(
        "files and sockets that were left open",
        """
        import os, stat
        for fd in range(3, 256):
            try:
                mode = os.fstat(fd).st_mode
            except OSError:
                continue
            if stat.S_ISSOCK(mode) or stat.S_ISREG(mode) and os.path.exists(f"/proc/self/fd/{fd}"):
                target = os.readlink(f"/proc/self/fd/{fd}")
                if not target.startswith("/dev/zero") and "deleted" not in target:
                    found.append((fd, target))
        """,
    ),
    # -- what is not promised
    "finite_differences": answer(
        "a derivative by other means: not prevented, see docs/threat-model.md",
        """
        def loss_at(b):
            return F.cross_entropy((h @ W2).double() + b, Yb)
        step, b = 1e-6, b2.double()
        db2 = torch.stack([
            (loss_at(b + step * e) - loss_at(b - step * e)) / (2 * step)
            for e in torch.eye(len(b), dtype=torch.float64)
        ]).float()
        """,
        "db2 jumped",
        cell="db2",
        lost=False,
    ),
    "at_once_everywhere": answer(
        "the closed form where the long way was asked",
        "dlogits = (F.softmax(logits, 1) - F.one_hot(Yb, vocab_size)) / n",
        "dlogits jumped",
        cell="dlogits",
        lost=False,
    ),
    "other_exercise_by_autograd": answer(
        "autograd where the whole exercise is one line",
        "dlogits = logits.grad",
        "dlogits skipped",
        "Tensor.grad",
        stem=TWO,
        cell="dlogits",
    ),
}
