"""Answers this assignment's graders must know: wrong ones by the mistake they are, and unusual right ones.

`handgrad selfcheck backprop` puts each in the instructor's notebook, one at a time. A wrong one must be
found at its own step, named as given here, and cost no other gradient a mark.
"""

from handgrad.grading.variations import Right, Slip

EVERY_STEP, CROSS_ENTROPY, BATCH_NORM, TRAINING = (
    "1_every_step",
    "2_cross_entropy",
    "3_batch_norm",
    "4_training",
)


def slip(cell: str, code: str, named: str, **parts: str) -> Slip:
    return Slip(EVERY_STEP, cell, code, named, parts)


WRONG = (
    # dlogprobs
    slip(
        "dlogprobs",
        "dlogprobs = torch.zeros_like(logprobs); dlogprobs[range(n), Yb] = -1.0",
        "factor",
        factor="n",
    ),
    slip(
        "dlogprobs",
        "dlogprobs = torch.zeros_like(logprobs); dlogprobs[range(n), Yb] = 1.0 / n",
        "sign",
    ),
    slip(
        "dlogprobs",
        "dlogprobs = torch.full_like(logprobs, -1.0 / n)",
        "assignment",
        name="every entry filled",
    ),
    # dprobs
    slip("dprobs", "dprobs = dlogprobs * probs", "power"),
    slip("dprobs", "dprobs = -dlogprobs / probs", "sign"),
    slip("dprobs", "dprobs = dlogprobs / probs**2", "power"),
    slip("dprobs", "dprobs = dlogprobs / counts", "other_value", used="counts", meant="probs"),
    # dcounts_sum_inv
    slip("dcounts_sum_inv", "dcounts_sum_inv = counts * dprobs", "not_summed", axis="1"),
    slip("dcounts_sum_inv", "dcounts_sum_inv = (counts * dprobs).sum(0)", "wrong_axis", axis="0"),
    slip("dcounts_sum_inv", "dcounts_sum_inv = (counts * dprobs).sum()", "wrong_axis", axis="0, 1"),
    slip(
        "dcounts_sum_inv",
        "dcounts_sum_inv = (counts * dprobs).mean(1, keepdim=True)",
        "mean_for_sum",
        axis="1",
    ),
    slip(
        "dcounts_sum_inv",
        "dcounts_sum_inv = (probs * dprobs).sum(1, keepdim=True)",
        "other_value",
        used="probs",
        meant="counts",
    ),
    # dcounts_sum
    slip("dcounts_sum", "dcounts_sum = -dcounts_sum_inv", "power"),
    slip("dcounts_sum", "dcounts_sum = -dcounts_sum_inv / counts_sum", "power"),
    slip("dcounts_sum", "dcounts_sum = counts_sum**-2 * dcounts_sum_inv", "sign"),
    slip("dcounts_sum", "dcounts_sum = -(counts_sum**-2)", "no_upstream"),
    # dcounts
    slip("dcounts", "dcounts = counts_sum_inv * dprobs", "missing_branch", consumer="counts_sum"),
    slip(
        "dcounts",
        "dcounts = torch.ones_like(counts) * dcounts_sum",
        "missing_branch",
        consumer="probs",
    ),
    slip(
        "dcounts",
        "dcounts = counts_sum_inv * dprobs - dcounts_sum",
        "sign_branch",
        consumer="counts_sum",
    ),
    # dnorm_logits
    slip("dnorm_logits", "dnorm_logits = dcounts", "no_local_factor", consumer="counts"),
    slip("dnorm_logits", "dnorm_logits = -counts * dcounts", "sign"),
    slip(
        "dnorm_logits",
        "dnorm_logits = norm_logits * dcounts",
        "other_value",
        used="norm_logits",
        meant="counts",
    ),
    slip("dnorm_logits", "dnorm_logits = counts", "no_upstream"),
    # dlogit_maxes: the chain cannot see it, its true value is zero
    slip("dlogit_maxes", "dlogit_maxes = dnorm_logits.sum(1, keepdim=True)", "sign"),
    slip("dlogit_maxes", "dlogit_maxes = -dnorm_logits", "not_summed", axis="1"),
    slip(
        "dlogit_maxes",
        "dlogit_maxes = -dnorm_logits.mean(1, keepdim=True)",
        "mean_for_sum",
        axis="1",
    ),
    # dlogits
    slip("dlogits", "dlogits = dnorm_logits.clone()", "missing_branch", consumer="logit_maxes"),
    slip(
        "dlogits",
        "dlogits = F.one_hot(logits.max(1).indices, logits.shape[1]) * dlogit_maxes",
        "missing_branch",
        consumer="norm_logits",
    ),
    slip(
        "dlogits",
        "dlogits = dnorm_logits + dlogit_maxes",
        "assignment",
        name="max spread over the whole row",
    ),
    slip(
        "dlogits",
        "tmp = torch.zeros_like(logits); tmp[logits.max(1, keepdim=True).indices] = 1\n"
        "dlogits = dnorm_logits + tmp * dlogit_maxes",
        "assignment",
        name="max at whole rows",
    ),
    # dh, dW2, db2
    slip("dh", "dh = logits @ W2.T", "forward_value", value="logits"),
    slip("dh", "dh = dlogits @ W2.T / n", "factor", factor="1/n"),
    slip("dh", "dh = -dlogits @ W2.T", "sign"),
    slip("dW2", "dW2 = dlogits.T @ h", "transposed"),
    slip("dW2", "dW2 = h.T @ dlogits / n", "factor", factor="1/n"),
    slip("dW2", "dW2 = hpreact.T @ dlogits", "other_value", used="hpreact", meant="h"),
    slip("dW2", "dW2 = h.T @ logits", "forward_value", value="logits"),
    slip("db2", "db2 = dlogits.mean(0)", "mean_for_sum", axis="0"),
    slip("db2", "db2 = dlogits", "not_summed", axis="0"),
    slip("db2", "db2 = dlogits.sum(1)", "wrong_axis", axis="1"),
    slip("db2", "db2 = logits.sum(0)", "forward_value", value="logits"),
    # dhpreact
    slip("dhpreact", "dhpreact = (1 - hpreact**2) * dh", "assignment", name="1 - hpreact**2"),
    slip("dhpreact", "dhpreact = (1 - h) * dh", "assignment", name="1 - h"),
    slip("dhpreact", "dhpreact = 1 - h**2", "no_upstream"),
    slip("dhpreact", "dhpreact = dh", "no_local_factor", consumer="h"),
    # dbngain, dbnbias, dbnraw
    slip(
        "dbngain",
        "dbngain = (bndiff * dhpreact).sum(0, keepdim=True)",
        "other_value",
        used="bndiff",
        meant="bnraw",
    ),
    slip("dbngain", "dbngain = bnraw * dhpreact", "not_summed", axis="0"),
    slip("dbngain", "dbngain = (bnraw * dhpreact).sum(1, keepdim=True)", "wrong_axis", axis="1"),
    slip("dbngain", "dbngain = (bnraw * dhpreact).mean(0, keepdim=True)", "mean_for_sum", axis="0"),
    slip("dbnbias", "dbnbias = dhpreact.mean(0, keepdim=True)", "mean_for_sum", axis="0"),
    slip("dbnbias", "dbnbias = dhpreact", "not_summed", axis="0"),
    slip("dbnraw", "dbnraw = dhpreact", "no_local_factor", consumer="hpreact"),
    slip("dbnraw", "dbnraw = bnbias * dhpreact", "other_value", used="bnbias", meant="bngain"),
    # dbnvar_inv, dbnvar
    slip("dbnvar_inv", "dbnvar_inv = bndiff * dbnraw", "not_summed", axis="0"),
    slip(
        "dbnvar_inv",
        "dbnvar_inv = (hprebn * dbnraw).sum(0, keepdim=True)",
        "other_value",
        used="hprebn",
        meant="bndiff",
    ),
    slip("dbnvar", "dbnvar = -0.5 * (bnvar + eps) ** -0.5 * dbnvar_inv", "power_any"),
    slip("dbnvar", "dbnvar = -((bnvar + eps) ** -1.5) * dbnvar_inv", "factor", factor="2"),
    slip("dbnvar", "dbnvar = (bnvar + eps) ** -1.5 * dbnvar_inv", "factor", factor="-2"),
    slip("dbnvar", "dbnvar = -0.5 * bnvar**-1.5 * dbnvar_inv", "eps", name="eps"),
    slip("dbnvar", "dbnvar = 0.5 * (bnvar + eps) ** -1.5 * dbnvar_inv", "sign"),
    # dbndiff2
    slip(
        "dbndiff2",
        "dbndiff2 = 1 / n * torch.ones_like(bndiff2) * dbnvar",
        "factor",
        factor="(n-1)/n",
    ),
    slip("dbndiff2", "dbndiff2 = torch.ones_like(bndiff2) * dbnvar", "factor", factor="n-1"),
    slip("dbndiff2", "dbndiff2 = dbnvar / (n - 1)", "unspread"),
    # dbndiff
    slip("dbndiff", "dbndiff = bnvar_inv * dbnraw", "missing_branch", consumer="bndiff2"),
    slip("dbndiff", "dbndiff = 2 * bndiff * dbndiff2", "missing_branch", consumer="bnraw"),
    slip(
        "dbndiff",
        "dbndiff = bnvar_inv * dbnraw + bndiff * dbndiff2",
        "branch_factor",
        consumer="bndiff2",
        factor="1/2",
    ),
    slip(
        "dbndiff",
        "dbndiff = bnvar * dbnraw + 2 * bndiff * dbndiff2",
        "other_value",
        used="bnvar",
        meant="bnvar_inv",
    ),
    # dbnmeani, dhprebn
    slip("dbnmeani", "dbnmeani = dbndiff.sum(0, keepdim=True)", "sign"),
    slip("dbnmeani", "dbnmeani = -dbndiff", "not_summed", axis="0"),
    slip("dbnmeani", "dbnmeani = -dbndiff.mean(0, keepdim=True)", "mean_for_sum", axis="0"),
    slip("dhprebn", "dhprebn = dbndiff.clone()", "missing_branch", consumer="bnmeani"),
    slip(
        "dhprebn",
        "dhprebn = dbndiff + dbnmeani",
        "branch_factor",
        consumer="bnmeani",
        factor="n",
    ),
    # the first layer and the embedding
    slip("dembcat", "dembcat = hprebn @ W1.T", "forward_value", value="hprebn"),
    slip("dW1", "dW1 = dembcat.T @ dhprebn", "other_value", used="dembcat", meant="embcat"),
    slip("dW1", "dW1 = dhprebn.T @ embcat", "transposed"),
    slip("db1", "db1 = dhprebn.mean(0)", "mean_for_sum", axis="0"),
    slip("db1", "db1 = -dhprebn.sum(0)", "sign"),
    slip("db1", "db1 = dhprebn", "not_summed", axis="0"),
    slip(
        "demb",
        "demb = dembcat.view(emb.shape[0], emb.shape[2], emb.shape[1]).transpose(1, 2)",
        "reshaped",
    ),
    slip("dC", "dC = torch.zeros_like(C); dC[Xb] = demb", "overwritten"),
    slip("dC", "dC = torch.zeros_like(C); dC[Xb] += demb", "overwritten"),
    # exercise 2
    Slip(
        CROSS_ENTROPY,
        "dlogits",
        "dlogits = F.softmax(logits, 1); dlogits[range(n), Yb] -= 1",
        "factor",
        {"factor": "n"},
    ),
    Slip(
        CROSS_ENTROPY,
        "dlogits",
        "dlogits = (F.one_hot(Yb, logits.shape[1]) - F.softmax(logits, 1)) / n",
        "sign",
        {},
    ),
    Slip(
        CROSS_ENTROPY,
        "dlogits",
        "dlogits = F.softmax(logits, 1) / n",
        "assignment",
        {"name": "label not subtracted"},
    ),
    Slip(
        CROSS_ENTROPY,
        "dlogits",
        "dlogits = (F.softmax(logits, 0) - F.one_hot(Yb, logits.shape[1])) / n",
        "assignment",
        {"name": "softmax over the wrong axis"},
    ),
    # exercise 3
    Slip(
        BATCH_NORM,
        "dhprebn",
        "dhprebn = bngain*bnvar_inv/n * (n*dhpreact - n/(n-1)*bnraw*(dhpreact*bnraw).sum(0))",
        "assignment",
        {"name": "mean term missing"},
    ),
    Slip(
        BATCH_NORM,
        "dhprebn",
        "dhprebn = bngain*bnvar_inv/n * (n*dhpreact - dhpreact.sum(0))",
        "assignment",
        {"name": "variance term missing"},
    ),
    Slip(
        BATCH_NORM,
        "dhprebn",
        "dhprebn = bngain*bnvar_inv*dhpreact",
        "assignment",
        {"name": "mean and variance as constants"},
    ),
    Slip(
        BATCH_NORM,
        "dhprebn",
        "dhprebn = bngain*bnvar_inv/n * "
        "(n*dhpreact - dhpreact.sum(0) - bnraw*(dhpreact*bnraw).sum(0))",
        "assignment",
        {"name": "n for n - 1"},
    ),
    Slip(
        BATCH_NORM,
        "dhprebn",
        "dhprebn = bngain*bnvar_inv/n * "
        "(n*hpreact - hpreact.sum(0) - n/(n-1)*bnraw*(hpreact*bnraw).sum(0))",
        "assignment",
        {"name": "hpreact for dhpreact"},
    ),
)


# Exercise 4: the whole of `backward`, with one line of it as given.
_BACKWARD = """
def backward(
    Xb, Yb, C, W1, b1, W2, b2, bngain, bnbias,
    emb, embcat, hprebn, bnmean, bnvar, bnvar_inv, bnraw, hpreact, h, logits,
):
    dlogits = F.softmax(logits, 1)
    dlogits[range(n), Yb] -= 1
    dlogits /= n
    dh = dlogits @ W2.T
    dW2 = h.T @ dlogits
    db2 = dlogits.sum(0)
    dhpreact = (1.0 - h**2) * dh
    dbngain = (bnraw * dhpreact).sum(0, keepdim=True)
    dbnbias = dhpreact.sum(0, keepdim=True)
    dhprebn = bngain*bnvar_inv/n * (
        n*dhpreact - dhpreact.sum(0) - n/(n-1)*bnraw*(dhpreact*bnraw).sum(0))
    dembcat = dhprebn @ W1.T
    dW1 = embcat.T @ dhprebn
    db1 = dhprebn.sum(0)
    demb = dembcat.view(emb.shape)
    dC = torch.zeros_like(C)
    dC.index_add_(0, Xb.view(-1), demb.view(-1, demb.shape[-1]))
    return [dC, dW1, db1, dW2, db2, dbngain, dbnbias]
"""


def in_training(answer: str, line: str, instead: str, named: str, **parts: str) -> Slip:
    code = _BACKWARD.replace(line, instead)
    assert code != _BACKWARD, f"{line!r} is not in backward"
    return Slip(TRAINING, "backward", code, named, parts, answer)


WRONG += (
    in_training("dW2", "h.T @ dlogits", "h.T @ dlogits / n", "factor", factor="1/n"),
    in_training("db2", "dlogits.sum(0)", "dlogits.mean(0)", "mean_for_sum", axis="0"),
    in_training(
        "dbngain",
        "(bnraw * dhpreact)",
        "(hpreact * dhpreact)",
        "assignment",
        name="hpreact for bnraw",
    ),
    in_training("dbnbias", "dbnbias = dhpreact", "dbnbias = -dhpreact", "sign"),
    in_training("dW1", "embcat.T @ dhprebn", "(dhprebn.T @ embcat)", "transposed"),
    in_training(
        "dC",
        "dC.index_add_(0, Xb.view(-1), demb.view(-1, demb.shape[-1]))",
        "dC[Xb] = demb",
        "overwritten",
    ),
    # On the way to what is asked for: laid to the nearest gradient that is made from it.
    in_training("dW2", "    dlogits /= n\n", "", "factor", factor="n"),
    in_training("dbngain", "dh = dlogits @ W2.T", "dh = -dlogits @ W2.T", "sign"),
    in_training("dW1", "n/(n-1)*bnraw", "bnraw", "assignment", name="n for n - 1"),
    in_training("dC", "dembcat = dhprebn @ W1.T", "dembcat = -dhprebn @ W1.T", "sign"),
)


def form(name: str, **cells: str) -> Right:
    return Right(EVERY_STEP, name, cells)


RIGHT = (
    form(
        "loop_for_dlogprobs",
        dlogprobs="dlogprobs = torch.zeros_like(logprobs)\nfor i in range(n):\n    dlogprobs[i, Yb[i]] = -1 / n",
    ),
    form("one_hot_dlogprobs", dlogprobs="dlogprobs = -F.one_hot(Yb, 27) / n"),
    form(
        "scatter_dlogprobs",
        dlogprobs="dlogprobs = torch.zeros_like(logprobs).scatter_(1, Yb[:, None], -1.0 / n)",
    ),
    form(
        "hard_coded_batch",
        dlogprobs="dlogprobs = torch.zeros_like(logprobs); dlogprobs[range(32), Yb] = -1.0 / 32",
    ),
    form("probs_to_the_minus_one", dprobs="dprobs = probs**-1 * dlogprobs"),
    form(
        "einsum_dcounts_sum_inv",
        dcounts_sum_inv="dcounts_sum_inv = torch.einsum('ij,ij->i', counts, dprobs)[:, None]",
    ),
    form(
        "flat_dcounts_sum_inv",
        dcounts_sum_inv="dcounts_sum_inv = (counts * dprobs).sum(1)",
        dcounts_sum="dcounts_sum = -(counts_sum**-2) * dcounts_sum_inv.view(-1, 1)",
    ),
    form(
        "dcounts_sum_by_the_inverse",
        dcounts_sum="dcounts_sum = -counts_sum_inv**2 * dcounts_sum_inv",
    ),
    form("expand_as", dcounts="dcounts = counts_sum_inv * dprobs + dcounts_sum.expand_as(counts)"),
    form(
        "in_place_dcounts",
        dcounts="dcounts = counts_sum_inv * dprobs\ndcounts += torch.ones_like(counts) * dcounts_sum",
    ),
    form("dnorm_logits_by_exp", dnorm_logits="dnorm_logits = norm_logits.exp() * dcounts"),
    form("mul_in_place", dnorm_logits="dnorm_logits = dcounts.clone().mul_(counts)"),
    form("flat_logit_maxes", dlogit_maxes="dlogit_maxes = -dnorm_logits.sum(1)"),
    form(
        "max_by_comparison",
        dlogits="dlogits = dnorm_logits + (logits == logit_maxes) * dlogit_maxes",
    ),
    form(
        "max_by_indexing",
        dlogits="dlogits = dnorm_logits.clone()\ndlogits[range(n), logits.argmax(1)] += dlogit_maxes.view(-1)",
    ),
    form(
        "max_by_scatter_add",
        dlogits="dlogits = dnorm_logits.clone().scatter_add_(1, logits.argmax(1, keepdim=True), dlogit_maxes)",
    ),
    form(
        "aliased_upstream",
        dlogits="dlogits = dnorm_logits\ndlogits += F.one_hot(logits.max(1).indices, 27) * dlogit_maxes",
    ),
    form(
        "closed_form_dlogits",
        dlogits="dlogits = F.softmax(logits, 1); dlogits[range(n), Yb] -= 1; dlogits /= n",
    ),
    form("einsum_dh", dh="dh = torch.einsum('ij,kj->ik', dlogits, W2)"),
    form("loop_dW2", dW2="dW2 = sum(torch.outer(h[i], dlogits[i]) for i in range(n))"),
    form("row_of_ones_db2", db2="db2 = torch.ones(1, n) @ dlogits"),
    form("tanh_again", dhpreact="dhpreact = dh - dh * torch.tanh(hpreact)**2"),
    form("double_dhpreact", dhpreact="dhpreact = ((1 - h.double() ** 2) * dh.double()).float()"),
    form("cosh", dhpreact="dhpreact = dh / torch.cosh(hpreact)**2"),
    form("flat_bngain", dbngain="dbngain = (bnraw * dhpreact).sum(0)"),
    form("flat_bnbias", dbnbias="dbnbias = dhpreact.sum(0)"),
    form("flat_bnvar", dbnvar="dbnvar = (-0.5 * (bnvar + eps)**-1.5 * dbnvar_inv).squeeze()"),
    form("dbnvar_by_the_inverse", dbnvar="dbnvar = -0.5 * bnvar_inv**3 * dbnvar_inv"),
    form("expanded_bndiff2", dbndiff2="dbndiff2 = (dbnvar / (n - 1)).expand(n, -1)"),
    form("repeated_bndiff2", dbndiff2="dbndiff2 = dbnvar.repeat(n, 1) / (n - 1)"),
    form("flat_bnmeani", dbnmeani="dbnmeani = -dbndiff.sum(0)"),
    form(
        "bnmeani_of_both_branches",
        dbnmeani="dbnmeani = (-torch.ones_like(bndiff) * dbndiff).sum(0, keepdim=True)",
    ),
    form(
        "closed_form_dhprebn",
        dhprebn="dhprebn = bngain*bnvar_inv/n * (n*dhpreact - dhpreact.sum(0) - n/(n-1)*bnraw*(dhpreact*bnraw).sum(0))",
    ),
    form(
        "matmul_dC",
        dC="dC = F.one_hot(Xb.view(-1), C.shape[0]).float().T @ demb.reshape(-1, demb.shape[2])",
    ),
    form(
        "index_add_dC",
        dC="dC = torch.zeros_like(C).index_add_(0, Xb.flatten(), demb.flatten(0, 1))",
    ),
    form("index_put_dC", dC="dC = torch.zeros_like(C).index_put_((Xb,), demb, accumulate=True)"),
    form(
        "scatter_add_dC",
        dC="dC = torch.zeros_like(C).scatter_add_(0, Xb.view(-1, 1).expand(-1, C.shape[1]), demb.view(-1, C.shape[1]))",
    ),
    form(
        "loop_dC",
        dC="dC = torch.zeros_like(C)\nfor k in range(Xb.shape[0]):\n    for j in range(Xb.shape[1]):\n        dC[Xb[k, j]] += demb[k, j]",
    ),
    form("non_contiguous_dW1", dW1="dW1 = (dhprebn.T @ embcat).T"),
    form("db1_of_shape_1_64", db1="db1 = dhprebn.sum(0, keepdim=True)"),
    form("exact_zero_db1", db1="db1 = torch.zeros_like(b1)"),
    form("double_db2", db2="db2 = dlogits.double().sum(0)"),
    form("demb_by_stack", demb="demb = torch.stack(dembcat.chunk(3, 1), 1)"),
    form(
        "several_in_one_cell",
        dh="dh = dlogits @ W2.T; dW2 = h.T @ dlogits; db2 = dlogits.sum(0)\ndhpreact = (1 - h**2) * dh",
        dW2="",
        db2="",
        dhpreact="",
    ),
    form(
        "helper_from_an_earlier_cell",
        dlogprobs="def rows(x):\n    return x.sum(0, keepdim=True)\n"
        "dlogprobs = torch.zeros_like(logprobs); dlogprobs[range(n), Yb] = -1.0 / n",
        dbngain="dbngain = rows(bnraw * dhpreact)",
        dbnbias="dbnbias = rows(dhpreact)",
    ),
    Right(TRAINING, "the_long_way", {"backward": _BACKWARD}),
    Right(
        CROSS_ENTROPY,
        "one_hot",
        {"dlogits": "dlogits = (logits.softmax(1) - F.one_hot(Yb, 27)) / n"},
    ),
    Right(
        CROSS_ENTROPY,
        "log_softmax",
        {
            "dlogits": "dlogits = F.log_softmax(logits, 1).exp()\ndlogits[torch.arange(n), Yb] -= 1\ndlogits = dlogits / n"
        },
    ),
    Right(
        BATCH_NORM,
        "by_means",
        {
            "dhprebn": "g = dhpreact * bngain\ndhprebn = bnvar_inv * (g - g.mean(0) - bnraw * (g * bnraw).sum(0) / (n - 1))"
        },
    ),
)
