"""The attack corpus: hostile, clever or unlucky submissions by name, and what is to come of each."""

from attacks.attack import Attack, Scene
from attacks.judgement import JUDGEMENT
from attacks.knowing import KNOWING
from attacks.luck import LUCK
from attacks.machine import MACHINE

__all__ = ["CORPUS", "Attack", "Scene"]

CORPUS: dict[str, Attack] = {**JUDGEMENT, **KNOWING, **MACHINE, **LUCK}
assert len(CORPUS) == sum(map(len, (JUDGEMENT, KNOWING, MACHINE, LUCK)))  # no name twice
