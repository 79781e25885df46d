"""Answers that these graders must know; `handgrad selfcheck ridge` puts each in the notebook."""

from handgrad.grading.variations import Right, Slip

# The cell, the wrong line, and what it must be called.
WRONG = (
    Slip("ridge", "derr", "derr = err * dsq", "factor", {"factor": "1/2"}),
    Slip("ridge", "dpred", "dpred = -derr", "sign"),
    # `_any`: the same numbers come of leaving `decay` out, so both are offered as possibilities.
    Slip("ridge", "dw", "dw = X.T @ dpred", "missing_branch_any", {"consumer": "penalty"}),
    Slip(
        "ridge",
        "dw",
        "dw = X.T @ dpred + decay * w",
        "branch_factor",
        {"consumer": "penalty", "factor": "1/2"},
    ),
    Slip("ridge", "db", "db = dpred.mean(0, keepdim=True)", "mean_for_sum", {"axis": "0"}),
    Slip(
        "ridge",
        "db",
        "db = dpred.sum(0, keepdim=True) + 2 * decay * b",
        "assignment",
        {"name": "b is penalised too"},
    ),
)
# Unusual, and right.
RIGHT = (
    Right("ridge", "by the closed form", {"dpred": "dpred = 2 / n * (X @ w + b - y)"}),
    Right("ridge", "a loop", {"dw": "dw = sum(dpred[i] * X[i] for i in range(n)) + 2 * decay * w"}),
    Right("ridge", "a number for an axis of size 1", {"db": "db = dpred.sum()"}),
)
