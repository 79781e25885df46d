"""The lecture's forward pass as named steps, and how the notebooks draw their inputs.

The two-layer perceptron with batch normalisation over three characters of context, Bengio et al. 2003
(https://www.jmlr.org/papers/volume3/bengio03a/bengio03a.pdf) with batch normalisation of Ioffe and
Szegedy 2015 (https://arxiv.org/abs/1502.03167). Names are the lecture's; shapes are given for the
notebooks' own sizes, n = 32, n_embd = 10, n_hidden = 64, 27 characters.
"""

import random
from functools import lru_cache
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from mistakes import BATCH_NORM, CROSS_ENTROPY, EVERY_STEP, TRAINING
from torch import Tensor

from handgrad.gradients.exercise import Draw, Exercise, Files, Parameters, Scenario, Target
from handgrad.gradients.steps import Graph, Step

BLOCK_SIZE = 3

EMBEDDING = (
    Step("emb", ("C",), lambda C, k: C[k.Xb]),  # (32, 3, 10)
    Step("embcat", ("emb",), lambda emb, k: emb.view(emb.shape[0], -1)),  # (32, 30)
    Step("hprebn", ("embcat", "W1", "b1"), lambda embcat, W1, b1, k: embcat @ W1 + b1),  # (32, 64)
)
BATCH_NORM_STEPS = (
    Step("bnmeani", ("hprebn",), lambda hprebn, k: hprebn.sum(0, keepdim=True) / k.n),  # (1, 64)
    Step("bndiff", ("hprebn", "bnmeani"), lambda hprebn, bnmeani, k: hprebn - bnmeani),  # (32, 64)
    Step("bndiff2", ("bndiff",), lambda bndiff, k: bndiff**2),  # (32, 64)
    # Bessel's correction: n - 1, as the mean was estimated from the same batch.
    Step("bnvar", ("bndiff2",), lambda bndiff2, k: bndiff2.sum(0, keepdim=True) / (k.n - 1)),
    Step("bnvar_inv", ("bnvar",), lambda bnvar, k: (bnvar + k.eps) ** -0.5),  # (1, 64)
    Step("bnraw", ("bndiff", "bnvar_inv"), lambda bndiff, bnvar_inv, k: bndiff * bnvar_inv),
    Step(
        "hpreact",
        ("bngain", "bnraw", "bnbias"),
        lambda bngain, bnraw, bnbias, k: bngain * bnraw + bnbias,
    ),  # (32, 64)
)
OUTPUT = (
    Step("h", ("hpreact",), lambda hpreact, k: torch.tanh(hpreact)),  # (32, 64)
    Step("logits", ("h", "W2", "b2"), lambda h, W2, b2, k: h @ W2 + b2),  # (32, 27)
)
CROSS_ENTROPY_STEPS = (
    Step("logit_maxes", ("logits",), lambda logits, k: logits.max(1, keepdim=True).values),
    Step(
        "norm_logits",
        ("logits", "logit_maxes"),
        lambda logits, logit_maxes, k: logits - logit_maxes,
    ),  # (32, 27)
    Step("counts", ("norm_logits",), lambda norm_logits, k: norm_logits.exp()),  # (32, 27)
    Step("counts_sum", ("counts",), lambda counts, k: counts.sum(1, keepdim=True)),  # (32, 1)
    Step("counts_sum_inv", ("counts_sum",), lambda counts_sum, k: counts_sum**-1),  # (32, 1)
    Step(
        "probs",
        ("counts", "counts_sum_inv"),
        lambda counts, counts_sum_inv, k: counts * counts_sum_inv,
    ),  # (32, 27)
    Step("logprobs", ("probs",), lambda probs, k: probs.log()),  # (32, 27)
    Step("loss", ("logprobs",), lambda logprobs, k: -logprobs[range(k.n), k.Yb].mean()),
)
CROSS_ENTROPY_AT_ONCE = Step("loss", ("logits",), lambda logits, k: F.cross_entropy(logits, k.Yb))


def batch_norm_at_once(
    hprebn: Tensor, bngain: Tensor, bnbias: Tensor, k: SimpleNamespace
) -> Tensor:
    """Batch normalisation as one expression, with the unbiased variance."""
    diff = hprebn - hprebn.mean(0, keepdim=True)
    var = hprebn.var(0, keepdim=True, unbiased=True)
    return bngain * diff / torch.sqrt(var + k.eps) + bnbias


EVERY_STEP_GRAPH = Graph(EMBEDDING + BATCH_NORM_STEPS + OUTPUT + CROSS_ENTROPY_STEPS)
CROSS_ENTROPY_GRAPH = Graph((*EMBEDDING, *BATCH_NORM_STEPS, *OUTPUT, CROSS_ENTROPY_AT_ONCE))
BATCH_NORM_GRAPH = Graph(
    (
        *EMBEDDING,
        Step("hpreact", ("hprebn", "bngain", "bnbias"), batch_norm_at_once),
        Step("loss", ("hpreact",), lambda hpreact, k: (hpreact * k.dhpreact).sum()),
    )
)
TRAINING_GRAPH = Graph(
    (
        *EMBEDDING,
        Step("hpreact", ("hprebn", "bngain", "bnbias"), batch_norm_at_once),
        *OUTPUT,
        CROSS_ENTROPY_AT_ONCE,
    )
)

PARAMETER_ORDER = ("C", "W1", "b1", "W2", "b2", "bngain", "bnbias")
ALL_GRADIENTS = (
    "logprobs",
    "probs",
    "counts_sum_inv",
    "counts_sum",
    "counts",
    "norm_logits",
    "logit_maxes",
    "logits",
    "h",
    "W2",
    "b2",
    "hpreact",
    "bngain",
    "bnbias",
    "bnraw",
    "bnvar_inv",
    "bnvar",
    "bndiff2",
    "bndiff",
    "bnmeani",
    "hprebn",
    "embcat",
    "W1",
    "b1",
    "emb",
    "C",
)

# The axes of a value as people call them, for telling where the largest error sits.
HIDDEN, CHARACTERS, EMBEDDED = "hidden unit", "character", "embedding"
AXES = {
    **dict.fromkeys(
        ("logprobs", "probs", "counts", "norm_logits", "logits"), ("example", CHARACTERS)
    ),
    **dict.fromkeys(("counts_sum", "counts_sum_inv", "logit_maxes"), ("example", "column")),
    **dict.fromkeys(("h", "hpreact", "bnraw", "bndiff", "bndiff2", "hprebn"), ("example", HIDDEN)),
    **dict.fromkeys(("bngain", "bnbias", "bnvar", "bnvar_inv", "bnmeani"), ("row", HIDDEN)),
    "W2": (HIDDEN, CHARACTERS),
    "b2": (CHARACTERS,),
    "embcat": ("example", "column"),
    "W1": ("row", HIDDEN),
    "b1": (HIDDEN,),
    "emb": ("example", "position", EMBEDDED),
    "C": (CHARACTERS, EMBEDDED),
}

PUBLIC = {
    "seed": 2147483647,
    "batch_size": 32,
    "n_embd": 10,
    "n_hidden": 64,
    "gain": 5 / 3,
    "eps": 1e-5,
}
SCENARIOS = (
    Scenario("first"),
    Scenario("second"),
    # A variance of a few hundred eps, so that a forgotten eps shows; smaller still, and float32's
    # rounding of hprebn - bnmeani would show too.
    Scenario("small variance", {"gain": 0.05}),
    Scenario("other sizes", {"batch_size": 20, "n_embd": 7, "n_hidden": 50}, decides=False),
)
# Exercise 4 draws five networks in each run, so a second seed would show nothing that the first does not,
# and trains for longer in one run only: a step takes half a millisecond, and one slip shows in the next.
TRAINING_SCENARIOS = (
    Scenario("first", {"twin_steps": 30}),
    *(scenario for scenario in SCENARIOS if scenario.name not in ("first", "second")),
)


@lru_cache(maxsize=2)
def training_data(names: bytes) -> tuple[Tensor, Tensor, int]:
    """The training split: contexts (N, 3), next characters (N,), and the size of the vocabulary.

    The same tensors as the notebooks' loop over words builds, made by shifting one long string.
    """
    words = names.decode("utf-8").split()
    letters = [".", *sorted(set("".join(words)))]
    random.Random(42).shuffle(words)
    words = words[: int(0.8 * len(words))]
    index = {letter: i for i, letter in enumerate(letters)}
    padding = "." * BLOCK_SIZE
    text = padding + padding.join(word + "." for word in words)
    codes = torch.tensor([index[letter] for letter in text])
    contexts = codes.unfold(0, BLOCK_SIZE, 1)[:-1]
    labels = codes[BLOCK_SIZE:]
    # Within the padding between two words nothing is predicted.
    length = torch.tensor([len(word) + 1 for word in words])
    starts = torch.cumsum(length + BLOCK_SIZE, 0) - length - BLOCK_SIZE
    keep = torch.zeros(len(labels), dtype=torch.bool)
    keep[torch.repeat_interleave(starts, length) + _ranges(length)] = True
    return contexts[keep], labels[keep], len(letters)


def _ranges(lengths: Tensor) -> Tensor:
    """0..l-1 for each length l, one after the other."""
    ends = torch.cumsum(lengths, 0)
    return torch.arange(int(ends[-1])) - torch.repeat_interleave(ends - lengths, lengths)


def initialise(p: Parameters, vocab_size: int, g: torch.Generator) -> dict[str, Tensor]:
    """The seven parameters, float32, drawn in the notebooks' order."""
    fan_in = int(p["n_embd"]) * BLOCK_SIZE
    hidden = int(p["n_hidden"])

    def randn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=g)

    return {
        "C": randn(vocab_size, int(p["n_embd"])),
        "W1": randn(fan_in, hidden) * p["gain"] / fan_in**0.5,
        "b1": randn(hidden) * 0.1,
        "W2": randn(hidden, vocab_size) * 0.1,
        "b2": randn(vocab_size) * 0.1,
        "bngain": randn(1, hidden) * 0.1 + 1.0,
        "bnbias": randn(1, hidden) * 0.1,
    }


def batch(p: Parameters, X: Tensor, Y: Tensor, g: torch.Generator) -> SimpleNamespace:
    """One minibatch and the other constants of the forward pass."""
    n = int(p["batch_size"])
    ix = torch.randint(0, X.shape[0], (n,), generator=g)
    return SimpleNamespace(Xb=X[ix], Yb=Y[ix], n=n, eps=p["eps"])


def draw(p: Parameters, files: Files) -> list[Draw]:
    """Exercises 1 and 2: parameters, then one minibatch."""
    X, Y, vocab_size = training_data(files["names.txt"])
    g = torch.Generator().manual_seed(int(p["seed"]))
    leaves = initialise(p, vocab_size, g)
    return [Draw(leaves, batch(p, X, Y, g))]


def draw_with_upstream(p: Parameters, files: Files) -> list[Draw]:
    """Exercise 3: as before, then a random upstream gradient (n, n_hidden) for `hpreact`."""
    X, Y, vocab_size = training_data(files["names.txt"])
    g = torch.Generator().manual_seed(int(p["seed"]))
    leaves = initialise(p, vocab_size, g)
    constants = batch(p, X, Y, g)
    shape = (int(p["batch_size"]), int(p["n_hidden"]))
    constants.dhpreact = torch.randn(shape, generator=g).double()
    return [Draw(leaves, constants)]


def draw_steps(p: Parameters, files: Files) -> list[Draw]:
    """Exercise 4: `check_steps` times fresh parameters and a fresh minibatch, from one generator."""
    X, Y, vocab_size = training_data(files["names.txt"])
    g = torch.Generator().manual_seed(int(p["seed"]))
    return [
        Draw(initialise(p, vocab_size, g), batch(p, X, Y, g)) for _ in range(int(p["check_steps"]))
    ]


@lru_cache(maxsize=8)
def _twin(items: tuple[tuple[str, int | float], ...], names: bytes) -> tuple[Tensor, Tensor]:
    p = dict(items)
    X, Y, vocab_size = training_data(names)
    g = torch.Generator().manual_seed(int(p["seed"]))
    values = {name: leaf.double() for name, leaf in initialise(p, vocab_size, g).items()}
    losses = []
    for _ in range(int(p["twin_steps"])):
        constants = batch(p, X, Y, g)
        losses.append(TRAINING_GRAPH.forward(values, constants)["loss"])
        grads = TRAINING_GRAPH.reference(values, constants)
        values = {name: value - TWIN_LR * grads[name] for name, value in values.items()}
    return torch.cat([values[name].flatten() for name in PARAMETER_ORDER]), torch.stack(losses)


TWIN_LR = 0.1
# A hundred float32 steps, as many as in the notebook, drifted from a float64 twin by at most 6e-7
# (parameters and losses, six seeds).
TWIN_TOLERANCE = 1e-4


def twin(p: Parameters, files: Files) -> dict[str, Target]:
    """Parameters (concatenated, 1-d) and losses (twin_steps,) of a training with autograd."""
    trained, losses = _twin(tuple(sorted(p.items())), files["names.txt"])
    return {
        "trained": Target(trained, float(trained.abs().max()), TWIN_TOLERANCE),
        "lossi": Target(losses, float(losses.abs().max()), TWIN_TOLERANCE),
    }


EXERCISES = {
    "1_every_step": Exercise(
        EVERY_STEP_GRAPH, ALL_GRADIENTS, draw, PUBLIC, SCENARIOS, mistakes=EVERY_STEP, axes=AXES
    ),
    "2_cross_entropy": Exercise(
        CROSS_ENTROPY_GRAPH, ("logits",), draw, PUBLIC, SCENARIOS, mistakes=CROSS_ENTROPY, axes=AXES
    ),
    "3_batch_norm": Exercise(
        BATCH_NORM_GRAPH,
        ("hprebn",),
        draw_with_upstream,
        PUBLIC,
        SCENARIOS,
        mistakes=BATCH_NORM,
        axes=AXES,
    ),
    "4_training": Exercise(
        TRAINING_GRAPH,
        PARAMETER_ORDER,
        draw_steps,
        {**PUBLIC, "n_hidden": 200, "check_steps": 5, "twin_steps": 3, "max_steps": 0},
        TRAINING_SCENARIOS,
        stacked=True,
        shortened=("twin_steps", "max_steps"),
        more=twin,
        mistakes=(*CROSS_ENTROPY, *BATCH_NORM, *TRAINING),
        axes=AXES,
    ),
}
