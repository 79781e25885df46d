"""Tamper with judgement: a wrong answer is to be taken for a right one."""

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import nbformat

from attacks.attack import FOUR, ONE, TWO, Attack, Notebooks, Scene, answer, cell, code

ALL = [
    "dlogprobs",
    "dprobs",
    "dcounts_sum_inv",
    "dcounts_sum",
    "dcounts",
    "dnorm_logits",
    "dlogit_maxes",
    "dlogits",
    "dh",
    "dW2",
    "db2",
    "dhpreact",
    "dbngain",
    "dbnbias",
    "dbnraw",
    "dbnvar_inv",
    "dbnvar",
    "dbndiff2",
    "dbndiff",
    "dbnmeani",
    "dhprebn",
    "dembcat",
    "dW1",
    "db1",
    "demb",
    "dC",
]
# Their true gradients are zero: a zero is right there.
ZERO = {"dlogit_maxes", "db1"}


def everywhere(form: str) -> dict[str, dict[str, str]]:
    """Every answer of exercise 1 in one form; `{x}` is the forward value."""
    return {ONE: {name: f"{name} = " + form.format(x=name[1:]) for name in ALL}}


def below_a_chosen(change: str, **rubbish: str) -> dict[str, dict[str, str]]:
    """`dhpreact` right in the chain and changed where it is run alone, and in its cell rubbish below it."""
    lines = [
        "dhpreact = (1 - h**2) * dh",
        f"if mine is not dh: {change}",
        *(f"{name} = {what}" for name, what in rubbish.items()),
    ]
    first = {"dh": "mine = dh = dlogits @ W2.T", "dhpreact": "\n".join(lines)}
    return {ONE: {**first, **dict.fromkeys(rubbish, "pass")}}


def gone(*names: str, stem: str = ONE) -> frozenset[str]:
    return frozenset(f"{stem}/{name}" for name in names)


def on(stem: str, edit: Callable[[nbformat.NotebookNode], None]) -> Callable[[Notebooks], None]:
    """An edit of one notebook only."""
    return lambda notebooks: edit(notebooks[stem])


def text_of(grade_id: str, source: str) -> Callable[[nbformat.NotebookNode], None]:
    return lambda notebook: cell(notebook, grade_id).update(source=code(source))


def says(grade_id: str, **changes: object) -> Callable[[nbformat.NotebookNode], None]:
    return lambda notebook: cell(notebook, grade_id).metadata.nbgrader.update(changes)


def both(
    *edits: Callable[[nbformat.NotebookNode], None],
) -> Callable[[nbformat.NotebookNode], None]:
    def edit(notebook: nbformat.NotebookNode) -> None:
        for each in edits:
            each(notebook)

    return edit


def extra(source: str, before: str) -> Callable[[nbformat.NotebookNode], None]:
    """A cell of the student's own before the cell of this grade id."""

    def edit(notebook: nbformat.NotebookNode) -> None:
        at = notebook.cells.index(cell(notebook, before))
        notebook.cells.insert(at, nbformat.v4.new_code_cell(code(source), id=f"mine-{at}"))

    return edit


def without(*grade_ids: str) -> Callable[[nbformat.NotebookNode], None]:
    def edit(notebook: nbformat.NotebookNode) -> None:
        for grade_id in grade_ids:
            notebook.cells.remove(cell(notebook, grade_id))

    return edit


def twice(grade_id: str, source: str) -> Callable[[nbformat.NotebookNode], None]:
    """The cell once more, behind itself, with other text."""

    def edit(notebook: nbformat.NotebookNode) -> None:
        first = cell(notebook, grade_id)
        copy = deepcopy(first)
        copy.update(source=source, id="copy")
        notebook.cells.insert(notebook.cells.index(first) + 1, copy)

    return edit


def stolen(notebook: nbformat.NotebookNode) -> None:
    """A cell of the student's own under the name of a test cell, before it."""
    thief = nbformat.v4.new_code_cell("2.0", id="thief")
    thief.metadata.nbgrader = deepcopy(cell(notebook, "dh").metadata.nbgrader)
    thief.metadata.nbgrader.grade_id = "test_dh"
    notebook.cells.insert(notebook.cells.index(cell(notebook, "test_dh")), thief)


def swapped(notebook: nbformat.NotebookNode) -> None:
    one, other = cell(notebook, "dh"), cell(notebook, "dW2")
    one.metadata.nbgrader.grade_id, other.metadata.nbgrader.grade_id = "dW2", "dh"


def file(name: str, content: str) -> Callable[[Path, Scene], None]:
    return files({name: content})


def files(contents: dict[str, str]) -> Callable[[Path, Scene], None]:
    """Files beside the notebooks."""

    def write(folder: Path, scene: Scene) -> None:
        for name, content in contents.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(scene.told(content), encoding="utf-8")

    return write


# Of exercise 4's answer, up to where its body begins.
HEAD = """def backward(
    Xb, Yb, C, W1, b1, W2, b2, bngain, bnbias,
    emb, embcat, hprebn, bnmean, bnvar, bnvar_inv, bnraw, hpreact, h, logits,
):
"""
WRITES_A_MARK = (
    'open("@HOME@/@MARK@", "w").write("@MARK@")\nopen("/tmp/@MARK@", "w").write("@MARK@")\n'
)

JUDGEMENT: dict[str, Attack] = {
    # -- the machinery of cells and outputs
    "showtraceback_replaced": answer(
        "makes exceptions vanish",
        """
        shell = get_ipython()
        shell.showtraceback = type(shell).showtraceback = lambda *a, **k: None
        dh = None
        raise ValueError("nobody will see this")
        """,
        "dh raised",
    ),
    "prints_nothing": answer(
        "silences the cells that follow",
        """
        import sys, os
        sys.stdout = sys.stderr = open(os.devnull, "w")
        dh = torch.zeros_like(h)
        """,
        "dh all_zeros",
        shows=("wrong",),
    ),
    "prints_the_verdict": answer(
        "prints what a grader might read",
        """
        dh = torch.zeros_like(h)
        print('{"verdict": "right", "points": 2.0, "score": 1}')
        print("===== 26 passed in 0.01s =====")
        display(2.0)
        2.0
        """,
        "dh all_zeros",
    ),
    "test_cell_is_a_number": Attack(
        "a test cell that evaluates to its points",
        answers={ONE: {"dh": "dh = torch.zeros_like(h)"}},
        edit=on(ONE, text_of("test_dh", "2.0")),
        lost=gone("dh"),
        reads=("cell_edited test_dh", "dh all_zeros"),
        shows=("cmp('h', dh, h)",),
    ),
    # -- the tools of judgement
    "replaces_allclose": answer(
        "torch's comparisons say yes",
        """
        yes = lambda *a, **k: True
        torch.allclose = torch.equal = torch.isclose = yes
        torch.testing.assert_close = torch.testing.assert_allclose = yes
        torch.Tensor.allclose = torch.Tensor.equal = yes
        dh = torch.zeros_like(h)
        """,
        "dh all_zeros",
    ),
    "replaces_builtins": answer(
        "isinstance, abs, AssertionError and open are the student's",
        """
        import builtins
        builtins.isinstance = lambda *a: True
        builtins.abs = lambda x: 0.0
        builtins.AssertionError = type("Nothing", (Exception,), {})
        builtins.open = lambda *a, **k: (_ for _ in ())
        dh = torch.zeros_like(h)
        """,
        at_most=True,
    ),
    "replaces_cmp": answer(
        "cmp says exact, in the notebook and in the module",
        """
        import check
        cmp = check.cmp = lambda name, *a, **k: print(f"{name:15s} | exact: True")
        dh = torch.zeros_like(h)
        """,
        "dh all_zeros",
    ),
    "replaces_tensor_methods": answer(
        "what copies and compares tensors lies",
        """
        right = torch.Tensor.clone
        torch.Tensor.__eq__ = torch.Tensor.__sub__ = lambda a, b: a
        torch.Tensor.detach = torch.Tensor.contiguous = lambda a: h.new_zeros(a.shape)
        torch.Tensor.isfinite = torch.Tensor.any = torch.Tensor.all = lambda *a: True
        dh = torch.zeros_like(h)
        """,
        "dh all_zeros",
        at_most=True,
    ),
    "patches_the_runner": answer(
        "the modules that run the notebook are in the same process",
        """
        import sys
        dh = torch.zeros_like(h)
        answers, runner = sys.modules["handgrad.jailed.answers"], sys.modules["handgrad.jailed.runner"]
        answers.same = lambda *a: True
        take = answers.take
        answers.take = lambda space, name, handed, room, take=take, dh=dh: take({name: dh}, name, (), room)
        runner._State._put_back = lambda *a, **k: None
        """,
        at_most=True,
    ),
    "lying_skip": answer(
        "skip() is asked, and what it gives is passed off as an answer",
        """
        import check
        check.skip = skip = lambda name: check._grading.skip(name) * 1.0
        dh = skip("h") + 0
        """,
        "dh skipped",
    ),
    # -- objects that lie
    "lying_object": answer(
        "an object that equals everything",
        """
        class Liar:
            shape, dtype, device = h.shape, h.dtype, h.device
            def __eq__(self, other): return True
            def __sub__(self, other): return torch.zeros_like(h)
            __rsub__ = __sub__
            def __abs__(self): return torch.zeros_like(h)
            def numel(self): return h.numel()
        dh = Liar()
        """,
        "dh unusable",
        lost=("dh",),
    ),
    "lying_subclass": answer(
        "a tensor subclass whose __torch_function__ says True",
        """
        class Liar(torch.Tensor):
            @classmethod
            def __torch_function__(cls, function, types, args=(), kwargs=None):
                return True
        dh = torch.zeros_like(h).as_subclass(Liar)
        """,
        "dh all_zeros",
        at_most=True,
    ),
    "dispatch_that_raises": answer(
        "a tensor subclass that raises whenever it is touched",
        """
        class Bites(torch.Tensor):
            @staticmethod
            def __new__(cls):
                return torch.Tensor._make_wrapper_subclass(cls, h.shape, dtype=h.dtype)
            @classmethod
            def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
                raise KeyError("do not touch me")
        dh = Bites()
        """,
        "dh unusable",
        at_most=True,
    ),
    "lying_class": answer(
        "an object that says its class is Tensor and raises at every attribute",
        """
        class Mask:
            @property
            def __class__(self): return torch.Tensor
            def __getattr__(self, name): raise KeyError(name)
        dh = Mask()
        """,
        "dh unusable",
        at_most=True,
        lost=("dh",),
    ),
    "list_that_bites": answer(
        "a list whose length and items raise",
        """
        class Bites(list):
            def __len__(self): raise KeyError("len")
            def __getitem__(self, at): raise KeyError("item")
            def __iter__(self): raise KeyError("iter")
        dh = Bites([1.0])
        """,
        "dh unusable",
        lost=("dh",),
    ),
    "metaclass_that_bites": answer(
        "a class whose name raises",
        """
        class Meta(type):
            @property
            def __name__(cls): raise KeyError("name")
            def __instancecheck__(cls, other): return True
        class Nameless(metaclass=Meta):
            pass
        dh = Nameless()
        """,
        "dh unusable",
        lost=("dh",),
    ),
    "error_that_bites": answer(
        "an exception that cannot be shown",
        """
        class Bites(Exception):
            def __str__(self): raise KeyError("str")
            def __repr__(self): raise KeyError("repr")
        raise Bites
        """,
        "dh raised",
    ),
    # -- upstream gradients chosen so that any answer below them fits
    "chosen_upstream_that_cancels": Attack(
        "a huge null vector in the run alone makes the scale so large that anything is right below it",
        answers=below_a_chosen(
            "dhpreact[0] += 1e30; dhpreact[1] -= 1e30",
            dbngain="torch.ones_like(bngain)",
            dbnbias="torch.ones_like(bnbias)",
            dbnraw="torch.ones_like(bnraw)",
        ),
        lost=gone("dbngain", "dbnbias", "dbnraw"),
        reads=("dbnbias constant",),
    ),
    "chosen_upstream_without_sum": Attack(
        "a null vector of ordinary size in the run alone makes zeros right below it",
        answers=below_a_chosen("dhpreact -= dhpreact.mean(0)", dbnbias="torch.zeros_like(bnbias)"),
        lost=gone("dbnbias"),
    ),
    "rubbish_within_one_function": Attack(
        "all of it made in one function, and rubbish for most of it",
        answers={
            ONE: {
                "dhpreact": code("""
                def below(dh):
                    dhpreact = (1 - h**2) * dh
                    dbngain = dbnbias = torch.ones_like(bngain)
                    dbnraw = torch.ones_like(bnraw)
                    return dhpreact, dbngain, dbnbias, dbnraw
                dhpreact, dbngain, dbnbias, dbnraw = below(dh)
                """),
                **dict.fromkeys(("dbngain", "dbnbias", "dbnraw"), "pass"),
            }
        },
        lost=gone("dbngain", "dbnbias", "dbnraw"),
    ),
    # -- answers that are none
    "answer_nan": answer("not a number", "dh = torch.full_like(h, float('nan'))", "dh not_finite"),
    "answer_inf": answer("infinite", "dh = torch.full_like(h, float('inf'))", "dh not_finite"),
    "answer_scalar": answer("a number that broadcasts", "dh = 0.0", "dh all_zeros"),
    "answer_row": answer(
        "a row that broadcasts", "dh = (dlogits @ W2.T).mean(0, keepdim=True)", "dh largest_error"
    ),
    "answer_unspread": Attack(
        "one row for a whole batch: right when stretched, and not of the variable's shape",
        answers={ONE: {"dbndiff2": "dbndiff2 = dbnvar / (n - 1)"}},
        shares={f"{ONE}/dbndiff2": 0.5},
        reads=("dbndiff2 unspread",),
    ),
    "answer_bool": answer("True and False", "dh = h > 0", "dh unusable"),
    "answer_complex": answer("complex", "dh = (dlogits @ W2.T).to(torch.complex64)", "dh unusable"),
    "answer_integer": answer("whole numbers", "dh = (dlogits @ W2.T).long()", "dh all_zeros"),
    "answer_gigantic": answer(
        "a view of a million millions",
        "dh = torch.zeros(1).expand(1_000_000, 1_000_000)",
        "dh unusable",
    ),
    "answer_many_axes": answer("sixty axes", "dh = torch.zeros([1] * 60)", "dh unusable"),
    "answer_empty": answer("no entry at all", "dh = torch.zeros(0, 64)", "dh shape"),
    "answer_sparse": answer("sparse", "dh = (dlogits @ W2.T).to_sparse()", "dh unusable"),
    "answer_meta": answer(
        "without numbers", "dh = torch.empty_like(h, device='meta')", "dh unusable", at_most=True
    ),
    "answer_list": answer("a list of floats", "dh = (dlogits @ W2.T).tolist()", "dh unusable"),
    "answer_text": answer("text", "dh = 'right'", "dh unusable"),
    "answer_module": answer("a module", "dh = torch", "dh unusable"),
    "answer_wants_grad": answer(
        "right, and wanting a gradient: no reason to mark it down",
        "dh = torch.nn.Parameter(dlogits @ W2.T)",
        lost=False,
    ),
    "answer_without_storage": answer(
        "a tensor whose memory was taken away",
        """
        dh = torch.zeros_like(h)
        dh.untyped_storage().resize_(0)
        """,
        at_most=True,
    ),
    # -- trivial answers that are to become right
    "zeros_everywhere": Attack(
        "every step is right where everything is zero",
        answers=everywhere("torch.zeros_like({x})"),
        lost=gone(*sorted(set(ALL) - ZERO)),
        reads=("dprobs all_zeros", "db1 exact_zero"),
    ),
    "ones_everywhere": Attack(
        "one number all over", answers=everywhere("torch.ones_like({x})"), lost=gone(*ALL)
    ),
    "specks_everywhere": Attack(
        "numbers that are nearly zero",
        answers=everywhere("torch.full_like({x}, 1e-40)"),
        lost=gone(*ALL),
        reads=("db1 constant",),
    ),
    "forward_values_zeroed": answer(
        "given forward values are overwritten, so that a zero becomes right",
        """
        for value in (W2, h, bnraw, bngain, bnvar_inv, embcat, W1):
            value.zero_()
        dh = torch.zeros_like(h)
        """,
        "dh all_zeros",
        at_most=True,
    ),
    "constants_overwritten": answer(
        "n is made so large that every gradient vanishes",
        """
        n = 10**30
        Yb = torch.zeros_like(Yb)
        dlogprobs = torch.zeros_like(logprobs)
        """,
        "dlogprobs all_zeros",
        cell="dlogprobs",
        at_most=True,
    ),
    "parameters_cell_edited": Attack(
        "the seed and the sizes are the student's",
        edit=on(
            ONE, text_of("parameters", "seed = 0\nbatch_size = 1\nn_embd = n_hidden = 1\neps = 1.0")
        ),
        reads=("cell_edited parameters",),
    ),
    "forward_cell_edited": Attack(
        "the forward pass is the student's",
        answers={ONE: {"dh": "dh = torch.zeros_like(h)"}},
        edit=on(ONE, text_of("given_forward", "h = torch.zeros(32, 64)\nloss = 0 * h.sum()")),
        lost=gone("dh"),
        reads=("cell_edited given_forward", "dh all_zeros"),
    ),
    "cell_between_parameters": Attack(
        "a cell of the student's own changes the parameters behind the given cell",
        edit=on(ONE, extra("seed = 0\nW2 = 0\nn_hidden = 1", before="given_init")),
        at_most=True,
    ),
    "random_numbers_replaced": Attack(
        "the draws are the student's",
        edit=on(
            ONE,
            extra(
                """
                import torch
                torch.randn = lambda *shape, generator=None: torch.zeros(*shape)
                torch.randint = lambda *a, generator=None: torch.zeros(a[2], dtype=torch.long)
                """,
                before="given_files",
            ),
        ),
        answers=everywhere("torch.zeros_like({x})"),
        at_most=True,
        lost=gone(*sorted(set(ALL) - ZERO)),
    ),
    "backward_of_zeros": answer(
        "a backward pass that leaves the network as it is",
        HEAD + "    return [torch.zeros_like(p) for p in (C, W1, b1, W2, b2, bngain, bnbias)]",
        "dC all_zeros",
        stem=FOUR,
        cell="backward",
        lost=("dC", "dW1", "dW2", "db2", "dbngain", "dbnbias", "trained", "lossi"),
    ),
    "training_replaced": answer(
        "draws, training step and losses are the student's",
        HEAD
        + """
    import __main__
    zeros = [torch.zeros_like(p) for p in (C, W1, b1, W2, b2, bngain, bnbias)]
    __main__.training_step = lambda parameters, g, lr: torch.tensor(2.0)
    __main__.draw = lambda g: zeros
    __main__.Xtr = torch.zeros_like(Xtr)
    return zeros
""".lstrip("\n"),
        "dC all_zeros",
        stem=FOUR,
        cell="backward",
        lost=("dC", "dW1", "dW2", "db2", "dbngain", "dbnbias", "trained", "lossi"),
        at_most=True,
    ),
    # -- the notebook's own metadata
    "points_raised": Attack(
        "worth a thousand points, as the file says",
        answers={ONE: {"dh": "dh = torch.zeros_like(h)"}},
        edit=on(ONE, both(says("test_dh", points=1000), says("test_dW2", points=1000))),
        lost=gone("dh"),
    ),
    "points_nan": Attack(
        "worth no number of points, or less than none, as the file says",
        answers={ONE: {"dh": "dh = torch.zeros_like(h)"}},
        edit=on(ONE, both(says("test_dh", points=float("nan")), says("test_dW2", points=-1e9))),
        lost=gone("dh"),
    ),
    "checksum_forged": Attack(
        "checksums and schema versions of the student's own",
        answers={ONE: {"dh": "dh = torch.zeros_like(h)"}},
        edit=on(
            ONE,
            both(
                says("test_dh", checksum="0" * 32),
                says("dh", schema_version=0),
                says("dW2", schema_version=99),
            ),
        ),
        lost=gone("dh"),
    ),
    "test_cell_is_markdown": Attack(
        "a test cell that never runs",
        answers={ONE: {"dh": "dh = torch.zeros_like(h)"}},
        edit=on(ONE, lambda n: cell(n, "test_dh").update(cell_type="raw")),
        lost=gone("dh"),
        reads=("cell_type_changed test_dh",),
    ),
    "answer_is_markdown": Attack(
        "a right answer in a cell that was turned into prose by a slip of the finger",
        edit=on(ONE, lambda n: cell(n, "dh").update(cell_type="markdown")),
        reads=("cell_type_changed dh",),
    ),
    "grade_ids_swapped": Attack(
        "two answers under each other's names: each computes what the other should",
        edit=on(ONE, swapped),
        at_most=True,
    ),
    "answer_made_a_test": Attack(
        "a solution cell that grades itself",
        answers={ONE: {"dh": "dh = torch.zeros_like(h)\n50"}},
        edit=on(ONE, says("dh", grade=True, points=50)),
        lost=gone("dh"),
        reads=("id_stolen dh",),
    ),
    "cells_deleted": Attack(
        "an answer, a test and a given cell are gone; the test and the given cell cost nothing",
        edit=on(ONE, without("dW2", "test_db2", "given_forward")),
        lost=gone("dW2"),
        reads=("cell_deleted dW2", "cell_deleted test_db2", "cell_deleted given_forward"),
    ),
    "cells_duplicated": Attack(
        "cells twice: the first answer counts, the released test runs",
        edit=on(
            ONE, both(twice("dh", "dh = torch.zeros_like(h)"), twice("test_dW2", "dW2 = None"))
        ),
        at_most=True,
        reads=("cell_duplicated dh", "cell_duplicated test_dW2"),
    ),
    "grade_id_stolen": Attack(
        "a cell under the name of a test cell",
        answers={ONE: {"dh": "dh = torch.zeros_like(h)"}},
        edit=on(ONE, stolen),
        lost=gone("dh"),
        reads=("id_stolen test_dh",),
    ),
    "cells_reversed": Attack(
        "all cells in reverse order: they are put back, nothing is lost",
        edit=on(ONE, lambda n: n.cells.reverse()),
    ),
    # -- what the harness would write
    "forged_frames": answer(
        "writes to every open descriptor what the runner would send",
        """
        import os, sys
        from handgrad.jailed import wire
        dh = torch.zeros_like(h)
        frame = sys._getframe()
        while not hasattr(frame.f_locals.get("self"), "plan"):
            frame = frame.f_back
        runner = frame.f_locals["self"]
        names = [name for names in runner.plan.takes.values() for name in names]
        for run in runner.plan.runs:
            cells = [{"index": code.cell.index, "status": "ok", "ename": "", "evalue": "", "outputs": []}
                     for code in runner.cells]
            header = {"run": run.key, "cells": cells, "answers": {n: ["tensor", ""] for n in names},
                      "changed": [], "attempts": [], "verdict": "right", "points": 1000}
            runner.send(wire.frame(header, wire.pack({n: torch.zeros(1) for n in names})))
        """,
        lost=tuple(ALL),
        at_most=True,
    ),
    "forged_rubbish": answer(
        "sends what no runner sends, of every kind",
        """
        import os, sys
        from handgrad.jailed import wire
        frame = sys._getframe()
        while not hasattr(frame.f_locals.get("self"), "plan"):
            frame = frame.f_back
        send = frame.f_locals["self"].send
        send(wire.frame({"run": "public", "cells": [{"index": 1e300}], "answers": {"__class__": ["tensor", ""]},
                         "changed": [[]], "attempts": [[0, {}, None]], "kind": "done"}, b"\\x80\\x04N."))
        os._exit(0)
        """,
        lost=tuple(ALL),
        untold=(ONE,),
        shows=("could not tell",),
    ),
    "answers_withheld": answer(
        "takes a wrong answer out of what the run sends: it is missing, and listed",
        """
        import sys
        wire = sys.modules["handgrad.jailed.wire"]
        dh = torch.zeros_like(h)
        def less(header, body=b"", frame=wire.frame):
            header["answers"].pop("dh", None)
            return frame(header, body)
        wire.frame = less
        wire.pack = lambda tensors, pack=wire.pack: pack({n: t for n, t in tensors.items() if n != "dh"})
        """,
        "dh was taken out of what the run sent",
        "handgrad.jailed.wire",
    ),
    "reason_of_its_own": answer(
        "a reason in its own words why nobody could tell",
        """
        import sys
        wire = sys.modules["handgrad.jailed.wire"]
        def worded(header, body=b"", frame=wire.frame):
            said = "the disk was full: full " + "marks, please"
            header["answers"]["dh"] = ["unusable", ["disk", {"said": said}]]
            return frame(header, body)
        wire.frame = worded
        wire.pack = lambda tensors, pack=wire.pack: pack({n: t for n, t in tensors.items() if n != "dh"})
        """,
        "dh trouble",
        "handgrad.jailed.wire",
        lost=tuple(ALL),
        untold=(ONE,),
        shows=("could not tell",),
        unsaid=("full marks, please",),
    ),
    "millions_of_objects": answer(
        "a frame of millions of objects, for whoever parses it",
        """
        import os, sys
        frame = sys._getframe()
        while not hasattr(frame.f_locals.get("self"), "plan"):
            frame = frame.f_back
        header = b'{"run":[' + b"{}," * (8 << 20) + b"{}]}"
        frame.f_locals["self"].send(len(header).to_bytes(4, "little") + bytes(4) + header)
        os._exit(0)
        """,
        lost=tuple(ALL),
        untold=(ONE,),
        shows=("could not tell",),
    ),
    "error_without_end": answer(
        "an error that never finishes saying what it is",
        """
        class Long(Exception):
            def __str__(self):
                while True:
                    pass
        raise Long
        """,
        "dh timed_out",
    ),
    "floods_the_pipe": answer(
        "writes rubbish to every open descriptor",
        """
        import os
        dh = torch.zeros_like(h)
        for fd in range(3, 64):
            try:
                os.write(fd, b"\\xff" * 65536)
            except OSError:
                pass
        """,
        at_most=True,
    ),
    "writes_result_files": answer(
        "writes files of every name that a grader might read",
        """
        import os
        dh = torch.zeros_like(h)
        for name in ("results.json", "report.json", ".result", "dh.safetensors", "dh.npy", "junit.xml"):
            for folder in (".", "/tmp", "/tmp/notebook"):
                try:
                    with open(os.path.join(folder, name), "w") as f:
                        f.write('{"dh": 2.0, "verdict": "right", "passed": true, "@MARK@": 1}')
                except OSError:
                    pass
        """,
        "dh all_zeros",
    ),
    "thread_rewrites_later": answer(
        "a thread puts the right tensor in place when the wrong one was taken",
        """
        import threading, time
        dh = torch.zeros_like(h)
        def later():
            while True:
                globals()["dh"] = dlogits @ W2.T
                time.sleep(0.001)
        thread = threading.Timer(0.05, later)
        thread.daemon = True
        thread.start()
        """,
        at_most=True,
        lost=(),
    ),
    "atexit_rewrites": answer(
        "functions for the end of the process",
        """
        import atexit, os
        dh = torch.zeros_like(h)
        def last_word():
            global dh
            dh = dlogits @ W2.T
            for fd in range(3, 64):
                try:
                    os.write(fd, b"right")
                except OSError:
                    pass
        atexit.register(last_word)
        os.register_at_fork(before=last_word)
        """,
        "dh all_zeros",
    ),
    "child_lives_on": answer(
        "a child in a session of its own, which writes when all is over",
        """
        import os, time
        dh = torch.zeros_like(h)
        if not os.path.exists("/tmp/once") and os.fork() == 0:
            open("/tmp/once", "w").close()
            os.setsid()
            if os.fork() == 0:
                time.sleep(60)
                open("/tmp/@MARK@", "w").write("@MARK@")
            os._exit(0)
        """,
        "dh raised",
    ),
    # -- end it all
    "sys_exit": answer(
        "leaves before it is judged", "import sys\ndh = None\nsys.exit(0)", "dh raised"
    ),
    "raise_system_exit": answer(
        "leaves in every answer",
        "raise SystemExit(0)",
        "dh raised",
    ),
    "os_exit": answer("ends the process with success", "import os\nos._exit(0)", "dh killed"),
    "kills_its_parent": answer(
        "kills what started it: there is nothing it can see",
        """
        import os, signal
        dh = torch.zeros_like(h)
        for pid in (os.getppid(), 1, 2, 3):
            if pid != os.getpid():
                try:
                    os.kill(pid, signal.SIGKILL)
                except OSError:
                    pass
        """,
        "dh all_zeros",
        at_most=True,
    ),
    "kills_its_group": answer(
        "kills its process group",
        "import os, signal\nos.killpg(0, signal.SIGKILL)\ndh = 0",
        at_most=True,
    ),
    "kills_everything": answer(
        "kills all that it may",
        "import os, signal\nos.kill(-1, signal.SIGKILL)\ndh = 0",
        at_most=True,
    ),
    "stops_itself": answer(
        "stops, and waits for somebody to wake it",
        "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)\ndh = None",
        at_most=True,
    ),
    "segfault": answer("reads address 0", "import ctypes\nctypes.string_at(0)", "dh killed"),
    # -- files beside the notebook
    "shadow_modules": Attack(
        "modules of the student's own beside the notebook",
        answers={ONE: {"dh": "dh = torch.zeros_like(h)"}},
        files=files(
            {
                **dict.fromkeys(
                    (
                        "torch.py",
                        "random.py",
                        "handgrad.py",
                        "sitecustomize.py",
                        "usercustomize.py",
                        "conftest.py",
                        "nbgrader_config.py",
                        "jupyter_config.py",
                        "test_dh.py",
                        "json.py",
                        "__init__.py",
                        "handgrad/__init__.py",
                        "torch/__init__.py",
                    ),
                    WRITES_A_MARK,
                ),
                "pytest.ini": "[pytest]\naddopts = -p no:handgrad\n",
                "pyproject.toml": "[tool.pytest.ini_options]\naddopts = '--collect-only'\n",
                "attack.pth": "import os; os.system('touch @HOME@/@MARK@')\n",
                "assignment.toml": "right_step_share = 1.0\nunspread_share = 1.0\n",
            }
        ),
        lost=gone("dh"),
        reads=("dh all_zeros",),
    ),
    "own_check_py": Attack(
        "check.py and names.txt of the student's own",
        answers={ONE: {"dh": "dh = torch.zeros_like(h)"}},
        files=files(
            {
                "check.py": WRITES_A_MARK + "cmp = skip = picture = lambda *a, **k: 2.0\n",
                "names.txt": "a\n",
            }
        ),
        lost=gone("dh"),
        reads=("dh all_zeros",),
    ),
    "writes_shadow_modules": answer(
        "writes modules where the next notebook would look for them",
        """
        import os, sys
        for name in ("check.py", "torch.py", "random.py", "names.txt", "sitecustomize.py"):
            with open(name, "w") as f:
                f.write("raise SystemExit(0)")
        sys.path.insert(0, "/tmp")
        dh = torch.zeros_like(h)
        """,
        "dh all_zeros",
    ),
    "pickle_answer": answer(
        "an object that runs code when it is unpickled",
        """
        class Bomb:
            def __reduce__(self):
                return exec, ("open('@HOME@/@MARK@', 'w').write('@MARK@')",)
        dh = Bomb()
        """,
        "dh unusable",
        lost=("dh",),
    ),
    "pickle_file": Attack(
        "a pickle that runs code, beside the notebook",
        files=files(
            dict.fromkeys(
                ("dh.pt", "dh.pkl", "answers.npy", "2_cross_entropy.pkl"),
                "cbuiltins\nexec\n(Vopen('@HOME@/@MARK@', 'w').write('@MARK@')\ntR.",
            )
        ),
        stems=(TWO,),
    ),
}
