"""Runs in the sandbox as a given cell behind the course's own: says which of the course's values a student's
statements make, under whatever name. Its text is sent there; nothing here imports it.
"""

import json
import sys
from typing import Any

import torch


class Recorder:
    """Called after each statement with its number; writes what that made as one line of JSON.

    `made` holds by name the `shape`, and the names of the course's `values` that it equals. Where a name
    of the course came to another value, the course's is put back.
    """

    def __init__(self, namespace: dict[str, Any]) -> None:
        tensors = {n: v for n, v in namespace.items() if isinstance(v, torch.Tensor)}
        self._namespace = namespace
        self._course = {name: value.detach().clone() for name, value in tensors.items()}
        self._seen = {name: (value, value._version) for name, value in tensors.items()}

    def __call__(self, number: int) -> None:
        """Look at what statement `number` made."""
        made = {}
        for name, value in list(self._namespace.items()):
            before, version = self._seen.get(name, (None, 0))
            if type(value) is torch.Tensor and (value is not before or value._version != version):
                made[name] = self._found(value.detach())
                if name in self._course and name not in made[name]["values"]:
                    value = self._namespace[name] = self._course[name].clone()
                self._seen[name] = (value, value._version)
        if made:
            sys.stdout.write(json.dumps([number, made]) + "\n")

    def _found(self, value: torch.Tensor) -> dict[str, list[Any]]:
        return {
            "shape": list(value.shape),
            "values": [name for name, known in self._course.items() if _is_as(value, known)],
        }


def _is_as(value: torch.Tensor, known: torch.Tensor) -> bool:
    """Whether two tensors hold the same numbers, up to rounding and axes of size 1."""
    if value.squeeze().shape != known.squeeze().shape:
        return False
    if not (value.is_floating_point() and known.is_floating_point()):
        return bool((value.squeeze() == known.squeeze()).all())
    off = (value.squeeze() - known.squeeze()).abs().max()
    return bool(off <= 1e-5 * known.abs().max())


look = Recorder(globals())
