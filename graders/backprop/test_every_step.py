"""Exercise 1, every step: each gradient, as the chain reaches it and by itself."""

NOTEBOOK = "1_every_step"


def test_gradient(gradient):
    gradient.must_be_right()
