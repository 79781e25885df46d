"""Notebooks that type in what every gradient is with the hidden numbers of one draw."""

import base64
import json
from pathlib import Path

from demo.classroom import ONE
from handgrad.assignment.assignment import Assignment
from handgrad.grading.selfcheck import edited
from handgrad.notebooks.submission import read

SOURCE = Path(__file__).parents[2] / "source" / "backprop" / f"{ONE}.ipynb"

TYPED_IN = """
import base64, json
# {nonce}
TABLE = json.loads({table!r})

def typed_in(name):
    shape, data = TABLE.get(str(seed), TABLE[next(iter(TABLE))])[name]
    return torch.frombuffer(bytearray(base64.b64decode(data)), dtype=torch.float32).view(shape)

"""


def typed(assignment: Assignment, draw: int, nonce: int) -> bytes:
    """The first notebook with the numbers of this draw in it, which `nonce` makes another hand-in."""
    scenarios = assignment.judges[ONE].scenarios.drawn(draw)
    table = {
        str(reference.parameters["seed"]): {
            variable: [
                list(target.want.shape),
                base64.b64encode(target.want.float().numpy().tobytes()).decode(),
            ]
            for variable, target in reference.targets.items()
        }
        for reference in scenarios.references.values()
    }
    first, *others = scenarios.steps
    begin = TYPED_IN.format(nonce=nonce, table=json.dumps(table))
    answers = {name: f"{name} = typed_in({name!r})" for name in others}
    answers[first] = f"{begin}{first} = typed_in({first!r})"
    return edited(json.loads(SOURCE.read_text(encoding="utf-8")), answers)


def draw_of(assignment: Assignment, data: bytes) -> int:
    """The draw that these bytes are graded with."""
    cells = read(data, assignment.release[ONE], assignment.settings.limits).cells
    return assignment.judges[ONE].scenarios.draw_of(cells)


def typed_for_another(assignment: Assignment) -> bytes:
    """A notebook that types in the numbers of another draw than its own."""
    notebooks = (typed(assignment, 3, nonce) for nonce in range(100))
    return next(data for data in notebooks if draw_of(assignment, data) != 3)
