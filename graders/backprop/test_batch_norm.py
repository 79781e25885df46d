"""Exercise 3, batch normalisation in one expression: the gradient, and what normalising takes out of it."""

NOTEBOOK = "3_batch_norm"


def test_gradient(gradient):
    gradient.must_be_right()


def test_the_mean_of_a_column_has_no_gradient(answers, language):
    dhprebn = answers["dhprebn"]
    assert dhprebn.sum(0).abs().max() <= 1e-3 * dhprebn.abs().max(), {
        "en": "Moving a whole column changes nothing behind the normalisation. What must it sum to?",
        "zh": "整列平移在归一化之后没有影响。那么每一列之和应是多少？",
    }[language]
