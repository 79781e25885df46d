"""Verdicts on a network the engine has never heard of: attention with layer normalisation."""

from dataclasses import replace

import attention
import pytest
from hand import findings, judged

from handgrad.assignment.assignment import Assignment
from handgrad.assignment.declared import Declared
from handgrad.errors import UserError
from handgrad.evidence import Evidence
from handgrad.gradients.exercise import Mistake, Scenario
from handgrad.gradients.judge import Judge
from handgrad.gradients.lookup import Answers
from handgrad.gradients.scenarios import Scenarios, seed_for
from handgrad.settings import Settings
from handgrad.verdict import Note, Verdict


@pytest.fixture(scope="module")
def judge() -> Judge:
    return Judge(Scenarios("attention", attention.EXERCISE, {}, "a secret"), Settings())


def verdicts(found):
    return {variable: one.verdict for variable, one in found.items()}


def test_a_right_solution_is_right_everywhere(judge):
    assert set(verdicts(judged(judge, attention.SOLUTION)).values()) == {Verdict.RIGHT}


SLIPS = {
    "sign": ("dmean", "dmean = dcentred.sum(1, keepdim=True)", "sign", {}),
    "a branch of three": (
        "dnormed",
        "dnormed = dq @ Wq.T + dv @ Wv.T",
        "missing_branch",
        {"consumer": "key"},
    ),
    "a branch of two": (
        "dcentred",
        "dcentred = inv * dnormed",
        "missing_branch",
        {"consumer": "var"},
    ),
    "transposed": ("dWq", "dWq = dq.T @ normed", "transposed", {}),
    "not summed": ("dinv", "dinv = centred * dnormed", "not_summed", {"axis": "1"}),
    "wrong axis": ("dinv", "dinv = (centred * dnormed).sum(0)", "wrong_axis", {"axis": "0"}),
    "mean for sum": ("dinv", "dinv = (centred * dnormed).mean(1)", "mean_for_sum", {"axis": "1"}),
    "epsilon": ("dvar", "dvar = -0.5 * var**-1.5 * dinv", "eps", {"name": "eps"}),
    "a square root": (
        "dq",
        "dq = dscores @ key / width",
        "factor",
        {"factor": "1/width**0.5"},
    ),
    "half": ("dvar", "dvar = -(var + eps) ** -1.5 * dinv", "factor", {"factor": "2"}),
    "another value": (
        "dWv",
        "dWv = x.T @ dv",
        "other_value",
        {"used": "x", "meant": "normed"},
    ),
    "another gradient": (
        "dWk",
        "dWk = normed.T @ dq",
        "other_gradient",
        {"used": "dq", "meant": "dkey"},
    ),
    "a forward value": ("dWk", "dWk = normed.T @ key", "forward_value", {"value": "key"}),
}


@pytest.mark.parametrize(("variable", "code", "named", "parts"), SLIPS.values(), ids=SLIPS.keys())
def test_a_slip_is_wrong_at_its_own_step_and_named(judge, variable, code, named, parts):
    found = judged(judge, {**attention.SOLUTION, variable: code})
    faulty = [name for name, one in found.items() if one.verdict is Verdict.WRONG]
    assert faulty == [variable]
    assert {one.verdict for one in found.values()} <= {
        Verdict.WRONG,
        Verdict.RIGHT,
        Verdict.RIGHT_STEP,
    }
    (note,) = found[variable].diagnoses
    assert note.code == named
    assert parts.items() <= note.parts.items()


def test_an_attempt_that_was_never_finished_is_said_to_be_all_zeros(judge):
    found = judged(judge, {**attention.SOLUTION, "dq": "dq = torch.zeros_like(q)"})["dq"]
    assert (found.verdict, [n.code for n in found.diagnoses]) == (Verdict.WRONG, ["all_zeros"])


def test_numbers_that_ignore_the_data_are_called_so(judge):
    code = "dq = torch.arange(30.0).reshape(6, 5)"
    found = judged(judge, {**attention.SOLUTION, "dq": code})
    assert [note.code for note in found["dq"].diagnoses] == ["constant"]


def test_a_wrong_constant_is_not_called_typed_in_where_the_right_answer_is_one_too():
    exercise = attention.exercise(
        "seed, n = 1, 5",
        "import torch\n"
        "x = torch.randn(n, generator=torch.Generator().manual_seed(seed)).requires_grad_()",
        "sq = x**2\nloss = sq.sum() / n",
        ["dsq", "dx"],
    )
    answers = {"dsq": "dsq = torch.ones_like(sq)", "dx": "dx = 2 * x * dsq"}
    found = judged(Judge(Scenarios("mean", exercise, {}, "s"), Settings()), answers)
    (note,) = found["dsq"].diagnoses
    assert (note.code, note.parts["factor"]) == ("factor", "n")


def test_a_hypothesis_that_a_library_s_step_cannot_compute_explains_nothing():
    exercise = attention.exercise(
        "seed, n = 1, 3",
        "import torch\nimport torch.nn.functional as F\n"
        "g = torch.Generator().manual_seed(seed)\n"
        "x, w, b = (torch.randn(s, generator=g) for s in ((4, n), (n,), (n,)))\n"
        "for p in (x, w, b):\n    p.requires_grad = True",
        "y = F.layer_norm(x, (n,), w, b)\nloss = (y**2).sum()",
        ["dy", "db"],
    )
    answers = {"dy": "dy = 2 * y", "db": "db = -dy.sum(0)"}
    judge = Judge(Scenarios("linear", exercise, {}, "s"), Settings())
    assert [note.code for note in judged(judge, answers)["db"].diagnoses] == ["sign"]
    assert judged(judge, {**answers, "db": "db = dy"})["db"].verdict is Verdict.WRONG


def test_a_listed_mistake_that_cannot_be_computed_explains_nothing():
    listed = Mistake("q", {"en": "odd"}, lambda v, u, k: u["no_such_name"], {"en": "?"})
    exercise = replace(attention.EXERCISE, mistakes=(listed,))
    judge = Judge(Scenarios("attention", exercise, {}, "s"), Settings())
    found = judged(judge, {**attention.SOLUTION, "dq": "dq = -dscores @ key / width**0.5"})
    assert [note.code for note in found["dq"].diagnoses] == ["sign"]


ONE_HOT = "dlogits = (F.softmax(logits, 1) - F.one_hot({})) / {}"
LUCK = {
    "classes that are counted": (("Yb", "n"), Verdict.RIGHT, ["classes_counted"]),
    "classes that are told": (("Yb, logits.shape[1]", "n"), Verdict.RIGHT, []),
    "a size written out": (("Yb, logits.shape[1]", "32"), Verdict.RIGHT, ["one_batch_size"]),
    "no number at all": (("Yb, int(Yb.max()) + 1", "n"), Verdict.RIGHT, []),
    "a size forgotten": (("Yb, logits.shape[1]", "1"), Verdict.WRONG, []),
}


def test_the_same_answers_get_the_same_verdicts_with_fifty_secrets():
    assignment = Assignment.packaged("backprop")
    exercise = assignment.exercises["2_cross_entropy"]
    for secret in range(50):
        scenarios = Scenarios("2_cross_entropy", exercise, assignment.files, f"secret {secret}")
        judge = Judge(scenarios, Settings())
        for label, (parts, verdict, remarks) in LUCK.items():
            found = judged(judge, {"dlogits": ONE_HOT.format(*parts)})["dlogits"]
            assert (found.verdict, [note.code for note in found.remarks]) == (verdict, remarks), (
                label,
                secret,
            )


def test_a_condition_that_no_draw_meets_is_refused():
    runs = (Scenario("first", holds="length < 6"),)
    exercise = replace(attention.EXERCISE, scenarios=runs)
    with pytest.raises(UserError, match="`length < 6` is true in none"):
        Scenarios("attention", exercise, {}, "s")


def test_a_right_answer_that_loses_digits_within_its_step_is_right():
    """A softmax with one weight of nearly 1: float32 keeps four digits of its gradient there."""
    exercise = attention.exercise(
        "seed, n = 1, 4",
        "import torch\nx = torch.randn(1, n, generator=torch.Generator().manual_seed(seed))\n"
        "v = torch.arange(1.0, n + 1)\nx.requires_grad = True",
        "sharp = 20 * x\nw = sharp.softmax(1)\nloss = (w * v).sum()",
        ["dw", "dsharp", "dx"],
    )
    answers = {
        "dw": "dw = v.expand_as(w)",
        "dsharp": "dsharp = w * (dw - (w * dw).sum(1, keepdim=True))",
        "dx": "dx = 20 * dsharp",
    }
    for number in range(8):
        judge = Judge(Scenarios("sharp", exercise, {}, f"secret {number}"), Settings())
        found = judged(judge, answers)
        assert {one.verdict for one in found.values()} == {Verdict.RIGHT}, number
        wrong = judged(judge, {**answers, "dsharp": "dsharp = -w * dw"})
        assert wrong["dsharp"].verdict is Verdict.WRONG, number


@pytest.mark.parametrize(
    ("either", "verdict"),
    [({"x": "x == 0"}, Verdict.RIGHT), ({}, Verdict.WRONG)],
    ids=["said", "not"],
)
def test_where_an_author_says_so_any_convention_is_right(either, verdict):
    """torch's derivative of ReLU at exactly 0 is 0; 1 is as good where the author says so."""
    exercise = attention.exercise(
        "seed, n = 1, 20",
        "import torch\ng = torch.Generator().manual_seed(seed)\n"
        "x = torch.randint(-1, 2, (n,), generator=g).float().requires_grad_()",
        "y = x.relu()\nloss = (y + y**2).sum()",
        ["dy", "dx"],
        declared=Declared(either=either),
    )
    judge = Judge(Scenarios("relu", exercise, {}, "s"), Settings())
    answers = {"dy": "dy = 1 + 2 * y", "dx": "dx = dy * (x >= 0)"}
    assert judged(judge, answers)["dx"].verdict is verdict
    wrong = judged(judge, {**answers, "dx": "dx = dy * (x <= 0)"})
    assert wrong["dx"].verdict is Verdict.WRONG


def test_two_mistakes_are_both_found_at_their_own_steps(judge):
    found = judged(
        judge,
        {
            **attention.SOLUTION,
            "dv": "dv = -weights.T @ dout",
            "dcentred": "dcentred = inv * dnormed",
        },
    )
    assert [n for n, one in found.items() if one.verdict is Verdict.WRONG] == ["dv", "dcentred"]


def test_a_single_answer_earns_its_own_marks(judge):
    answers = dict.fromkeys(attention.SOLUTION, "")
    answers["dWv"] = attention.SOLUTION["dWv"]
    found = judged(judge, answers)
    assert found["dWv"].verdict is Verdict.RIGHT_STEP
    assert found["dWv"].points == 1.0
    others = {one.verdict for name, one in found.items() if name != "dWv"}
    assert others == {Verdict.NOT_ATTEMPTED}


def test_a_step_that_skips_its_upstream_has_jumped_the_chain(judge):
    code = (
        "dw = target.float() @ v.T\ndscores = weights * (dw - (weights * dw).sum(1, keepdim=True))"
    )
    found = judged(judge, {**attention.SOLUTION, "dscores": code})
    assert found["dscores"].verdict is Verdict.RIGHT
    assert [note.code for note in found["dscores"].remarks] == ["jumped"]


def test_a_shape_without_keepdim_is_right_with_a_remark(judge):
    found = judged(judge, {**attention.SOLUTION, "dmean": "dmean = -dcentred.sum(1)",
                           "dx": "dx = dcentred + dmean.view(-1, 1) / x.shape[1]"})  # fmt: skip
    assert found["dmean"].verdict is Verdict.RIGHT
    assert found["dmean"].remarks[0].code == "flat_shape"
    assert found["dx"].verdict is Verdict.RIGHT


def test_a_kept_axis_is_not_told_to_be_kept(judge):
    found = judged(
        judge, {**attention.SOLUTION, "dx": attention.SOLUTION["dx"] + "\ndx = dx[None]"}
    )
    assert found["dx"].verdict is Verdict.RIGHT
    assert found["dx"].remarks[0].code == "kept_axis"


def test_nobody_leaps_over_a_gradient_that_is_not_there(judge):
    code = (
        "dw = target.float() @ v.T\ndscores = weights * (dw - (weights * dw).sum(1, keepdim=True))"
    )
    found = judged(judge, {**attention.SOLUTION, "dscores": code, "dweights": ""})
    assert found["dscores"].verdict is Verdict.RIGHT
    assert not found["dscores"].remarks


def test_one_row_for_many_is_wrong_where_the_rows_differ(judge):
    answers = {**attention.SOLUTION, "dmean": "dmean = -dcentred.sum(1, keepdim=True)[:1]"}
    found = judged(judge, answers)["dmean"]
    assert found.verdict is Verdict.WRONG
    assert found.points == 0.0


def test_the_instructor_sets_what_a_right_step_earns():
    judge = Judge(
        Scenarios("attention", attention.EXERCISE, {}, "s"), Settings(right_step_share=0.5)
    )
    found = judged(judge, {**attention.SOLUTION, "dv": "dv = -weights.T @ dout"})
    assert found["dWv"].verdict is Verdict.RIGHT_STEP
    assert found["dWv"].points == 0.5


def test_a_cell_that_raises_is_wrong_and_says_what_it_raised(judge):
    found = judged(judge, {**attention.SOLUTION, "dq": "dq = no_such_name"})
    assert found["dq"].verdict is Verdict.WRONG
    assert found["dq"].diagnoses[0].parts["ename"] == "NameError"
    assert found["dWq"].verdict is Verdict.RIGHT_STEP


def test_of_an_answer_that_stopped_half_way_the_error_is_told_and_no_mistake_named(judge):
    half = "dcentred = inv * dnormed\ndcentred = dcentred + no_such_name"
    (note,) = judged(judge, {**attention.SOLUTION, "dcentred": half})["dcentred"].diagnoses
    assert (note.code, note.parts["ename"]) == ("raised", "NameError")


def test_a_run_in_trouble_gives_no_mark_and_no_zero(judge):
    found = findings(judge, Answers(Evidence("attention", trouble=Note("silent"))))
    assert {one.verdict for one in found.values()} == {Verdict.COULD_NOT_TELL}
    assert {one.points for one in found.values()} == {None}


def test_hidden_seeds_depend_on_the_secret_and_on_everything_that_is_run():
    seeds = {
        seed_for(secret, notebook, scenario)
        for secret in ("a", "b")
        for notebook in ("1", "2")
        for scenario in ("first", "second")
    }
    assert len(seeds) == 8
