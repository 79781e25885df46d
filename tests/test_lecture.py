"""A lecture's own notebook is marked as it is, whatever its owner did with names, cells and order."""

import shutil
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from lecturer import LOOP, ROOT, STEMS, Lecture, solution, steps, training_forward
from pool import Grader, grader

from handgrad.assignment.assignment import Assignment
from handgrad.doors.check import check as check_file
from handgrad.doors.handin import import_into
from handgrad.errors import UserError
from handgrad.grading.pipeline import lecture_in
from handgrad.lecture.look import Look
from handgrad.lecture.ownnames import own_names
from handgrad.lecture.ownorder import in_order, to_look_at
from handgrad.lecture.reading import Reading
from handgrad.lecture.statements import listing
from handgrad.lecture.syllabus import Syllabus
from handgrad.limits import Limits
from handgrad.notebooks.notebookfile import RawCell, parse
from handgrad.pages.words import LANGUAGES, say

STEPS = tuple(steps())
PARAMETERS = ("dC", "dW1", "db1", "dW2", "db2", "dbngain", "dbnbias")
TRAINED = (*PARAMETERS, "trained", "lossi")


@dataclass(frozen=True)
class Row:
    """One oddity. `verdicts` are those that are not "right", by `number of the exercise + name`."""

    write: Callable[[Lecture], object]
    verdicts: Mapping[str, str] = field(default_factory=dict)
    notes: frozenset[str] = frozenset()
    remarks: frozenset[str] = frozenset()  # "1dlogits aliased"


def row(
    write: Callable[[Lecture], object],
    verdicts: Mapping[str, str] | None = None,
    notes: str = "",
    remarks: str = "",
) -> Row:
    return Row(
        write,
        verdicts or {},
        frozenset(f"lecture_{code}" for code in notes.split()),
        frozenset(filter(None, remarks.split("; "))),
    )


def nothing(lecture: Lecture) -> None:
    """The notebook as `Lecture` writes it."""


def all_of(*writes: Callable[[Lecture], object]) -> Callable[[Lecture], None]:
    def write(lecture: Lecture) -> None:
        for each in writes:
            each(lecture)

    return write


def step(name: str, code: str) -> Callable[[Lecture], None]:
    """Exercise 1 with this in the place of one of its steps."""

    def write(lecture: Lecture) -> None:
        lecture.steps[name] = code
        lecture.write_steps()

    return write


def change(cell: str, old: str, new: str) -> Callable[[Lecture], None]:
    return lambda lecture: lecture.change(cell, old, new)


def after(cell: str, *texts: str | tuple[str, str]) -> Callable[[Lecture], None]:
    return lambda lecture: lecture.after(cell, *texts)


def from_on(first: str, verdict: str = "right step") -> dict[str, str]:
    """The steps from this one on, when all that is wrong comes from before it.

    db1 is zero whatever comes in, so nothing can be seen there.
    """
    return {f"1{name}": verdict for name in STEPS[STEPS.index(first) :] if name != "db1"}


# ---------------------------------------------------------------- where things stand


def headings_in_markdown(lecture: Lecture) -> None:
    lecture.write_steps(heading="")
    lecture.change("two", "# Exercise 2", "")
    lecture.change("three", "# Exercise 3", "")
    for at, name in enumerate(("one", "two", "three"), start=1):
        lecture.replace_cell(
            name,
            {f"{name}_text": ("markdown", f"## **Exercise {at}**: now"), name: lecture.cells[name]},
        )


def no_headings(lecture: Lecture) -> None:
    lecture.write_steps(heading="")
    lecture.change("two", "# Exercise 2", "")
    lecture.change("three", "# Exercise 3", "")


def no_headings_and_no_forward(lecture: Lecture) -> None:
    no_headings(lecture)
    del lecture.cells["two"], lecture.cells["three"]


BATCH_NORM = tuple(f"1{n}" for n in STEPS[STEPS.index("dhpreact") : STEPS.index("dhprebn")])


def without_batch_norm(lecture: Lecture) -> None:
    """The same network, but that tanh follows the first layer at once."""
    forward = str(lecture.cells["forward"])
    first, rest = forward.split("# batch normalization")
    lecture.cells["forward"] = first + rest[rest.index("# non-linearity") :].replace(
        "tanh(hpreact)", "tanh(hprebn)"
    )
    lecture.change("reference", "hpreact, bnraw, bnvar_inv, bnvar, bndiff2, bndiff, bnmeani, ", "")
    own = {"dhprebn": "dhprebn = (1 - h**2) * dh"}
    kept = {n: c for n, c in lecture.steps.items() if f"1{n}" not in BATCH_NORM}
    lecture.steps = kept | own
    lecture.write_steps()
    del lecture.cells["three"], lecture.cells["three_answer"]


# What the two short forms pass over.
LEAPT = (*STEPS[: STEPS.index("dlogits")], *STEPS[STEPS.index("dbnraw") : STEPS.index("dhprebn")])


def short_forms_only(lecture: Lecture) -> None:
    """One pass with both short forms in it, and no word of exercises."""
    short = {"dlogits": solution(STEMS[1], "dlogits"), "dhprebn": solution(STEMS[2], "dhprebn")}
    lecture.steps = {n: short.get(n, c) for n, c in lecture.steps.items() if n not in LEAPT}
    lecture.write_steps(heading="")
    for cell in ("two", "two_answer", "three", "three_answer"):
        del lecture.cells[cell]


def as_in_the_lecture(lecture: Lecture) -> None:
    """The first branch of two-branched gradients before what the second one needs."""
    lecture.steps["dcounts_sum_inv"] += "\ndcounts = counts_sum_inv * dprobs"
    lecture.steps["dcounts"] = "dcounts += torch.ones_like(counts) * dcounts_sum"
    lecture.steps["dnorm_logits"] += "\ndlogits = dnorm_logits.clone()"
    lecture.steps["dlogits"] = "dlogits[range(n), logits.max(1).indices] += dlogit_maxes.squeeze(1)"
    lecture.steps["dbnraw"] += "\ndbndiff = bnvar_inv * dbnraw"
    lecture.steps["dbndiff"] = "dbndiff += 2 * bndiff * dbndiff2"
    lecture.steps["dbnmeani"] = "dhprebn = dbndiff.clone()\n" + lecture.steps["dbnmeani"]
    lecture.steps["dhprebn"] = "dhprebn += 1 / n * (torch.ones_like(hprebn) * dbnmeani)"
    lecture.write_steps()


def gain_and_bias_last(lecture: Lecture) -> None:
    order = [name for name in STEPS if name not in ("dbngain", "dbnbias", "dW2", "db2")]
    lecture.write_steps(*order, "dbnbias", "db2", "dbngain", "dW2")


def everything_twice(lecture: Lecture) -> None:
    """First in cells of its own, one of them wrong, then all in one."""
    whole = lecture.cells["one"]
    lecture.steps["dh"] = "dh = dlogits @ W2"
    lecture.split_steps()
    lecture.after("one_dC", whole)


def forward_again(lecture: Lecture) -> None:
    lecture.split_steps()
    for name in ("one_dcounts", "one_dhpreact"):
        lecture.after(
            name, lecture.cells["batch"], lecture.cells["forward"], lecture.cells["reference"]
        )


def in_a_with(lecture: Lecture) -> None:
    text = lecture.cells["one"]
    assert isinstance(text, str)
    lecture.cells["one"] = "# Exercise 1\nwith torch.no_grad():\n" + "\n".join(
        f"    {line}" for line in text.splitlines()
    )


def goes_on_after_exercise_2(lecture: Lecture) -> None:
    """Exercise 1 up to dlogits, then exercise 2, then the rest of exercise 1."""
    lecture.split_steps()
    moved = {
        name: lecture.cells.pop(name) for name in list(lecture.cells) if name.startswith("one_")
    }
    at = list(moved).index("one_dh")
    first, rest = dict(list(moved.items())[:at]), dict(list(moved.items())[at:])
    lecture.replace_cell("one", {"one": lecture.cells["one"], **first})
    lecture.replace_cell("three", {**rest, "three": lecture.cells["three"]})


# ---------------------------------------------------------------- what things are called


def one_letter_for_two(lecture: Lecture) -> None:
    """`d` is dlogprobs first and dprobs then."""
    lecture.split_steps()
    lecture.cells["one_dlogprobs"] = (
        "d = torch.zeros_like(logprobs)\nd[range(n), Yb] = -1 / n\ncmp('logprobs', d, logprobs)"
    )
    lecture.cells["one_dprobs"] = "d = d / probs\ncmp('probs', d, probs)"
    lecture.change("one_dcounts_sum_inv", "dprobs", "d")
    lecture.change("one_dcounts", "dprobs", "d")


def called(name: str, used: str) -> Callable[[Lecture], None]:
    return lambda lecture: lecture.everywhere(name, used)


def forward_in_letters(lecture: Lecture) -> None:
    for name, used in (("bnmeani", "m"), ("bndiff", "d"), ("bnvar_inv", "s"), ("hpreact", "a")):
        lecture.everywhere(name, used)
        lecture.everywhere(f"d{name}", f"d{used}")
    lecture.change("three", "hpreact_fast", "a_fast")


def compares_nothing(lecture: Lecture) -> None:
    lecture.write_steps(compare=False)
    lecture.change("two_answer", "\ncmp(", "\n# cmp(")
    lecture.change("three_answer", "\ncmp(", "\n# cmp(")


def compares_otherwise(lecture: Lecture) -> None:
    """A function of their own, its arguments in another order."""
    compares_nothing(lecture)
    lecture.everywhere("dlogits", "back")
    lecture.cells["compare"] = (
        "def same(got, tensor, what):\n    print(what, torch.allclose(got, tensor.grad))"
    )
    lecture.after("one", "same(back, logits, 'this')")
    lecture.after("two_answer", "same(back, logits, 'that')")


def compares_an_expression(lecture: Lecture) -> None:
    lecture.steps["dhpreact"] = "dhpreact = (1 - h**2) * (dlogits @ W2.T)"
    lecture.steps["dh"] = ""
    lecture.write_steps()
    lecture.change("one", "cmp('h', dh, h)", "cmp('h', dlogits @ W2.T, h)")


# ---------------------------------------------------------------- how people write


def written_as_before(lecture: Lecture) -> None:
    """Idioms of old versions of torch."""
    lecture.after("imports", "from torch.autograd import Variable\nimport numpy as np")
    lecture.steps["dlogprobs"] = (
        "dlogprobs = Variable(torch.FloatTensor(logprobs.size()).zero_())\n"
        "dlogprobs.scatter_(1, Yb.view(-1, 1), -1.0 / n)"
    )
    lecture.steps["dlogits"] = (
        "dlogits = dnorm_logits.data.clone()\n"
        "dlogits.scatter_add_(1, logits.data.max(1)[1].view(-1, 1), dlogit_maxes.data)"
    )
    lecture.steps["dW2"] = "dW2 = torch.mm(h.t(), dlogits)"
    lecture.steps["dbnvar"] = (
        "dbnvar = dbnvar_inv.mul(-0.5).mul(torch.pow(bnvar + 1e-5, np.float32(-1.5)))"
    )
    lecture.write_steps()


def with_magics(lecture: Lecture) -> None:
    lecture.change("imports", "import torch\n", "!pip list\n%matplotlib inline\nimport torch\n")
    lecture.change("one", "# Exercise 1\n", "%%time\n# Exercise 1\n")
    lecture.after(
        "one", "dlogits.sum?", "files = !ls", "import matplotlib.pyplot as plt; plt.imshow(dC)"
    )


def helpers(lecture: Lecture) -> None:
    """A function, a function that it calls, and a variable, each in a cell of its own."""
    lecture.split_steps()
    lecture.after(
        "compare",
        "def hot(at, size):\n    return F.one_hot(at, num_classes=size).float()",
        "def at_maximum(x):\n    return hot(x.argmax(1), x.shape[1])",
    )
    lecture.after("one_dlogit_maxes", "where = at_maximum(logits)")
    lecture.cells["one_dlogits"] = "dlogits = dnorm_logits + where * dlogit_maxes"


def helper_that_changes(lecture: Lecture) -> None:
    lecture.after(
        "compare",
        "def add_rows(into, at, rows):\n    for i, row in zip(at.view(-1), rows.view(-1, rows.shape[-1])):\n"
        "        into[i] += row",
    )
    step("dC", "dC = torch.zeros_like(C)\nadd_rows(dC, Xb, demb)")(lecture)


SYNTAX_ERROR = all_of(
    Lecture.split_steps, lambda lecture: lecture.cells.update(one_dlogits="dlogits =")
)
LEFT_OVER = (
    solution(STEMS[3], "backward")
    .replace("dhprebn = bngain * bnvar_inv * (dhpreact", "dhprebn = bnvar_inv * (dbnraw")
    .replace("- dbnbias / n", "- dbnraw.mean(0)")
    .replace("- bnraw * dbngain / (n - 1)", "- bnraw * (dbnraw * bnraw).sum(0) / (n - 1)")
)
CHUNKS = solution(STEMS[0], "dhprebn") and "\n".join(
    [
        solution(STEMS[3], "backward").split("# the sums")[0],
        *(
            solution(STEMS[0], name)
            for name in STEPS[STEPS.index("dbnraw") : STEPS.index("dembcat")]
        ),
        "dembcat" + solution(STEMS[3], "backward").split("dembcat", 1)[1],
    ]
)


def train_in_chunks(lecture: Lecture) -> None:
    """Exercise 1's forward and backward in the loop."""
    forward = lecture.cells["forward"]
    assert isinstance(forward, str)
    lecture.train(CHUNKS, forward)


def train_in(head: str) -> Callable[[Lecture], None]:
    """The loop inside another block."""

    def write(lecture: Lecture) -> None:
        lecture.train()
        text = lecture.cells["four"]
        assert isinstance(text, str)
        before, loop = text.split("for i in range(max_steps):")
        inside = textwrap.indent("for i in range(max_steps):" + loop, "        ")
        lecture.cells["four"] = f"{before}{head}\n{inside}"

    return write


def train_by_hand(lecture: Lecture) -> None:
    """No list of gradients: each parameter is moved by itself."""
    lecture.train(loop=LOOP.split("    for p, grad")[0] + "    C -= 0.1 * dC\n    W1 -= 0.1 * dW1")
    lecture.change("four", "    grads = [dC, dW1, db1, dW2, db2, dbngain, dbnbias]\n", "")


def train_in_another_order(lecture: Lecture) -> None:
    lecture.train()
    lecture.change(
        "four", "[C, W1, b1, W2, b2, bngain, bnbias]", "[W2, b2, bngain, bnbias, W1, b1, C]"
    )
    lecture.change(
        "four",
        "[dC, dW1, db1, dW2, db2, dbngain, dbnbias]",
        "[dW2, db2, dbngain, dbnbias, dW1, db1, dC]",
    )


def train_with_a_function(lecture: Lecture) -> None:
    """The backward pass is a function of theirs, and so is the derivative of tanh."""
    arguments = "Xb, Yb, C, W1, W2, bngain, emb, embcat, bnvar_inv, bnraw, h, logits"
    body = solution(STEMS[3], "backward").replace("(1 - h**2)", "slope(h)")
    lecture.after(
        "three_answer",
        "def slope(h):\n    return 1 - h**2",
        f"def back({arguments}):\n"
        + "".join(f"    {line}\n" for line in body.splitlines())
        + "    return dC, dW1, db1, dW2, db2, dbngain, dbnbias",
    )
    lecture.train(f"grads = back({arguments})")
    lecture.change("four", "    grads = [dC, dW1, db1, dW2, db2, dbngain, dbnbias]\n", "")


NOT = "not attempted"
NO_TRAINING = dict.fromkeys((f"4{name}" for name in TRAINED), NOT)

AFTER_DH = from_on("dhpreact") | {"1db1": "right step"}  # nothing at all came in

ROWS = {
    # where things stand
    "all in one cell": row(nothing, notes="taken"),
    "a cell for every step": row(Lecture.split_steps),
    "headings in markdown": row(headings_in_markdown),
    "no headings": row(no_headings),
    "no headings and no forward of exercises 2 and 3": row(
        no_headings_and_no_forward, notes="by_its_form"
    ),
    "the short forms once, and no headings": row(
        short_forms_only,
        dict.fromkeys((f"1{name}" for name in LEAPT if name != "dbnraw"), NOT),
        notes="by_its_form not_found",
    ),
    "first branches early, as in the lecture": row(as_in_the_lecture),
    "gain and bias at the very end": row(gain_and_bias_last),
    "everything twice, wrong at first": row(everything_twice, notes="overwritten"),
    "the forward pass once more in the middle": row(forward_again),
    "exercise 1 goes on after exercise 2": row(goes_on_after_exercise_2),
    "all under no_grad": row(in_a_with),
    "two answers in one line": row(
        all_of(step("db2", ""), step("dW2", "dW2, db2 = h.T @ dlogits, dlogits.sum(0)"))
    ),
    # answers that were given more than once
    "a wrong attempt, then the right one": row(
        all_of(Lecture.split_steps, after("one_dlogits", "dh = dlogits @ W2", "cmp('h', dh, h)")),
        notes="overwritten",
    ),
    "a right attempt, then a wrong one": row(
        all_of(Lecture.split_steps, after("one_dh", "dh = dlogits.T\ncmp('h', dh, h)")),
        {"1dh": "wrong"} | AFTER_DH,
        notes="overwritten",
    ),
    "tried on after it was compared": row(
        after("one", "dh = torch.zeros(3)"), notes="after_compare"
    ),
    "a branch added after it was compared": row(
        all_of(
            Lecture.split_steps,
            lambda lecture: lecture.cells.update(
                one_dcounts="dcounts = counts_sum_inv * dprobs\ncmp('counts', dcounts, counts)"
            ),
            after("one_dcounts", "dcounts += torch.ones_like(counts) * dcounts_sum"),
        )
    ),
    "a wrong attempt in the same cell": row(
        change("one", "dh = dlogits @ W2.T", "dh = dlogits @ W2.T + 1\ndh = dlogits @ W2.T"),
        notes="again",
    ),
    "a wrong attempt commented out": row(
        change("one", "dh = dlogits @ W2.T", "# dh = dlogits @ W2\n# dh = W2\ndh = dlogits @ W2.T")
    ),
    "an attempt too early": row(after("forward", "dprobs = 1 / probs"), notes="overwritten"),
    # names
    "compared under another name": row(
        all_of(called("dlogits", "dl"), called("dhprebn", "q")), notes="compared_as"
    ),
    "one letter for two gradients": row(one_letter_for_two, notes="compared_as"),
    "another usual name": row(
        all_of(compares_nothing, called("dhpreact", "d_hpreact")), notes="named_as"
    ),
    "the forward pass in letters": row(forward_in_letters, notes="value_as"),
    "the forward pass in letters, nothing compared": row(
        all_of(compares_nothing, forward_in_letters), notes="value_as named_as"
    ),
    "labels with a d": row(lambda lecture: lecture.everywhere("cmp\\('", "cmp('d")),
    "labels of other gradients": row(change("one", "cmp('W1', dW1", "cmp('b1', dW1")),
    "an expression compared": row(compares_an_expression),
    "nothing compared": row(compares_nothing),
    "compared by a function of their own": row(compares_otherwise, notes="compared_as"),
    "compared with allclose": row(
        all_of(
            compares_nothing,
            called("dh", "back"),
            after("one", "assert torch.allclose(back, h.grad)"),
        ),
        notes="compared_as",
    ),
    "other names for the batch": row(
        all_of(called("Xb", "X"), called("Yb", "Y")), notes="value_as"
    ),
    "a mean by its method": row(
        all_of(
            change(
                "forward", "1 / n * hprebn.sum(0, keepdim=True)", "hprebn.mean(0, keepdims=True)"
            ),
            called("bnmeani", "mu"),
            called("dbnmeani", "dmu"),
        ),
        notes="value_as compared_as",
    ),
    "an answer of a name that nothing explains": row(
        all_of(
            step("dC", solution(STEMS[0], "dC").replace("dC", "this")),
            change("one", "cmp('C', dC, C)", "cmp('this', this, that)"),
        ),
        {"1dC": "could not tell"},
    ),
    "another formula than the course's": row(
        all_of(
            change("forward", "1 / (n - 1) * bndiff2", "1 / n * bndiff2"),
            step("dbndiff2", "dbndiff2 = 1 / n * torch.ones_like(bndiff2) * dbnvar"),
        ),
        {"1dbndiff2": "could not tell"} | from_on("dbndiff") | {"1dbnmeani": "right"},
        notes="other_formula",
    ),
    "no batch normalisation": row(
        without_batch_norm,
        dict.fromkeys((*BATCH_NORM, "1dhprebn", "3dhprebn"), "could not tell")
        | from_on("dembcat")
        | {"1db1": "right step"},
        notes="other_formula",
    ),
    # how people write
    "other seed and sizes": row(
        all_of(
            change("start", "2147483647", "42"),
            change("start", "n_hidden = 64", "n_hidden = 100"),
            change("batch", "batch_size = 32", "batch_size = 64"),
        )
    ),
    "32 for n": row(
        lambda lecture: (
            lecture.everywhere("n", "32") or lecture.change("batch", "32 = batch_size", "n = 32")
        ),
        remarks="1dlogprobs one_batch_size; 2dlogits one_batch_size; 3dhprebn one_batch_size",
    ),
    "classes that are counted": row(
        lambda lecture: lecture.replace_cell(
            "two_answer",
            {
                "two_answer": "dlogits = (F.softmax(logits, 1) - F.one_hot(Yb)) / n\n"
                "cmp('logits', dlogits, logits)"
            },
        ),
        remarks="2dlogits classes_counted",
    ),
    "batch_size for n": row(lambda lecture: lecture.everywhere("n", "batch_size")),
    "a name of their own for n": row(
        all_of(
            lambda lecture: lecture.everywhere("n", "SIZE"),
            change("batch", "SIZE = batch_size", "SIZE = 32"),
        ),
        remarks="1dlogprobs one_batch_size; 2dlogits one_batch_size; 3dhprebn one_batch_size",
    ),
    "keepdims": row(lambda lecture: lecture.everywhere("keepdim", "keepdims")),
    "old idioms": row(written_as_before),
    "magics, shell lines and plots": row(with_magics),
    "Python 2": row(
        all_of(
            Lecture.split_steps,
            after("one_dh", "print 'so far', dh.shape"),
            change("one_dh", "cmp(", "print 'h'\ncmp("),
        ),
        notes="unreadable",
    ),
    "prose in a code cell": row(
        all_of(Lecture.split_steps, change("one_dW2", "dW2 =", "the shapes tell:\ndW2 =")),
        notes="unreadable",
    ),
    "helpers": row(helpers),
    "a helper that changes its argument": row(helper_that_changes),
    "a loop over zip": row(
        step(
            "dC",
            "dC = torch.zeros_like(C)\nfor row, drow in zip(Xb, demb):\n"
            "  for at, d in zip(row, drow):\n    dC[at] += d",
        )
    ),
    "a loop over indices": row(
        step(
            "dC",
            "dC = torch.zeros_like(C)\nfor k in range(Xb.shape[0]):\n\tfor j in range(Xb.shape[1]):\n"
            "\t\tix = Xb[k, j]\n\t\tdC[ix] += demb[k, j]",
        )
    ),
    "a product with one-hot rows": row(
        step(
            "dC",
            "hot = F.one_hot(Xb.view(-1), C.shape[0]).float()\ndC = hot.T @ demb.view(-1, C.shape[1])",
        )
    ),
    "a list that is stacked": row(
        step(
            "dh",
            "rows = []\nfor row in dlogits:\n    rows.append(W2 @ row)\ndh = torch.stack(rows)",
        )
    ),
    "a second name for a tensor": row(
        step(
            "dlogits",
            "dlogits = dnorm_logits\ndlogits[range(n), logits.max(1).indices] += dlogit_maxes.squeeze(1)",
        ),
        remarks="1dnorm_logits aliased",
    ),
    "a temporary used again": row(
        all_of(
            step(
                "dlogits",
                "t = F.one_hot(logits.argmax(1), logits.shape[1])\ndlogits = dnorm_logits + t * dlogit_maxes",
            ),
            step("dbnvar", "t = (bnvar + 1e-5) ** -1.5\ndbnvar = -0.5 * t * dbnvar_inv"),
        )
    ),
    "a given name for their own": row(
        all_of(
            step(
                "dlogprobs",
                "probs2 = probs\ncounts = -F.one_hot(Yb, 27).float()\ndlogprobs = counts / n",
            ),
            step("dprobs", "counts = norm_logits.exp()\ndprobs = dlogprobs / probs2"),
        )
    ),
    # exercises 2 and 3
    "exercise 2 from exercise 1's values": row(
        change("two_answer", "F.softmax(logits, 1)", "probs.clone()")
    ),
    "exercise 2 changes a value in place": row(
        change(
            "two_answer",
            "dlogits = F.softmax(logits, 1)\ndlogits[",
            "p = F.softmax(logits, 1)\ndlogits = p\np[",
        )
    ),
    "exercise 2 in a loop": row(
        change(
            "two_answer",
            "dlogits[range(n), Yb] -= 1",
            "for i in range(n):\n    dlogits[i, Yb[i]] -= 1",
        )
    ),
    "exercise 3 from exercise 1's gradient": row(
        change("three_answer", "dbnraw = bngain * dhpreact\n", "")
    ),
    "exercise 3 from a value": row(
        change("three_answer", "bngain * dhpreact", "bngain * hpreact"), {"3dhprebn": "wrong"}
    ),
    "exercise 2 and 3 left open": row(
        all_of(
            lambda lecture: lecture.cells.update(two_answer="dlogits = None # TODO"),
            lambda lecture: lecture.cells.update(
                three_answer="dhprebn = ...\n# cmp('hprebn', dhprebn, hprebn)"
            ),
        ),
        {"2dlogits": NOT, "3dhprebn": NOT},
        notes="not_found",
    ),
    # what is wrong, and what is not there
    "a branch forgotten": row(
        step("dcounts", "dcounts = counts_sum_inv * dprobs"),
        {"1dcounts": "wrong"} | from_on("dnorm_logits"),
    ),
    "a sign": row(
        step("dcounts_sum", "dcounts_sum = counts_sum**-2 * dcounts_sum_inv"),
        {"1dcounts_sum": "wrong"} | from_on("dcounts"),
    ),
    "half done": row(
        lambda lecture: lecture.cells.update(
            one="# Exercise 1\n"
            + "\n".join(lecture.steps[name] for name in STEPS[:8])
            + "\ndh = None"
        ),
        dict.fromkeys((f"1{name}" for name in STEPS[8:]), NOT) | {"3dhprebn": "right"},
        notes="not_found",
    ),
    "a syntax error": row(
        SYNTAX_ERROR, {"1dlogits": NOT} | from_on("dh") | AFTER_DH, notes="unreadable not_found"
    ),
    "a name that nobody makes": row(
        step("dh", "dh = dlogit @ W2.T"), {"1dh": "wrong"} | AFTER_DH, notes="undefined"
    ),
    "autograd's answer": row(step("dh", "dh = h.grad"), {"1dh": NOT} | AFTER_DH),
    "autograd's in the place of their own": row(
        step("dh", "dh = dlogits @ W2.T\ndh = h.grad.clone()  # exact, for what follows"),
        notes="borrowed",
    ),
    # files
    "format 4.0": row(lambda lecture: setattr(lecture, "nbformat_minor", 0)),
    "several megabytes of output": row(lambda lecture: setattr(lecture, "outputs", 300_000)),
}

TRAINING_ROWS = {
    "a loop": row(Lecture.train),
    "under no_grad": row(train_in("with torch.no_grad():")),
    "in a function": row(train_in("def train():\n    with torch.no_grad():")),
    "without a list": row(train_by_hand),
    "in another order": row(train_in_another_order),
    "by a function of their own": row(train_with_a_function),
    "in chunks": row(train_in_chunks),
    "with a leftover": row(
        lambda lecture: lecture.train(LEFT_OVER),
        dict.fromkeys(("4dW1", "4trained", "4lossi"), "wrong") | {"4dC": "right step"},
        notes="left_over",
    ),
    "with a value of exercise 1": row(
        lambda lecture: lecture.train(
            solution(STEMS[3], "backward").replace("(1 - h**2)", "(counts_sum_inv * 0 + 1 - h**2)")
        ),
        notes="left_over",
    ),
    "one gradient missing": row(
        all_of(Lecture.train, change("four", "grads = [dC,", "dC = None\n    grads = [dC,")),
        {"4dC": NOT, "4trained": NOT, "4lossi": NOT},
        notes="not_found",
    ),
    "the lecture's line of None left below": row(
        lambda lecture: lecture.train(
            solution(STEMS[3], "backward")
            + "\ndC, dW1, db1, dW2, db2, dbngain, dbnbias = None, None, None, None, None, None, None"
        )
    ),
    "left open": row(
        all_of(
            lambda lecture: lecture.train(
                "dC, dW1, db1, dW2, db2, dbngain, dbnbias = None, None, None, None, None, None, None"
            ),
        ),
        NO_TRAINING,
        notes="not_found",
    ),
    "by autograd": row(
        all_of(
            lambda lecture: lecture.train("loss.backward()"),
            change(
                "four", "[dC, dW1, db1, dW2, db2, dbngain, dbnbias]", "[p.grad for p in parameters]"
            ),
        ),
        NO_TRAINING,
        notes="not_found",
    ),
    "values of a forward pass of their own": row(
        lambda lecture: lecture.train(
            forward=training_forward().replace("bnmean", "mu").replace("bnvar_inv", "inverse"),
            backward=solution(STEMS[3], "backward").replace("bnvar_inv", "inverse"),
        )
    ),
}


# ---------------------------------------------------------------- the table


@pytest.fixture(scope="module")
def assignment() -> Assignment:
    return Assignment.packaged("backprop")


@pytest.fixture(scope="module")
def syllabus(assignment: Assignment) -> Syllabus:
    return Syllabus.read(assignment.graders / "lecture.toml", assignment.release)


@pytest.fixture(scope="module")
def derivations() -> Iterator[Grader]:
    with grader(ROOT, "backprop", *STEMS[:3]) as one:
        yield one


@pytest.fixture(scope="module")
def training() -> Iterator[Grader]:
    with grader(ROOT, "backprop", STEMS[3]) as one:
        yield one


def cells_of(data: bytes) -> tuple[RawCell, ...]:
    return parse(data, Limits()).cells


def check(expected: Row, by: Grader, stems: Sequence[str]) -> None:
    lecture = Lecture()
    expected.write(lecture)
    report = by.report(dict.fromkeys(stems, lecture.file()))
    found = {f"{f.notebook[0]}{f.name}": f for f in report.findings}
    odd = {name: str(one.verdict) for name, one in found.items() if str(one.verdict) != "right"}
    wanted = {name: verdict for name, verdict in expected.verdicts.items() if verdict != "right"}
    assert odd == wanted
    notes = [note for each in report.problems.values() for note in each]
    assert expected.notes <= {note.code for note in notes}
    for language in LANGUAGES:
        assert all(say(note, language) for note in notes)
    remarks = {f"{name} {r.code}" for name, one in found.items() for r in one.remarks}
    assert expected.remarks <= remarks


@pytest.mark.parametrize("expected", ROWS.values(), ids=ROWS)
def test_the_derivations_get_the_verdicts_they_deserve(expected: Row, derivations: Grader) -> None:
    check(expected, derivations, STEMS[:3])


def test_autograd_beside_an_answer_accuses_nobody_and_a_gradient_that_is_read_does(
    derivations: Grader,
) -> None:
    lecture = Lecture()
    loop = "for _ in range(1):\n    {}\n    for p in parameters:\n        p.requires_grad = True\n"
    loop += "        p.grad = None\n    loss.backward()"
    own = loop.format("demb = dembcat.view(emb.shape)")
    lecture.steps |= {"demb": own, "dW2": "dW2 = W2.grad.clone()"}
    lecture.write_steps()
    report = derivations.report(dict.fromkeys(STEMS[:3], lecture.file()))
    assert {line.what for line in report.integrity} == {"Tensor.grad"}
    assert "demb" in {f.name for f in report.findings if str(f.verdict) == "right"}


@pytest.mark.parametrize("expected", TRAINING_ROWS.values(), ids=TRAINING_ROWS)
def test_the_training_loop_gets_the_verdicts_it_deserves(expected: Row, training: Grader) -> None:
    check(expected, training, STEMS[3:])


RENAMINGS = {
    "Xb": "xb",
    "Yb": "yb",
    "C": "table",
    "W1": "w1",
    "b1": "B1",
    "W2": "Wout",
    "bngain": "bn_gamma",
    "bnbias": "bn_beta",
    "n_hidden": "hidden_dim",
    "Xtr": "X_train",
    "h": "hidden",
    "logits": "z",
}


@pytest.mark.parametrize(("name", "theirs"), RENAMINGS.items(), ids=RENAMINGS)
def test_another_name_for_one_thing_costs_nothing_in_any_exercise(
    name: str, theirs: str, derivations: Grader, training: Grader
) -> None:
    lecture = Lecture()
    lecture.train()
    lecture.everywhere(name, theirs)
    lecture.everywhere(f"d{name}", f"d{theirs}")
    for by, stems in ((derivations, STEMS[:3]), (training, STEMS[3:])):
        report = by.report(dict.fromkeys(stems, lecture.file()))
        assert {str(finding.verdict) for finding in report.findings} == {"right"}


def test_all_leaves_may_have_names_of_their_own_at_once(
    derivations: Grader, training: Grader
) -> None:
    lecture = Lecture()
    lecture.train()
    for name in ("C", "W1", "b1", "W2", "b2", "bngain", "bnbias"):
        lecture.everywhere(name, f"my_{name.lower()}")
        lecture.everywhere(f"d{name}", f"dmy_{name.lower()}")
    for by, stems in ((derivations, STEMS[:3]), (training, STEMS[3:])):
        report = by.report(dict.fromkeys(stems, lecture.file()))
        assert {str(finding.verdict) for finding in report.findings} == {"right"}


LISTS = {
    "one of its own": ("[C, w1, b1, W2, b2, bngain, bnbias]", {"w1": "W1"}),
    "most of its own": (
        "[emb, w1, b1, w2, b2, g, b]",
        {"emb": "C", "w1": "W1", "w2": "W2", "g": "bngain", "b": "bnbias"},
    ),
    "in another order": ("[W1, C, b1, W2, b2, bngain, bnbias]", {}),
    "in another order, one of its own": ("[w1, C, b1, W2, b2, bngain, bnbias]", {}),
    "all of its own": ("[a, b, c, d, e, f, g]", {}),
    "of another length": ("[C, w1, b1]", {}),
    "a course's name that is something else": ("[C, w1, b1, W2, b2, bngain, bnbias]; W1 = 3", {}),
}


@pytest.mark.parametrize(("text", "names"), LISTS.values(), ids=LISTS)
def test_parameters_are_known_by_their_places_where_these_are_certain(
    text: str, names: Mapping[str, str], syllabus: Syllabus
) -> None:
    statements = listing([RawCell(1, "code", f"parameters = {text}")]).statements
    assert own_names(statements, syllabus) == names


# ---------------------------------------------------------------- which notebooks, and where to


def is_of_the_lecture(lecture: Lecture, syllabus: Syllabus) -> bool:
    return Reading(cells_of(lecture.file()), syllabus).is_of_the_lecture


def test_an_untouched_lecture_is_recognised(syllabus: Syllabus) -> None:
    lecture = Lecture()
    lecture.cells |= {"one": "# Exercise 1", "two_answer": "dlogits = None", "three_answer": ""}
    assert is_of_the_lecture(lecture, syllabus)


def test_a_training_loop_alone_is_recognised(syllabus: Syllabus) -> None:
    lecture = Lecture()
    lecture.train()
    for name in ("forward", "reference", "one", "two", "two_answer", "three", "three_answer"):
        del lecture.cells[name]
    assert is_of_the_lecture(lecture, syllabus)


@pytest.mark.parametrize("stem", STEMS)
def test_a_notebook_of_the_course_is_none_of_the_lecture(stem: str, assignment: Assignment) -> None:
    data = (ROOT / "source" / "backprop" / f"{stem}.ipynb").read_bytes()
    assert lecture_in(data, assignment) is None


@pytest.mark.parametrize(
    "source",
    [
        "",
        "import torch\nprint(1)",
        "emb = C[Xb]\nh = torch.tanh(emb)\nlogits = h @ W2 + b2\nloss = F.cross_entropy(logits, Yb)",
        "dlogits = 1\ndh = 2\ndW2 = 3\ndb2 = 4",
    ],
    ids=["empty", "something else", "a network without gradients", "gradients without a network"],
)
def test_other_notebooks_are_none_of_the_lecture(source: str, syllabus: Syllabus) -> None:
    assert not Reading([RawCell(1, "code", source)], syllabus).is_of_the_lecture


def test_the_same_network_without_gradients_is_none_of_the_lecture(syllabus: Syllabus) -> None:
    lecture = Lecture()
    lecture.train("loss.backward()")
    lecture.change("four", "grads = [dC, dW1, db1, dW2, db2, dbngain, dbnbias]", "")
    for name in ("compare", "forward", "reference", "one", "two_answer", "three_answer"):
        del lecture.cells[name]
    assert not is_of_the_lecture(lecture, syllabus)


HOSTILE = {
    "deep": "x = " + "(" * 90 + "1" + ")" * 90 + "\ny = " + "-" * 3000 + "1",
    "a sum of a thousand": "dlogits = " + " + ".join(["h"] * 1000),
    "broken over and over": "for for for\n" * 500,
    "an open string": "dlogits = '''\n" + "prose\n" * 300,
    "a huge number": f"bndiff = {10**400} * hprebn",
    "names without end": "\n".join(f"d{i} = d{i - 1} + 1" for i in range(1, 2000)),
    "no characters that Python knows": "dlogits = \0 \u202e x = 1",
    "its own alias": "a = b\nb = a\na += b\nb += a\n" * 50,
}


@pytest.mark.parametrize("source", HOSTILE.values(), ids=HOSTILE)
def test_a_cell_of_any_kind_is_read_without_a_crash(
    source: str, assignment: Assignment, syllabus: Syllabus
) -> None:
    lecture = Lecture()
    lecture.after("one", source.replace("\0", "?"))
    reading = Reading(cells_of(lecture.file()), syllabus)
    assert reading.is_of_the_lecture
    assert to_look_at(reading, ())
    made = in_order(reading, Look(), assignment.release)
    assert made[STEMS[0]].prepared.untouched.isdisjoint(STEPS)


@pytest.fixture
def course(tmp_path: Path) -> Path:
    for name in ("graders", "release"):
        shutil.copytree(ROOT / name, tmp_path / name)
    shutil.copy(ROOT / "nbgrader_config.py", tmp_path)
    return tmp_path


def test_an_imported_notebook_is_handed_in_as_it_is(course: Path, tmp_path: Path) -> None:
    file = tmp_path / "my own name.ipynb"
    file.write_bytes(Lecture().file())
    folder = import_into(course, "backprop", file, "alice")
    assert folder == course / "submitted" / "alice" / "backprop"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        f"{stem}.ipynb": file.read_bytes() for stem in STEMS
    }


def test_a_file_that_was_handed_in_gets_the_marks_that_check_gives(
    derivations: Grader, tmp_path: Path
) -> None:
    lecture = Lecture()
    step("dcounts", "dcounts = counts_sum_inv * dprobs")(lecture)
    file = tmp_path / "lecture.ipynb"
    file.write_bytes(lecture.file())
    handed_in = derivations.report(dict.fromkeys(STEMS, file.read_bytes())).findings
    checked = check_file(file, None).report.findings
    assert [(f.name, f.verdict, f.points) for f in checked[: len(handed_in)]] == [
        (f.name, f.verdict, f.points) for f in handed_in
    ]


def test_a_second_import_leaves_the_first_alone(course: Path, tmp_path: Path) -> None:
    file = tmp_path / "lecture.ipynb"
    file.write_bytes(Lecture().file())
    folder = import_into(course, "backprop", file, "alice")
    before = {path: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(UserError, match="there is a submission already"):
        import_into(course, "backprop", file, "alice")
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in folder.parent.iterdir()] == ["backprop"]


@pytest.mark.parametrize(
    ("student", "content", "fact"),
    [
        ("../bob", Lecture().file(), "this cannot be a student's name"),
        ("bob", b"{}", "no list of cells"),
        ("bob", b'{"cells": [], "nbformat": 4}', "it is not the lecture's notebook"),
        ("bob", None, "it cannot be read"),
    ],
    ids=["a way out", "no notebook", "another notebook", "no file"],
)
def test_what_cannot_be_imported_is_refused_in_a_sentence(
    student: str, content: bytes | None, fact: str, course: Path, tmp_path: Path
) -> None:
    file = tmp_path / "lecture.ipynb"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UserError, match=fact):
        import_into(course, "backprop", file, student)
    assert not (course / "submitted").exists()


def test_an_assignment_without_a_lecture_says_so(course: Path, tmp_path: Path) -> None:
    (course / "graders" / "backprop" / "lecture.toml").unlink()
    with pytest.raises(UserError, match="knows of no lecture"):
        import_into(course, "backprop", tmp_path / "lecture.ipynb", "alice")


@pytest.mark.parametrize("text", ["compare = [", "compare = 'cmp'", "heading = '('"])
def test_a_table_that_cannot_be_used_says_which(
    text: str, assignment: Assignment, tmp_path: Path
) -> None:
    path = tmp_path / "lecture.toml"
    path.write_text(text)
    with pytest.raises(UserError, match=r"lecture\.toml"):
        Syllabus.read(path, assignment.release)
