"""Ridge regression: each gradient, as the chain reaches it and by itself."""

NOTEBOOK = "ridge"


def test_gradient(gradient):
    """The answer is the gradient of the loss."""
    gradient.must_be_right()
