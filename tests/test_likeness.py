"""Formulas that say the same are the same, and others are not."""

import ast

import pytest

from handgrad.lecture.likeness import Form, form

SAME = [
    ("a + b", "b + a"),
    ("a - b", "-b + a"),
    ("1/n*x.sum(0)", "x.sum(0)/n"),
    ("1/(n-1)*(x).sum(0, keepdim=True)", "torch.sum(x, dim=0, keepdims=True) / (-1 + n)"),
    ("x.sum(0)", "x.sum(axis=0)"),
    ("(v + eps)**-0.5", "1 / torch.sqrt(v + eps)"),
    ("(v + eps)**-0.5", "torch.rsqrt(eps + v)"),
    ("c**-1", "1.0 / c"),
    ("x.exp()", "torch.exp(x)"),
    ("F.softmax(x, 1)", "x.softmax(dim=1)"),
    ("torch.tanh(x)", "x.tanh()"),
    ("x.max(1, keepdim=True).values", "x.max(1, keepdim=True)[0]"),
    ("x.max(1, keepdim=True).values", "x.amax(1, keepdim=True)"),
    ("x.view(x.shape[0], -1)", "x.reshape(32, 30)"),
    ("x.view(-1, 30)", "x.flatten(1)"),
    ("h @ W", "torch.matmul(h, W)"),
    ("x.var(0, unbiased=True)", "x.var(0)"),
    ("x**2", "torch.square(x)"),
    ("x**2", "x.pow(2)"),
    ("-x.mean()", "-1 * torch.mean(x)"),
    ("randn(3, generator=g)", "randn(3)"),
    ("e[i, j]", "e[(i, j)]"),
]
OTHER = [
    ("a - b", "b - a"),
    ("a / b", "b / a"),
    ("h @ W", "W @ h"),
    ("x.sum(0)", "x.sum(1)"),
    ("x.sum(0, keepdim=True)", "x.sum(0)"),
    ("x.sum(0) / n", "x.sum(0) / (n - 1)"),
    ("x.var(0, unbiased=False)", "x.var(0)"),
    ("x**2", "x**3"),
    ("x.max(1).values", "x.max(1).indices"),
    ("torch.tanh(x)", "torch.relu(x)"),
    ("x[0]", "x[1]"),
    ("x[:2]", "x[2:]"),
]


def read(text: str) -> Form:
    return form(ast.parse(text, mode="eval").body, {})


@pytest.mark.parametrize(("one", "other"), SAME)
def test_the_same_in_other_words(one: str, other: str) -> None:
    assert read(one) == read(other)


@pytest.mark.parametrize(("one", "other"), OTHER)
def test_not_the_same(one: str, other: str) -> None:
    assert read(one) != read(other)


def test_names_and_numbers_may_stand_for_others() -> None:
    theirs = ast.parse("1/32 * z.sum(0)", mode="eval").body
    assert form(theirs, {"z": "x"}, {32.0: ("name", "n")}) == read("1/n*x.sum(0)")
