"""A forward pass as named steps, and what autograd says about each of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import SimpleNamespace

import torch
from torch import Tensor

Values = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class Step:
    """One line of a forward pass: `name = compute(*inputs, constants)`.

    `inputs` name earlier steps or leaves; `constants` is a namespace of whatever is not
    differentiated (batch size, indices, epsilon). `where` names its line for the author.
    """

    name: str
    inputs: tuple[str, ...]
    compute: Callable[..., Tensor]
    where: str = ""


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
            values[step.name] = step.compute(*(values[i] for i in step.inputs), constants)
        return values

    def reference(self, leaves: Values, constants: SimpleNamespace) -> dict[str, Tensor]:
        """The gradient of the loss with respect to every name, by one pass of autograd."""
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
        out = step.compute(*(at if i == name else values[i] for i in step.inputs), constants)

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
