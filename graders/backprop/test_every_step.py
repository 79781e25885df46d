"""Exercise 1, every step: each gradient in the chain and by itself, and two things that hold of some."""

NOTEBOOK = "1_every_step"
NOTHING = 1e-5  # in float32, of numbers of about 0.03


def test_gradient(gradient):
    gradient.must_be_right()


def test_a_shift_of_all_logits_changes_no_loss(answers, language):
    rows = answers["dlogits"].sum(1)
    assert rows.abs().max() < NOTHING, {
        "en": "Adding a number to all logits of an example changes no loss. What must each row sum to?",
        "zh": "给一个样本的所有 logits 加上同一个数，损失不变。那么每一行之和应是多少？",
    }[language]


def test_a_shift_of_a_hidden_unit_is_taken_out_again(answers, language):
    dhprebn = answers["dhprebn"]
    columns = dhprebn.sum(0)
    assert columns.abs().max() <= 1e-3 * dhprebn.abs().max(), {
        "en": "Batch normalisation subtracts the mean of each column. What must each column sum to?",
        "zh": "批归一化会减去每一列的均值。那么每一列之和应是多少？",
    }[language]
