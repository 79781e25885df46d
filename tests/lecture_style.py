"""A notebook as those have it who followed the lecture alone."""

from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from demo.classroom import solutions

SOURCE = Path(__file__).parents[1] / "source" / "backprop" / "1_every_step.ipynb"


def lecture_style() -> NotebookNode:
    """Exercise 1 in one cell, without grade ids; one of the two branches of `dcounts` is forgotten."""
    notebook = nbformat.read(SOURCE, as_version=4)
    code = {cell.id: cell.source for cell in notebook.cells if cell.cell_type == "code"}
    answers = {**solutions(notebook), "dcounts": "dcounts = counts_sum_inv * dprobs"}
    lines = []
    for name in code:
        if name in answers:
            lines += [answers[name], f"cmp('{name[1:]}', {name}, {name[1:]})"]
    made = new_notebook(
        cells=[
            new_code_cell("import torch\nimport torch.nn.functional as F"),
            *(new_code_cell(code[each]) for each in ("parameters", "given_init", "given_batch")),
            new_code_cell(f"{code['given_forward']}\n{code['given_reference']}"),
            new_markdown_cell("# Exercise 1: backprop through the whole thing manually"),
            new_code_cell("\n".join(lines)),
        ]
    )
    made.nbformat_minor = 4
    for cell in made.cells:
        del cell["id"]
    return made
