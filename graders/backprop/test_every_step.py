"""Exercise 1, every step: each gradient, as the chain reaches it and by itself."""

NOTEBOOK = "1_every_step"


def test_answer(answer):
    """The answer is the gradient of the loss, or what follows from training with it."""
    answer.must_be_right()
