"""This assignment's own mistakes: wrong formulas that the graph alone would not suggest.

Each row is (step, name, wrong rule, question), name and question by language. A rule sees forward values
`v`, upstream gradients `u` by forward name, and the constants `k`, all in float64, and predicts what the
mistake gives for `d<step>`. Questions ask; none of them holds the line that mends it.
"""

import torch
import torch.nn.functional as F

from handgrad.gradients.exercise import Mistake


def _batch_norm(v, u, k, *, mean=1.0, var=1.0, correction=1):
    """The closed form with its mean and variance terms weighted, and n - correction in the variance."""
    diff = v["hprebn"] - v["hprebn"].mean(0, keepdim=True)
    inv = (v["hprebn"].var(0, keepdim=True, unbiased=True) + k.eps) ** -0.5
    raw, up = diff * inv, u["hpreact"]
    spread = k.n / (k.n - correction) * raw * (up * raw).sum(0)
    return v["bngain"] * inv / k.n * (k.n * up - mean * up.sum(0) - var * spread)


_TANH = {
    "en": "Which quantity does the derivative of tanh square: what went in, or what came out?",
    "zh": "tanh 的导数里被平方的是哪个量：输入，还是输出？",
}
_BATCH_MEAN = {
    "en": "hprebn moves its own batch mean. Which term says how far that moves every row?",
    "zh": "hprebn 会改变它自己的批均值。哪一项表示这会让每一行移动多少？",
}
_BATCH_VAR = {
    "en": "hprebn moves its own batch variance. Which term says what that does to every row?",
    "zh": "hprebn 会改变它自己的批方差。哪一项表示这对每一行的影响？",
}
_BESSEL = {
    "en": "By what did the forward pass divide to get the variance? The backward pass must match it.",
    "zh": "前向计算求方差时除以了多少？反向计算必须与之一致。",
}

EVERY_STEP = (
    Mistake(
        "logprobs",
        {"en": "every entry filled", "zh": "每个元素都填上了"},
        lambda v, u, k: torch.full_like(v["logprobs"], -1.0 / k.n),
        {
            "en": "Which entries of logprobs does the loss look at? What of all the others?",
            "zh": "损失用到了 logprobs 的哪些元素？其余的呢？",
        },
    ),
    Mistake(
        "hpreact",
        {"en": "1 - hpreact**2", "zh": "1 - hpreact**2"},
        lambda v, u, k: (1 - v["hpreact"] ** 2) * u["h"],
        _TANH,
    ),
    Mistake(
        "hpreact",
        {"en": "1 - h", "zh": "1 - h"},
        lambda v, u, k: (1 - v["h"]) * u["h"],
        {
            "en": "What is the derivative of tanh, in terms of its own output? Is a power missing?",
            "zh": "tanh 的导数用它自己的输出怎么写？是不是少了一个幂？",
        },
    ),
    Mistake(
        "logits",
        {"en": "max spread over the whole row", "zh": "最大值的梯度铺满了整行"},
        lambda v, u, k: u["norm_logits"] + u["logit_maxes"],
        {
            "en": "The maximum of a row is one entry of it. Where does its gradient go?",
            "zh": "一行的最大值只是其中一个元素。它的梯度应当去哪里？",
        },
    ),
    Mistake(
        "logits",
        {"en": "max at whole rows", "zh": "最大值的下标选中了整行"},
        lambda v, u, k: _whole_rows(v, u),
        {
            "en": "An index of maxima counts columns. What does it pick where it stands first?",
            "zh": "最大值的下标数的是列。放在第一个位置时，它选中了什么？",
        },
    ),
)


def _whole_rows(v, u):
    """`dlogits[max indices] += dlogit_maxes` with the indices of columns standing for rows."""
    logits = v["logits"]
    mask = torch.zeros_like(logits)
    mask[logits.max(1).indices.clamp(max=logits.shape[0] - 1)] = 1
    return u["norm_logits"] + mask * u["logit_maxes"]


CROSS_ENTROPY = (
    Mistake(
        "logits",
        {"en": "label not subtracted", "zh": "没有减去标签"},
        lambda v, u, k: F.softmax(v["logits"], 1) / k.n,
        {
            "en": "Each row should sum to 0. What pulls the right character up?",
            "zh": "每一行之和应为 0。是什么把正确的字符往上拉？",
        },
    ),
    Mistake(
        "logits",
        {"en": "only the labels", "zh": "只有标签"},
        lambda v, u, k: -F.one_hot(k.Yb, v["logits"].shape[1]).double() / k.n,
        {
            "en": "Each row should sum to 0. What pushes the other characters down?",
            "zh": "每一行之和应为 0。是什么把其他字符往下压？",
        },
    ),
    Mistake(
        "logits",
        {"en": "softmax over the wrong axis", "zh": "softmax 的轴不对"},
        lambda v, u, k: (F.softmax(v["logits"], 0) - F.one_hot(k.Yb, v["logits"].shape[1])) / k.n,
        {
            "en": "Probabilities of one example sum to 1. Along which axis do yours?",
            "zh": "一个样本的概率之和为 1。你的概率沿哪个轴求和为 1？",
        },
    ),
)

BATCH_NORM = (
    Mistake(
        "hprebn",
        {"en": "mean term missing", "zh": "缺少均值项"},
        lambda v, u, k: _batch_norm(v, u, k, mean=0),
        _BATCH_MEAN,
    ),
    Mistake(
        "hprebn",
        {"en": "variance term missing", "zh": "缺少方差项"},
        lambda v, u, k: _batch_norm(v, u, k, var=0),
        _BATCH_VAR,
    ),
    Mistake(
        "hprebn",
        {"en": "mean and variance as constants", "zh": "把均值和方差当成了常数"},
        lambda v, u, k: _batch_norm(v, u, k, mean=0, var=0),
        {
            "en": "Do the batch's mean and variance stay put when one entry of hprebn moves?",
            "zh": "当 hprebn 的一个元素变动时，批均值和批方差会保持不变吗？",
        },
    ),
    Mistake(
        "hprebn",
        {"en": "n for n - 1", "zh": "该用 n - 1 的地方用了 n"},
        lambda v, u, k: _batch_norm(v, u, k, correction=0),
        _BESSEL,
    ),
    Mistake(
        "hprebn",
        {"en": "bngain left out", "zh": "漏掉了 bngain"},
        lambda v, u, k: _batch_norm(v, u, k) / v["bngain"],
        {
            "en": "Between bnraw and hpreact there is one more factor. Where is it in yours?",
            "zh": "从 bnraw 到 hpreact 还有一个因子。你的式子里它在哪里？",
        },
    ),
    Mistake(
        "hprebn",
        {"en": "hpreact for dhpreact", "zh": "该用 dhpreact 的地方用了 hpreact"},
        lambda v, u, k: _batch_norm(v, {"hpreact": v["hpreact"]}, k),
        {
            "en": "Which of the two do you carry backward: hpreact, or its gradient?",
            "zh": "向后传的是哪一个：hpreact，还是它的梯度？",
        },
    ),
)

TRAINING = (
    Mistake(
        "bngain",
        {"en": "hpreact for bnraw", "zh": "该用 bnraw 的地方用了 hpreact"},
        lambda v, u, k: (v["hpreact"] * u["hpreact"]).sum(0, keepdim=True),
        {
            "en": "What does bngain multiply in the forward pass?",
            "zh": "前向计算中 bngain 乘的是什么？",
        },
    ),
)

MISTAKES = {
    "1_every_step": EVERY_STEP,
    "2_cross_entropy": CROSS_ENTROPY,
    "3_batch_norm": BATCH_NORM,
    # A step on the way in `backward` can be wrong as it can be in exercises 2 and 3.
    "4_training": (*CROSS_ENTROPY, *BATCH_NORM, *TRAINING),
}
