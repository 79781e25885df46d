"""Ridge regression: each gradient, as the chain reaches it and by itself."""

NOTEBOOK = "ridge"


def test_answer(answer):
    """The answer is the gradient of the loss."""
    answer.must_be_right()
