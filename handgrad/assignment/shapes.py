"""The sizes of values in an author's own words: `(T, D)`, found by running the cells at two sets of sizes."""

from collections.abc import Callable, Iterator, Mapping
from itertools import combinations, islice

from handgrad.errors import UserError
from handgrad.gradients.exercise import Parameters

Shapes = Mapping[str, tuple[int, ...]]
_TRIED = 4  # other values of one number, before it is left as it is


class Sizes:
    """What shapes say: `own` and `other` are those of all values, at the notebook's sizes and at others."""

    def __init__(self, run: Callable[[Parameters], Shapes], public: Parameters) -> None:
        """`run` gives the shapes at other parameters, and raises UserError where these do not go."""
        self.own = run({})
        self._public = public
        self.varied: dict[str, int] = {}
        self.other = self.own
        for name, value in public.items():
            if type(value) is int and value > 1 and name != "seed":
                self._vary(run, name, value)

    def _vary(self, run: Callable[[Parameters], Shapes], name: str, value: int) -> None:
        """Set one number more to another value: a prime, since no product of sizes is one."""
        taken = {*self._public.values(), *self.varied.values()}
        free = (prime for prime in _primes() if prime > value and prime not in taken)
        for other in (*islice(free, _TRIED), 2 * value):
            try:
                shapes = run({**self.varied, name: other})
            except UserError:
                continue
            if shapes != self.other:  # a number that is no size stays as it is
                self.varied[name], self.other = other, shapes
            return

    def of(self, name: str) -> str:
        """The shape of a value, "" for a single number."""
        both = zip(self.own.get(name, ()), self.other.get(name, ()), strict=True)
        axes = [self._axis(*pair) for pair in both]
        return "" if not axes else f"({', '.join(axes)}{',' * (len(axes) == 1)})"

    def _axis(self, own: int, other: int) -> str:
        if own == other:
            return str(own)
        return next((w for w, a, b in self._words() if (a, b) == (own, other)), f"{own}")

    def _words(self) -> Iterator[tuple[str, int, int]]:
        """What may be said of a size, with its value in both runs; the plainest first."""
        sizes = [(name, int(self._public[name]), other) for name, other in self.varied.items()]
        yield from sizes
        for (n, a, b), (m, c, d) in combinations(sizes, 2):
            yield f"{n} * {m}", a * c, b * d
            yield f"{n} + {m}", a + c, b + d
        for n, a, b in sizes:
            for k in (1, 2):
                yield f"{n} - {k}", a - k, b - k
                yield f"{n} + {k}", a + k, b + k
            for k in (2, 3, 4):
                yield f"{k} * {n}", k * a, k * b
                yield f"{n} // {k}", a // k, b // k


def _primes() -> Iterator[int]:
    found: list[int] = []
    number = 2
    while True:
        if all(number % prime for prime in found):
            found.append(number)
            yield number
        number += 1
