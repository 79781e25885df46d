"""check.py, the student's one file: what it says, and that it needs nothing but torch."""

import importlib.util
import re
import shutil
import string
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import matplotlib
import matplotlib.pyplot as plt
import pytest
import torch

CHECK = Path(__file__).parents[1] / "source" / "backprop" / "check.py"

N, HIDDEN = 32, 64
WANT = torch.randn((N, HIDDEN), generator=torch.Generator().manual_seed(1))


@pytest.fixture
def check() -> ModuleType:
    """check.py as a fresh module."""
    spec = importlib.util.spec_from_file_location("check_under_test", CHECK)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def with_grad(want: torch.Tensor) -> torch.Tensor:
    """A tensor whose .grad is `want`."""
    x = torch.zeros_like(want, requires_grad=True)
    x.grad = want
    return x


def changed(want: torch.Tensor, entry: tuple[int, ...], by: float) -> torch.Tensor:
    got = want.clone()
    got[entry] += by
    return got


SAYS = {
    "the same floats": (WANT.clone(), "exact: True  | approximate: True  | maxdiff: 0 .*exact"),
    "rounding": (WANT * (1 + 1e-7), "exact: False | approximate: True .*close: only rounding"),
    "a small term missing": (
        changed(WANT, (3, 5), 3e-3),
        "approximate: False .*near: .*furthest at \\[3, 5\\]",
    ),
    "a large error": (changed(WANT, (3, 5), 3.0), "off; furthest at \\[3, 5\\]"),
    "a wrong sign": (-WANT, "off; yours is -1 times the target"),
    "one over n left out": (WANT * 32, "off; yours is 32 times the target"),
    "zeros": (torch.zeros_like(WANT), "off; yours is 0 everywhere"),
    "None": (None, "not attempted yet"),
    "a list": ([1.0, 2.0], "this is a list, not a tensor"),
    "a number": (0.5, "this is a float, not a tensor"),
    "integers": (
        torch.ones(N, HIDDEN, dtype=torch.int64),
        "dtype int64: a gradient is a tensor of",
    ),
    "booleans": (WANT > 0, "dtype bool"),
    "float64": (WANT.double(), "exact: True"),
    "NaN": (changed(WANT, (0, 0), float("nan")), "1 of 2048 entries are NaN or infinite"),
    "transposed": (WANT.T, r"shape \(64, 32\), but X has \(32, 64\)"),
    "a row that would broadcast": (WANT[:1], "by broadcasting it would fit"),
    "a scalar that would broadcast": (WANT[0, 0], "by broadcasting it would fit"),
    "still attached to a graph": (WANT.clone().requires_grad_() * 1, "exact: True"),
}


@pytest.mark.parametrize("case", SAYS)
def test_cmp_says(case: str, check: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    got, line = SAYS[case]
    check.cmp("X", got, with_grad(WANT))
    said = capsys.readouterr()
    right = "approximate: True" in line or line == "exact: True"
    text = said.out if right else said.err  # what needs attention is coloured by Jupyter
    assert text.startswith("X               | ")
    assert text.count("\n") == 1
    assert re.search(line, text), text


def test_axes_of_size_one_are_accepted_with_a_remark(
    check: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    check.cmp("bnmeani", WANT[0], with_grad(WANT[:1]))
    assert "(64,) where bnmeani has (1, 64): accepted" in capsys.readouterr().out


def test_a_reference_without_grad_names_the_cell_to_run(
    check: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    leaf = torch.zeros(3, requires_grad=True)
    check.cmp("X", torch.zeros(3), leaf)
    check.cmp("X", torch.zeros(3), leaf * 2)  # not a leaf, nothing retained
    said = capsys.readouterr().err
    assert said.count("X has no .grad; run the given cell with loss.backward()") == 2


def test_a_true_gradient_of_zero_is_met_by_rounding_noise(
    check: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    check.cmp("b1", torch.full((64,), 2e-9), with_grad(torch.full((64,), -1e-9)))
    said = capsys.readouterr().out
    assert "close" in said
    assert "a wrong sign would not show" in said


def test_progress_counts_what_is_right_and_names_the_next(
    check: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("logprobs", "probs"):
        check.cmp(name, WANT.clone(), with_grad(WANT))
    check.cmp("probs", -WANT, with_grad(WANT))  # a right answer that was spoilt later
    capsys.readouterr()
    check.progress()
    check.progress("logprobs")
    assert capsys.readouterr().out == (
        "1 of 26 gradients right; next: dprobs\n1 of 1 gradients right; all done\n"
    )


def test_skip_gives_autograds_value_which_does_not_count(
    check: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    names = {"skip": check.skip, "X": with_grad(WANT)}
    exec("dX = skip('X')", names)
    assert torch.equal(names["dX"], WANT)
    check.cmp("X", names["dX"], names["X"])
    check.progress("X")
    said = capsys.readouterr()
    assert "skipped: autograd's value, no points" in said.err
    assert said.out.startswith("0 of 1")


@pytest.mark.parametrize("there", [{}, {"X": 3}, {"X": torch.zeros(2, requires_grad=True)}])
def test_skip_without_a_gradient_says_what_to_run(
    there: dict[str, object], check: ModuleType
) -> None:
    with pytest.raises(LookupError, match=r"no tensor X with a .grad here; run the given cells"):
        exec("skip('X')", {"skip": check.skip, **there})


def told(check: ModuleType, capsys: pytest.CaptureFixture[str], **names: object) -> tuple[str, str]:
    """What `invariants()` says in a notebook that holds these variables: true and untrue claims."""
    exec("invariants()", {"invariants": check.invariants, **names})
    said = capsys.readouterr()
    return said.out, said.err


CENTRED = WANT - WANT.mean(1, keepdim=True)
COLUMNS = WANT - WANT.mean(0, keepdim=True)
XB = torch.tensor([[0, 1, 1], [0, 3, 1]])
TABLE = torch.zeros(5, 2).index_fill_(0, torch.tensor([0, 1, 3]), 1.0)
INVARIANTS = {
    "rows of dlogits": ({"dlogits": CENTRED, "logits": WANT}, {"dlogits": WANT, "logits": WANT}),
    "columns of dhprebn": ({"dhprebn": COLUMNS, "hprebn": WANT}, {"dhprebn": WANT, "hprebn": WANT}),
    "db1": (
        {"dhprebn": COLUMNS, "hprebn": WANT, "b1": WANT[0], "db1": COLUMNS.sum(0)},
        {"dhprebn": COLUMNS, "hprebn": WANT, "b1": WANT[0], "db1": WANT.sum(0)},
    ),
    "rows of dC": (
        {"Xb": XB, "C": TABLE, "dC": TABLE},
        {"Xb": XB, "C": TABLE, "dC": TABLE + 1},
    ),
    "shapes": ({"dh": WANT, "h": WANT}, {"dh": WANT.T, "h": WANT}),
}


@pytest.mark.parametrize("case", INVARIANTS)
def test_an_invariant_holds_for_right_answers_and_not_for_wrong_ones(
    case: str, check: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    right, wrong = INVARIANTS[case]
    out, err = told(check, capsys, **right)
    assert "holds" in out
    assert not err
    out, err = told(check, capsys, **wrong)
    assert err.count("\n") == 1


def test_invariants_before_any_answer_say_so(
    check: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    assert told(check, capsys, logits=WANT, dlogits=None) == ("no gradients here yet\n", "")


def test_numerical_agrees_with_autograd(
    check: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    x = torch.randn((4, 3), generator=torch.Generator().manual_seed(2), requires_grad=True)
    loss = x.exp().sum(0).log().sum()
    loss.backward()
    slopes = check.numerical(lambda x: x.exp().sum(0).log().sum(), x, x.grad)
    assert "close" in capsys.readouterr().out
    assert slopes.dtype == torch.float64
    assert (slopes - x.grad).abs().max() < 1e-6


def test_numerical_refuses_float32_where_it_would_mislead(check: ModuleType) -> None:
    with pytest.raises(TypeError, match="use float64"):
        check.numerical(lambda x: x.float().sum(), torch.ones(3))


class Grading:
    """What a grader puts into `check._grading`."""

    def skip(self, name: str) -> torch.Tensor:
        return torch.ones(2)


def test_everything_is_silent_while_grading(
    check: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not check.grading()
    check._grading = Grading()
    assert check.grading()
    check.cmp("X", None, WANT, show=True)
    check.progress()
    check.invariants()
    check.picture(("X", WANT))
    assert check.numerical(lambda x: x.sum(), WANT, WANT).isnan().all()
    assert torch.equal(check.skip("X"), torch.ones(2))
    assert capsys.readouterr() == ("", "")


def test_show_draws_yours_the_target_and_the_difference(check: ModuleType) -> None:
    matplotlib.use("agg")
    for got, want in ((WANT, WANT), (WANT[0], WANT[:1]), (WANT[0, 0], WANT[0, 0])):
        check.pictures("X", got, want)
    check.picture(("emb", torch.zeros(4, 3, 10)))
    titles = [axis.get_title() for axis in plt.figure(1).axes if axis.get_title()]
    assert titles == ["dX: yours", "target", "difference"]
    plt.close("all")


def test_every_sentence_exists_in_both_languages_with_the_same_parts(check: ModuleType) -> None:
    def parts(text: str) -> set[str]:
        return {name for _, name, _, _ in string.Formatter().parse(text) if name}

    for en, zh in check.WORDS.values():
        assert en
        assert zh
        assert parts(en) == parts(zh)


def test_the_language_is_the_instructors_choice(
    check: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    check.LANGUAGE = "zh"
    check.cmp("logits", None, WANT)
    check.progress("logits")
    said = capsys.readouterr()
    assert said.err == "logits          | 还没有作答\n"
    assert said.out == "1 个梯度中已有 0 个正确;下一个:dlogits\n"


SMALL_NOTEBOOK = """
import sys
sys.modules["matplotlib"] = None  # as if it were not installed
import torch
from check import cmp
x = torch.ones(3, requires_grad=True)
(x * x).sum().backward()
cmp("x", 2 * x, x, show=True)
cmp("x", x, x)
"""


def test_it_works_in_a_folder_that_holds_nothing_else(tmp_path: Path) -> None:
    shutil.copy(CHECK, tmp_path)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SMALL_NOTEBOOK],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "No picture: matplotlib is not installed" in done.stdout
    assert "exact: True" in done.stdout
    assert done.stderr.startswith("x               | exact: False")
