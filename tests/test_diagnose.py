"""A mistake gets its own name in any network, also where the sizes are such that others would fit."""

from collections.abc import Mapping
from dataclasses import replace

import attention
import pytest
from hand import judged
from lecturer import solution

from handgrad.assignment.assignment import Assignment
from handgrad.assignment.declared import Declared
from handgrad.gradients.exercise import Scenario
from handgrad.gradients.judge import Judge
from handgrad.gradients.scenarios import Scenarios
from handgrad.settings import Settings
from handgrad.verdict import Verdict

FORWARD = """\
q = x @ Wq  # (T, H)
k = x @ Wk  # (T, H)
v = x @ Wv  # (T, H)
scores = q @ k.T / H**0.5  # (T, T)
masked = scores.masked_fill(~past, -4.0)  # (T, T)
weights = masked.softmax(1)  # (T, T)
mixed = weights @ v  # (T, H)
kept = mixed * held / keep  # (T, H)
out = kept @ Wo  # (T, D)
sq = out**2  # (T, D)
loss = sq.mean()"""
DRAW = """\
import torch
g = torch.Generator().manual_seed(seed)
x = torch.randn(T, D, generator=g)
Wq, Wk, Wv = (torch.randn(D, H, generator=g) for _ in range(3))
Wo = torch.randn(H, D, generator=g)
held = (torch.rand(T, H, generator=g) < keep).float()
past = torch.ones(T, T).tril() == 1
for p in (x, Wq, Wk, Wv, Wo):
    p.requires_grad = True"""
RIGHT = {
    "dsq": "dsq = torch.ones_like(sq) / sq.numel()",
    "dout": "dout = 2 * out * dsq",
    "dkept": "dkept = dout @ Wo.T",
    "dWo": "dWo = kept.T @ dout",
    "dmixed": "dmixed = dkept * held / keep",
    "dweights": "dweights = dmixed @ v.T",
    "dmasked": "dmasked = weights * (dweights - (weights * dweights).sum(1, keepdim=True))",
    "dscores": "dscores = dmasked * past",
    "dq": "dq = dscores @ k / q.shape[1]**0.5",
    "dk": "dk = dscores.T @ q / q.shape[1]**0.5",
    "dv": "dv = weights.T @ dmixed",
    "dx": "dx = dq @ Wq.T + dk @ Wk.T + dv @ Wv.T",
}
SLIPS = {
    "an operand not transposed": ("dk = dscores @ q / q.shape[1]**0.5", "not_transposed dscores"),
    "another one": ("dkept = dout @ Wo", "not_transposed Wo"),
    "one branch of three": ("dx = dv @ Wv.T", "only_branch v"),
    "a product of sizes": ("dsq = torch.ones_like(sq) / x.shape[0]", "factor D"),
    "a product of sizes, lost": ("dsq = torch.ones_like(sq)", "factor T*D"),
    "a square root": ("dq = dscores @ k / q.shape[1]", "factor 1/H**0.5"),
    "a float constant": ("dmixed = dkept * held", "factor keep"),
    "another operand of the same shape": ("dk = dscores.T @ v / q.shape[1]**0.5", "other_value v q"),
    "one of no gradient": ("dmixed = dkept * weights.new_ones(1) * mixed / keep", "other_value mixed held"),
    "a mask of rows": ("dscores = dmasked * past.all(1, keepdim=True)", "mask 1"),
}  # fmt: skip


def judge(sizes: str, *runs: Scenario) -> Judge:
    """T is length, D the width, H that of a head."""
    numbers = f"seed, keep = 1, 0.75\nT, D, H = {sizes}"
    exercise = attention.exercise(
        numbers, DRAW, FORWARD, list(RIGHT), declared=Declared(runs=(Scenario("first"), *runs))
    )
    return Judge(Scenarios("a", exercise, {}, "a secret"), Settings())


ELSEWHERE = Scenario("other sizes", {"T": 5, "D": 7, "H": 3}, decides=False)
JUDGES = {"no two sizes agree": judge("6, 8, 5"), "all agree": judge("4, 4, 4", ELSEWHERE),
          "a root is a size": judge("4, 16, 16", ELSEWHERE)}  # fmt: skip


def named(judge: Judge, right: Mapping[str, str], line: str) -> list[str]:
    """What the one wrong gradient is called with this line among right ones."""
    variable = line.split()[0]
    found = judged(judge, {**right, variable: line})
    assert [n for n, one in found.items() if one.verdict is Verdict.WRONG] == [variable]
    return [" ".join([note.code, *note.parts.values()]) for note in found[variable].diagnoses]


@pytest.mark.parametrize(("line", "code"), SLIPS.values(), ids=SLIPS.keys())
@pytest.mark.parametrize("sizes", JUDGES)
def test_a_slip_has_its_name_at_its_own_step(sizes, line, code):
    (said,) = named(JUDGES[sizes], RIGHT, line)
    assert said == code or said.startswith("raised RuntimeError mat1 and mat2")


def test_nothing_is_certain_that_only_a_coincidence_of_sizes_tells_from_another():
    alike = judge("4, 4, 4")
    said = {line.split()[0]: named(alike, RIGHT, line) for line, _ in SLIPS.values()}
    assert len(said["dsq"]) > 1
    assert {"factor 1/2", "factor 1/H**0.5"} <= {*named(alike, RIGHT, SLIPS["a square root"][0])}


BACKPROP = {
    "an operand not transposed": ("dW2 = h @ dlogits", "not_transposed h"),
    "another one": ("dhpreact = (1 - h**2) * dh.T", "not_transposed dh"),
    "a product of sizes": (
        "dlogprobs = torch.zeros_like(logprobs); dlogprobs[range(n), Yb] = -1.0 / logprobs.numel()",
        "factor 1/logprobs.shape[1]",
    ),
    "a square root": ("dW2 = h.T @ dlogits / n**0.5", "factor 1/n**0.5"),
    "a float constant": ("dbnvar = -0.5 * bnvar**-1.5 * dbnvar_inv", "eps eps"),
    "another operand of the same shape": (
        "dW1 = dembcat.T @ dhprebn",
        "other_value dembcat embcat",
    ),
    "a mask of rows": (
        "dlogits = dnorm_logits + (logits == logit_maxes).any(0) * dlogit_maxes",
        "mask 0",
    ),
}


@pytest.fixture(scope="module")
def backprop() -> Judge:
    """Exercise 1 with as many examples as hidden units."""
    assignment = Assignment.packaged("backprop")
    runs = (
        Scenario("first", {"batch_size": 64}),
        Scenario("small variance", {"batch_size": 64, "gain": 0.05}),
        Scenario("other sizes", {"batch_size": 20, "n_embd": 7, "n_hidden": 50}, decides=False),
    )
    exercise = replace(assignment.exercises["1_every_step"], scenarios=runs)
    return Judge(Scenarios("1_every_step", exercise, assignment.files, "s"), Settings())


@pytest.fixture(scope="module")
def solved(backprop) -> dict[str, str]:
    return {v: solution("1_every_step", v) for v in backprop.scenarios.steps}


@pytest.mark.parametrize(("line", "code"), BACKPROP.values(), ids=BACKPROP.keys())
def test_so_has_a_slip_in_the_lecture_s_own_network(backprop, solved, line, code):
    assert named(backprop, solved, line) == [code]
