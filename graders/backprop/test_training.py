"""Exercise 4, the student's own backward over several draws, and the first steps of a training with it."""

NOTEBOOK = "4_training"


def test_gradient(gradient):
    """The answer is the gradient of the loss, or what follows from training with it."""
    gradient.must_be_right()
