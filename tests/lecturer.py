"""Writes notebooks as people keep who followed the lecture: one long file, made of this course's own code."""

import ast
import json
import re
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
STEMS = ("1_every_step", "2_cross_entropy", "3_batch_norm", "4_training")

COMPARE = """def cmp(s, dt, t):
    off = (dt - t.grad).abs().max().item()
    print(f"{s:15s} {torch.allclose(dt, t.grad)} {off}")"""
START = """n_embd = 10
n_hidden = 64
g = torch.Generator().manual_seed(2147483647)
C = torch.randn((vocab_size, n_embd), generator=g)
W1 = torch.randn((n_embd * block_size, n_hidden), generator=g) * (5/3) / ((n_embd * block_size)**0.5)
b1 = torch.randn(n_hidden, generator=g) * 0.1
W2 = torch.randn((n_hidden, vocab_size), generator=g) * 0.1
b2 = torch.randn(vocab_size, generator=g) * 0.1
bngain = torch.randn((1, n_hidden))*0.1 + 1.0
bnbias = torch.randn((1, n_hidden))*0.1
parameters = [C, W1, b1, W2, b2, bngain, bnbias]
for p in parameters:
  p.requires_grad = True"""
BATCH = """batch_size = 32
n = batch_size
ix = torch.randint(0, Xtr.shape[0], (batch_size,), generator=g)
Xb, Yb = Xtr[ix], Ytr[ix]"""
LOOP = """max_steps = 1000
lossi = []
for i in range(max_steps):
{body}
    for p, grad in zip(parameters, grads):
        p.data += -0.1 * grad
    lossi.append(loss.log10().item())
    if i % 100 == 0:
        print(i, loss.item())"""


@cache
def _sources(folder: str, stem: str) -> Mapping[str, str]:
    """The code cells of a course notebook by grade id."""
    path = ROOT / folder / "backprop" / f"{stem}.ipynb"
    return {
        cell["metadata"]["nbgrader"]["grade_id"]: "".join(cell["source"])
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]
        if cell["cell_type"] == "code"
    }


def given(stem: str, grade_id: str) -> str:
    """A cell that the course gives."""
    return _sources("release", stem)[grade_id]


def solution(stem: str, grade_id: str) -> str:
    """What the instructor wrote between the marks, the constant written out as people do."""
    text = _sources("source", stem)[grade_id]
    inside = text.split("### BEGIN SOLUTION\n")[1].split("### END SOLUTION")[0]
    return textwrap.dedent(inside).strip().replace("eps", "1e-5")


@cache
def steps() -> Mapping[str, str]:
    """Exercise 1, by gradient in the course's order."""
    answers = [
        name
        for name in _sources("release", STEMS[0])
        if f"test_{name}" in _sources("release", STEMS[0])
    ]
    return {name: solution(STEMS[0], name) for name in answers}


def training_forward() -> str:
    """The forward lines of the training loop."""
    body = ast.parse(given(STEMS[3], "given_forward")).body[0]
    assert isinstance(body, ast.FunctionDef)
    lines = [ast.unparse(node) for node in body.body if isinstance(node, ast.Assign)]
    return "\n".join(line for line in lines if not line.startswith("values")).replace("eps", "1e-5")


@dataclass
class Lecture:
    """A notebook's cells by what they are for; a cell may be code, or `("markdown", text)`.

    As it stands everything is answered, and answered right, all of exercise 1 in one cell.
    """

    steps: dict[str, str] = field(default_factory=lambda: dict(steps()))
    cells: dict[str, str | tuple[str, str]] = field(default_factory=dict)
    nbformat_minor: int = 5
    outputs: int = 0  # characters of output in every cell

    def __post_init__(self) -> None:
        every = STEMS[0]
        self.cells = {
            "title": ("markdown", "# My notes"),
            "imports": "import torch\nimport torch.nn.functional as F\nimport random",
            "words": "from pathlib import Path\n" + given(every, "given_words"),
            "data": given(every, "given_dataset"),
            "compare": COMPARE,
            "start": START,
            "batch": BATCH,
            "forward": given(every, "given_forward").replace("eps", "1e-5"),
            "reference": given(every, "given_reference"),
            "one": "",
            "two": "# Exercise 2\nfast = F.cross_entropy(logits, Yb)\nprint(fast.item())",
            "two_answer": solution(STEMS[1], "dlogits") + "\ncmp('logits', dlogits, logits)",
            "three": "# Exercise 3\nhpreact_fast = bngain * (hprebn - hprebn.mean(0, keepdim=True)) / "
            "torch.sqrt(hprebn.var(0, keepdim=True, unbiased=True) + 1e-5) + bnbias",
            "three_answer": solution(STEMS[2], "dhprebn") + "\ncmp('hprebn', dhprebn, hprebn)",
        }
        self.write_steps()

    # ---- writing exercise 1

    def write_steps(self, *order: str, compare: bool = True, heading: str = "# Exercise 1") -> None:
        """All steps in one cell, in another order if one is given, the comparisons at the end."""
        lines = [heading, *(self.steps[name] for name in order or self.steps)]
        if compare:
            lines += [self.comparison(name) for name in self.steps]
        self.cells["one"] = "\n".join(lines)

    def split_steps(self) -> None:
        """Each step in a cell of its own, compared there."""
        each = {f"one_{n}": f"{code}\n{self.comparison(n)}" for n, code in self.steps.items()}
        self.replace_cell("one", {"one": ("markdown", "## Exercise 1: step by step"), **each})

    def comparison(self, name: str) -> str:
        return f"cmp('{name[1:]}', {name}, {name[1:]})"

    # ---- changing things

    def replace_cell(self, name: str, by: Mapping[str, str | tuple[str, str]]) -> None:
        cells = {}
        for each, text in self.cells.items():
            cells |= by if each == name else {each: text}
        self.cells = cells

    def after(self, name: str, *texts: str | tuple[str, str]) -> None:
        """Put cells behind another one."""
        added = {f"{name}+{at}": text for at, text in enumerate(texts)}
        self.replace_cell(name, {name: self.cells[name], **added})

    def change(self, cell: str, old: str, new: str) -> None:
        text = self.cells[cell]
        assert isinstance(text, str)
        assert old in text, f"{old!r} is not in cell {cell}"
        self.cells[cell] = text.replace(old, new)

    def everywhere(self, old: str, new: str) -> None:
        """Another name for something, in all code cells."""
        for name, text in self.cells.items():
            if isinstance(text, str):
                self.cells[name] = re.sub(rf"\b{old}\b", new, text)

    def train(
        self, backward: str | None = None, forward: str | None = None, loop: str = LOOP
    ) -> None:
        """Add exercise 4."""
        body = "\n".join(
            [
                "ix = torch.randint(0, Xtr.shape[0], (batch_size,), generator=g)",
                "Xb, Yb = Xtr[ix], Ytr[ix]",
                training_forward() if forward is None else forward,
                backward or solution(STEMS[3], "backward"),
                "grads = [dC, dW1, db1, dW2, db2, dbngain, dbnbias]",
            ]
        )
        start = START.replace("n_hidden = 64", "n_hidden = 200")
        self.cells["four"] = f"# Exercise 4\n{start}\n" + loop.format(
            body=textwrap.indent(body, "    ")
        )

    # ---- the file

    def file(self) -> bytes:
        cells = []
        for number, text in enumerate(self.cells.values()):
            kind, source = text if isinstance(text, tuple) else ("code", text)
            cell: dict[str, object] = {
                "cell_type": kind,
                "metadata": {},
                "source": source.splitlines(keepends=True) if number % 2 else source,
            }
            if kind == "code":
                said = {"output_type": "stream", "name": "stdout", "text": "x" * self.outputs}
                cell |= {"execution_count": number, "outputs": [said] if self.outputs else []}
            if self.nbformat_minor >= 5:
                cell["id"] = f"cell-{number}"
            cells.append(cell)
        return json.dumps(
            {"nbformat": 4, "nbformat_minor": self.nbformat_minor, "metadata": {}, "cells": cells}
        ).encode()
