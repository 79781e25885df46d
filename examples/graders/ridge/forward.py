"""Ridge regression as named steps: a straight line through noisy points, with a price on large weights."""

from types import SimpleNamespace

import torch
from mistakes import MISTAKES

from handgrad.gradients.exercise import Draw, Exercise, Files, Parameters, Scenario
from handgrad.gradients.steps import Graph, Step

# Name, names of the inputs, and the line itself. `k` holds what is not differentiated.
GRAPH = Graph(
    (
        Step("pred", ("w", "b"), lambda w, b, k: k.X @ w + b),  # (n,)
        Step("err", ("pred",), lambda pred, k: pred - k.y),  # (n,)
        Step("sq", ("err",), lambda err, k: err**2),  # (n,)
        Step("fit", ("sq",), lambda sq, k: sq.mean()),  # ()
        Step("penalty", ("w",), lambda w, k: k.decay * (w**2).sum()),  # ()
        Step("loss", ("fit", "penalty"), lambda fit, penalty, k: fit + penalty),  # ()
    )
)


def draw(p: Parameters, _files: Files) -> list[Draw]:
    """The notebook's given cells once more: the same numbers, from the same generator, in the same order."""
    n, features = int(p["n"]), int(p["features"])
    g = torch.Generator().manual_seed(int(p["seed"]))
    X = torch.randn((n, features), generator=g)
    y = torch.randn(n, generator=g)
    leaves = {"w": torch.randn(features, generator=g), "b": torch.randn(1, generator=g)}
    # Leaves stay float32, as drawn; what the steps read besides is float64, like the reference.
    return [Draw(leaves, SimpleNamespace(X=X.double(), y=y.double(), n=n, decay=p["decay"]))]


EXERCISES = {
    "ridge": Exercise(
        GRAPH,
        gradients=("sq", "err", "pred", "w", "b"),
        draw=draw,
        public={"seed": 1, "n": 20, "features": 4, "decay": 0.1},
        scenarios=(
            Scenario("first"),
            Scenario("second"),
            Scenario("other sizes", {"n": 13, "features": 6}, decides=False),
        ),
        mistakes=MISTAKES,
    )
}
