"""Exercise 4, the student's own backward at several draws, and the first steps of a training with it."""

NOTEBOOK = "4_training"


def test_gradient(gradient):
    gradient.must_be_right()


def test_what_one_character_gains_the_others_lose(answers, language):
    db2 = answers["db2"]  # a row for each draw
    assert db2.sum(-1).abs().max() <= 1e-3 * db2.abs().max(), {
        "en": "Adding a number to all entries of b2 changes no loss. What must db2 sum to?",
        "zh": "给 b2 的所有项加上同一个数，损失不变。那么 db2 之和应是多少？",
    }[language]
