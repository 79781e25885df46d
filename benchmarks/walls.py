"""What each sandbox adds to a notebook: processor time of a fork, its walls and its end.

    python benchmarks/walls.py [ROUNDS]

A notebook of one line is run in a worker without walls, in bubblewrap and in Landlock, in turns. What the
processes of each took is divided by the two that a notebook has, the public run's and the hidden run's.
"""

import os
import sys
from collections import Counter
from contextlib import ExitStack

import psutil

from handgrad.limits import Limits
from handgrad.plan import Cell, Plan, Run
from handgrad.sandbox.execute import Executor
from handgrad.sandbox.launch import SANDBOXES, SETTING

ROUNDS = 20  # before it is the next one's turn
PLAN = Plan("notebook", (Run("public", display=True), Run("hidden")), {})
CELLS = {"notebook": (Cell(0, "", "other", "pass"),)}


def started(stack: ExitStack, sandbox: str) -> Executor:
    """A worker that has forked often enough to have made forking cheap."""
    if sandbox in SANDBOXES:
        os.environ[SETTING] = sandbox
    jail = Executor(
        {}, {"notebook": PLAN}, {"notebook": ()}, Limits(), sandboxed=sandbox in SANDBOXES
    )
    stack.enter_context(jail)
    for _ in range(20):
        jail.run(CELLS)
    return jail


def milliseconds(processes: list[psutil.Process]) -> float:
    """What these and the children that they waited for have taken."""
    return 1000 * sum(sum(process.cpu_times()[:4]) for process in processes)


def main(rounds: int) -> None:
    spent: Counter[str] = Counter()
    with ExitStack() as stack:
        jails: dict[str, tuple[Executor, list[psutil.Process]]] = {}
        for name in ("none", *SANDBOXES):
            before = psutil.Process().children(recursive=True)
            jail = started(stack, name)
            after = psutil.Process().children(recursive=True)
            jails[name] = jail, [process for process in after if process not in before]
        for _ in range(rounds // ROUNDS):
            for name, (jail, processes) in jails.items():
                began = milliseconds(processes)
                for _ in range(ROUNDS):
                    jail.run(CELLS)
                spent[name] += milliseconds(processes) - began
    for name, taken in spent.items():
        print(f"{name:12} {taken / 2 / rounds:6.2f} ms")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
