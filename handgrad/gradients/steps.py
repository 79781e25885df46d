"""A forward pass as named steps, and what autograd says about each of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import SimpleNamespace

import torch
from torch import Tensor

Values = Mapping[str, Tensor]
_NOTHING = torch.empty(0, dtype=torch.float64)


def total(parts: Sequence[Tensor]) -> Tensor:
    """Their sum; of one part, that part: references are kept, and most gradients have one."""
    return torch.stack([*parts]).sum(0) if len(parts) > 1 else parts[0]


@dataclass(frozen=True, slots=True)
class Step:
    """One line of a forward pass: `name = compute(*inputs, constants)`.

    `inputs` name earlier steps or leaves. Lists that one loop fills, which are stacked, may be inputs of
    each other and of themselves; with nothing in its place the loop reads what it makes of one.
    `constants` is a namespace of whatever is not differentiated (batch size, indices, epsilon).
    `where` names its line for the author. `loop` is whether it runs a loop, which reads other values too.
    """

    name: str
    inputs: tuple[str, ...]
    compute: Callable[..., Tensor]
    where: str = ""
    loop: bool = False

    def at(self, values: Values, constants: SimpleNamespace) -> Tensor:
        """What it makes of these values."""
        around = SimpleNamespace(**{**values, **vars(constants)}) if self.loop else constants
        return self.compute(*(values.get(name, _NOTHING) for name in self.inputs), around)


@dataclass(frozen=True)
class Graph:
    """Named steps in forward order; the last one is the scalar loss."""

    steps: tuple[Step, ...]

    @property
    def loss(self) -> str:
        return self.steps[-1].name

    @cached_property
    def leaves(self) -> tuple[str, ...]:
        """The names that no step makes, in order of first use."""
        made = {step.name for step in self.steps}
        used = dict.fromkeys(name for step in self.steps for name in step.inputs)
        return tuple(name for name in used if name not in made)

    @cached_property
    def consumers(self) -> Mapping[str, tuple[Step, ...]]:
        """By name, the steps that read it, in forward order."""
        names = [*self.leaves, *(step.name for step in self.steps)]
        return {name: tuple(s for s in self.steps if name in s.inputs) for name in names}

    def forward(self, leaves: Values, constants: SimpleNamespace) -> dict[str, Tensor]:
        """All values by name, leaves included. Raises KeyError where a leaf is missing."""
        values = {name: leaves[name] for name in self.leaves}
        for step in self.steps:
            values[step.name] = step.at(values, constants)
        return values

    @cached_property
    def loops(self) -> bool:
        """Whether a value rests on itself: entries of a list on earlier ones."""
        order = self.backward_order()
        return any(
            order.index(step.name) >= order.index(name)
            for step in self.steps[:-1]
            for name in step.inputs
        )

    def backward(
        self, values: Values, given: Values, constants: SimpleNamespace
    ) -> dict[str, Tensor]:
        """The gradients of all names by the chain rule, but that those `given` are as they are.

        Through a loop the rule is applied until nothing changes: once a turn at most.
        """
        found = {name: torch.zeros_like(values[name]) for name in self.backward_order()}
        found |= given
        while True:
            before = dict(found)
            for name in self.backward_order():
                if name not in given:
                    found[name] = total(
                        [*self.contributions(name, values, found, constants).values()]
                    )
            if not self.loops or all(torch.equal(found[n], before[n]) for n in found):
                return found

    def reference(self, leaves: Values, constants: SimpleNamespace) -> dict[str, Tensor]:
        """The gradient of the loss with respect to every name, by one pass of autograd; through a loop,
        in which values have no tensor of their own, step by step.
        """
        if self.loops:
            return self.backward(self.forward(leaves, constants), {}, constants)
        fresh = {name: leaves[name].detach().clone().requires_grad_() for name in self.leaves}
        values = self.forward(fresh, constants)
        names = [name for name in values if name != self.loss]
        grads = torch.autograd.grad(
            values[self.loss], [values[name] for name in names], materialize_grads=True
        )
        return dict(zip(names, grads, strict=True))

    def contributions(
        self, name: str, values: Values, upstream: Values, constants: SimpleNamespace
    ) -> dict[str, Tensor]:
        """By consumer, its part of the vector-Jacobian product of `name` at `upstream`.

        `upstream[c]` is the gradient with respect to the consumer `c`, of `values[c]`'s shape; the
        loss needs none (it is 1). Each part has the shape of `values[name]`; `d<name>` is their sum.
        """
        return {
            step.name: self.local(step, name, values, upstream.get(step.name), constants)
            for step in self.consumers[name]
        }

    def local(
        self,
        step: Step,
        name: str,
        values: Values,
        upstream: Tensor | None,
        constants: SimpleNamespace,
    ) -> Tensor:
        """The vector-Jacobian product of one step with respect to its input `name`, as of `product`."""
        return self.product(step, name, values, constants)(upstream)

    def product(
        self, step: Step, name: str, values: Values, constants: SimpleNamespace
    ) -> Callable[[Tensor | None], Tensor]:
        """The vector-Jacobian product of one step with respect to its input `name`, by upstream gradient.

        An upstream gradient of None stands for ones, which for the loss is the seed of the chain rule.
        The product raises ValueError where it has another shape than the step's value.
        """
        at = values[name].detach().clone().requires_grad_()
        out = step.at({**values, name: at}, constants)

        def product(upstream: Tensor | None) -> Tensor:
            seed = torch.ones_like(out) if upstream is None else upstream
            if seed.shape != out.shape:
                raise ValueError(
                    f"{step.name} has shape {tuple(out.shape)}, not {tuple(seed.shape)}"
                )
            # The gradient of this sum is the product at `seed`. Given as `grad_outputs`, torch would
            # import sympy to compare two shapes, which takes half a second.
            total = (out * seed).sum()
            (grad,) = torch.autograd.grad(total, at, retain_graph=True, materialize_grads=True)
            return grad

        return product

    def backward_order(self) -> tuple[str, ...]:
        """All names but the loss, each after all of its consumers."""
        return tuple(reversed([*self.leaves, *(step.name for step in self.steps[:-1])]))
