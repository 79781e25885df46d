"""Exercise 3, batch normalisation in one expression."""

NOTEBOOK = "3_batch_norm"


def test_gradient(gradient):
    """The answer is the gradient of the loss, or what follows from training with it."""
    gradient.must_be_right()
