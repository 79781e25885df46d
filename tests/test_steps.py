"""Graph: everything it says follows from the steps, and autograd agrees."""

from types import SimpleNamespace

import attention
import pytest
import torch

from handgrad.gradients.steps import Graph, Step

GRAPH = Graph(
    (
        Step("square", ("x",), lambda x, k: x**2),
        Step("scaled", ("square", "x", "w"), lambda square, x, w, k: square * w + k.a * x),
        Step("loss", ("scaled",), lambda scaled, k: scaled.sum()),
    )
)
K = SimpleNamespace(a=3.0)


@pytest.fixture
def values():
    x = torch.tensor([1.0, 2.0], dtype=torch.float64)
    return GRAPH.forward({"x": x, "w": x + 1}, K)


def test_leaves_are_what_no_step_makes():
    assert GRAPH.leaves == ("x", "w")


def test_consumers_are_the_steps_that_read_a_name():
    assert [step.name for step in GRAPH.consumers["x"]] == ["square", "scaled"]


def test_forward_gives_every_value(values):
    assert list(values) == ["x", "w", "square", "scaled", "loss"]


def test_contributions_are_by_consumer_and_sum_to_autograds_gradient(values):
    leaves = {name: values[name] for name in GRAPH.leaves}
    truth = GRAPH.reference(leaves, K)
    parts = GRAPH.contributions("x", values, truth, K)
    assert list(parts) == ["square", "scaled"]
    assert torch.equal(parts["scaled"], torch.full((2,), 3.0, dtype=torch.float64))
    assert torch.allclose(sum(parts.values()), truth["x"], rtol=1e-15)


def test_a_vector_jacobian_product_is_linear_in_its_upstream_gradient(values):
    up = {"square": torch.tensor([1.0, -2.0], dtype=torch.float64), "scaled": values["x"]}
    double = {name: 2 * gradient for name, gradient in up.items()}
    once = sum(GRAPH.contributions("x", values, up, K).values())
    assert torch.allclose(sum(GRAPH.contributions("x", values, double, K).values()), 2 * once)


def test_backward_order_puts_every_name_after_its_consumers():
    graph = attention.GRAPH
    order = graph.backward_order()
    for name in order:
        for consumer in graph.consumers[name]:
            if consumer.name != graph.loss:
                assert order.index(consumer.name) < order.index(name)


def test_a_missing_leaf_is_named():
    with pytest.raises(KeyError, match="w"):
        GRAPH.forward({"x": torch.ones(2)}, K)
