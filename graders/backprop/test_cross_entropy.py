"""Exercise 2, the cross entropy in one expression: the gradient, and the sign of its entries."""

NOTEBOOK = "2_cross_entropy"


def test_gradient(gradient):
    gradient.must_be_right()


def test_only_the_right_character_is_pulled_up(answers, language):
    negative = (answers["dlogits"] < -1e-7).sum(1)
    assert negative.max() <= 1, {
        "en": "Only the right character's logit should grow. How many entries of a row can be negative?",
        "zh": "只有正确字符的 logit 应当变大。每一行最多有几个负数？",
    }[language]
