"""A small assignment that is not makemore: one head of softmax attention with layer normalisation.

The engine must need nothing but this declaration.
"""

from types import SimpleNamespace

import torch
from torch import Tensor

from handgrad.gradients.exercise import Draw, Exercise, Files, Parameters, Scenario
from handgrad.gradients.steps import Graph, Step

GRAPH = Graph(
    (
        Step("mean", ("x",), lambda x, k: x.mean(1, keepdim=True)),  # (T, 1)
        Step("centred", ("x", "mean"), lambda x, mean, k: x - mean),  # (T, D)
        Step("var", ("centred",), lambda centred, k: (centred**2).mean(1, keepdim=True)),  # (T, 1)
        Step("inv", ("var",), lambda var, k: (var + k.eps) ** -0.5),  # (T, 1)
        Step("normed", ("centred", "inv"), lambda centred, inv, k: centred * inv),  # (T, D)
        Step("q", ("normed", "Wq"), lambda normed, Wq, k: normed @ Wq),  # (T, H)
        Step("key", ("normed", "Wk"), lambda normed, Wk, k: normed @ Wk),  # (T, H)
        Step("v", ("normed", "Wv"), lambda normed, Wv, k: normed @ Wv),  # (T, H)
        Step("scores", ("q", "key"), lambda q, key, k: q @ key.T / k.width**0.5),  # (T, T)
        Step("weights", ("scores",), lambda scores, k: scores.softmax(1)),  # (T, T)
        Step("out", ("weights", "v"), lambda weights, v, k: weights @ v),  # (T, H)
        Step("loss", ("out",), lambda out, k: (out * k.target).sum()),
    )
)

ASKED = ("out", "weights", "v", "scores", "q", "key", "Wq", "Wk", "Wv", "normed", "inv", "var",
         "centred", "mean", "x")  # fmt: skip


def draw(p: Parameters, _files: Files) -> list[Draw]:
    g = torch.Generator().manual_seed(int(p["seed"]))
    length, depth, width = 6, 8, 5

    def randn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=g)

    leaves = {
        "x": randn(length, depth),
        "Wq": randn(depth, width),
        "Wk": randn(depth, width),
        "Wv": randn(depth, width),
    }
    constants = SimpleNamespace(target=randn(length, width).double(), width=width, eps=1e-3)
    return [Draw(leaves, constants)]


EXERCISE = Exercise(
    GRAPH, ASKED, draw, {"seed": 1}, (Scenario("first"), Scenario("second")), axes={}
)

SOLUTION = {
    "dout": "dout = target.float()",
    "dweights": "dweights = dout @ v.T",
    "dv": "dv = weights.T @ dout",
    "dscores": "dscores = weights * (dweights - (weights * dweights).sum(1, keepdim=True))",
    "dq": "dq = dscores @ key / width**0.5",
    "dkey": "dkey = dscores.T @ q / width**0.5",
    "dWq": "dWq = normed.T @ dq",
    "dWk": "dWk = normed.T @ dkey",
    "dWv": "dWv = normed.T @ dv",
    "dnormed": "dnormed = dq @ Wq.T + dkey @ Wk.T + dv @ Wv.T",
    "dinv": "dinv = (centred * dnormed).sum(1, keepdim=True)",
    "dvar": "dvar = -0.5 * (var + eps) ** -1.5 * dinv",
    "dcentred": "dcentred = inv * dnormed + 2 / centred.shape[1] * centred * dvar",
    "dmean": "dmean = -dcentred.sum(1, keepdim=True)",
    "dx": "dx = dcentred + dmean.expand_as(x) / x.shape[1]",
}
