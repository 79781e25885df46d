"""Mistakes that the graph alone would not suggest: for each, what it gives, and the question to ask."""

from handgrad.gradients.exercise import Mistake

MISTAKES = {
    "ridge": (
        Mistake(
            "b",
            {"en": "b is penalised too", "zh": "b 也被加上了惩罚"},
            lambda v, u, k: u["pred"].sum(0, keepdim=True) + 2 * k.decay * v["b"],
            {
                "en": "Which of the parameters does the penalty read?",
                "zh": "惩罚项用到了哪些参数？",
            },
        ),
    ),
}
