"""Compare the gradients you wrote by hand with autograd's, one line each.

    cmp('logits', dlogits, logits)              how close dlogits is to logits.grad
    cmp('logits', dlogits, logits, show=True)   and a picture: yours, the target, the difference
    progress()                                  how many are right, and which one comes next
    invariants()                                what any right answer obeys; needs no reference
    numerical(f, x)                             df/dx by central differences, in float64
    skip('logits')                              autograd's own dlogits, for whoever is stuck
    differences()                               at the end of a forward pass in NumPy, instead of autograd

A line that needs your attention goes to stderr: Jupyter colours it, `nbgrader validate` sees it.
Needs NumPy, and torch only where your notebook does; pictures need matplotlib. While your notebook is
being graded all of this keeps silent: the grader has its own reference, and no mark is read from what is
printed here.
"""

import ast
import linecache
import os
import sys

import numpy as np

LANGUAGE = "en"  # or "zh"; the release has the assignment's own, from its assignment.toml

CLOSE = 1e-5  # largest error, relative to the target's largest entry, that rounding can explain
NEAR = 1e-2  # up to here something small is missing; beyond it something large is
FLOOR = 5e-8  # smaller differences are rounding even where the true gradient is zero

# The gradients of exercise 1 in the order of the backward pass; the others use a few of them.
# fmt: off
EVERY_STEP = (
    "logprobs", "probs", "counts_sum_inv", "counts_sum", "counts", "norm_logits", "logit_maxes",
    "logits", "h", "W2", "b2", "hpreact", "bngain", "bnbias", "bnraw", "bnvar_inv", "bnvar",
    "bndiff2", "bndiff", "bnmeani", "hprebn", "embcat", "W1", "b1", "emb", "C",
)
# fmt: on

WORDS = {
    "exact": ("exact: the very same floats", "完全相等:每一位都相同"),
    "close": ("close: only rounding differs", "足够接近:只差舍入误差"),
    "near": ("near: something small is missing", "很近,但漏掉了一个小项"),
    "off": ("off", "不对"),
    "shape": (
        "shape {got}, but {name} has {want}: a gradient has the shape of its variable",
        "形状是 {got},而 {name} 是 {want}:梯度与它所对应的变量形状相同",
    ),
    "spread": (
        "; by broadcasting it would fit, but each entry of {name} has a gradient of its own",
        ";靠广播能对上,但 {name} 的每个元素都有自己的梯度",
    ),
    "flat": (
        "; shape {got} where {name} has {want}: accepted, only axes of size 1 differ",
        ";形状是 {got},{name} 是 {want}:只差长度为 1 的轴,可以接受",
    ),
    "vanishing": (
        "; the true gradient is 0: a wrong sign would not show here",
        ";真实梯度为 0:符号错误在这里看不出来",
    ),
    "none": ("not attempted yet", "还没有作答"),
    "skipped": ("skipped: autograd's value, no points", "已跳过:用的是 autograd 的值,不得分"),
    "not a tensor": ("this is a {kind}, not a tensor", "这是 {kind},不是张量"),
    "dtype": (
        "dtype {kind}: a gradient is a tensor of floats",
        "数据类型是 {kind}:梯度应是浮点张量",
    ),
    "not finite": (
        "{count} of {total} entries are NaN or infinite: look for a division by 0 or the log of 0",
        "{total} 个元素里有 {count} 个是 NaN 或无穷:检查是否除以 0 或对 0 取对数",
    ),
    "no grad": (
        "nothing to compare with: {name} has no .grad; run the given cell with loss.backward(), "
        "then this one",
        "没有可比的对象:{name} 没有 .grad;请先运行含 loss.backward() 的单元格,再运行这一格",
    ),
    "no differences": (
        "nothing to compare with: run the given cell of the forward pass, then this one",
        "没有可比的对象:请先运行前向传播的单元格,再运行这一格",
    ),
    "zero": ("; yours is 0 everywhere", ";你的结果处处为 0"),
    "factor": ("; yours is {factor:.4g} times the target", ";你的结果是目标的 {factor:.4g} 倍"),
    "worst": (
        "; furthest at {at}: {got:.4g}, target {want:.4g}",
        ";差得最多的位置 {at}:你的 {got:.4g},目标 {want:.4g}",
    ),
    "progress": ("{right} of {total} gradients right", "{total} 个梯度中已有 {right} 个正确"),
    "next": ("; next: d{name}", ";下一个:d{name}"),
    "all right": ("; all done", ";全部完成"),
    "holds": ("holds", "成立"),
    "fails": ("does not hold (largest: {size:.2g})", "不成立(最大偏差:{size:.2g})"),
    "shapes": ("every dX has the shape of X", "每个 dX 与 X 形状相同"),
    "rows": ("every row of {name} sums to 0", "{name} 的每一行之和为 0"),
    "columns": ("every column of {name} sums to about 0", "{name} 的每一列之和约为 0"),
    "vanishes": ("{name} is about 0", "{name} 约为 0"),
    "absent": (
        "rows of dC are 0 for characters that are not in the batch",
        "批次里没有出现的字符,dC 对应的行为 0",
    ),
    "nothing": ("no gradients here yet", "这里还没有梯度"),
    "no picture": (
        "No picture: matplotlib is not installed (pip install matplotlib)",
        "无法画图:没有安装 matplotlib(pip install matplotlib)",
    ),
    "yours": ("yours", "yours"),  # in pictures, where many fonts have no Chinese
    "target": ("target", "target"),
    "difference": ("difference", "difference"),
    "unknown": (
        "skip('{name}'): no tensor {name} with a .grad here; run the given cells above first",
        "skip('{name}'):这里没有带 .grad 的张量 {name};请先运行上面给出的单元格",
    ),
    "float32": (
        "f worked in float32, where rounding drowns differences; use float64: x.double()",
        "f 用的是 float32,差分会被舍入误差淹没;请给它 float64 张量:x.double()",
    ),
}

_grading = None  # set from outside while the notebook is being graded
_results = {}  # what cmp last said of each name
_skipped = {}  # what skip() handed out, by name
_forward = []  # of a forward pass in NumPy: its statements, the notebook's names there, the loss


def grading():
    """Whether the notebook is being graded: then given cells leave out what only people look at."""
    return _grading is not None


def say(key, **parts):
    """A sentence of the table above in the language of the course."""
    return WORDS[key][LANGUAGE == "zh"].format(**parts)


def cmp(name, got, tensor=None, *, want=None, show=False):
    """Print how `got` compares with `tensor.grad`, or with `want` where that is given."""
    if grading():
        return
    if isinstance(tensor, list) and isinstance(got, list) and len(got) == len(tensor):
        names = [f"{name}[{i}]" for i in range(len(got))]
        for each in zip(names, got, tensor, strict=True):
            cmp(*each, show=show)
        right = all(_results[one] in ("exact", "close") for one in names)
        _results[name] = "close" if right else "off"
        return
    if want is None and got is not None:
        want = reference(name, tensor)
    level, words = judge(name, got, want)
    _results[name] = level
    if level in ("exact", "close", "near", "off"):
        largest = np.abs(plain(got).reshape(plain(want).shape) - plain(want)).max(initial=0)
        approximate = str(level in ("exact", "close"))
        words = (
            f"exact: {level == 'exact'!s:5} | approximate: {approximate:5} "
            f"| maxdiff: {largest:<9.3g} | {words}"
        )
        if show:
            pictures(name, got, want)
    print(f"{name:15s} | {words}", file=sys.stdout if level in ("exact", "close") else sys.stderr)


def reference(name, value):
    """What autograd left of the gradient of a tensor; of an array, central differences. None without."""
    if is_torch(value):
        return value.grad if value.is_leaf or value.retains_grad else None
    return _slopes(name) if is_array(value) else None


def judge(name, got, want):
    """Say how `got` compares with `want`: a rung of the ladder, and the words for it."""
    if got is None:
        return "none", say("none")
    number = isinstance(got, (bool, int, float)) and getattr(want, "shape", ()) == ()
    if not (is_array(got) or number):
        return "not a tensor", say("not a tensor", kind=type(got).__name__)
    if got is _skipped.get(name):
        return "skipped", say("skipped")
    if not number and is_float(want) and not is_float(got):
        return "dtype", say("dtype", kind=str(got.dtype).removeprefix("torch."))
    if want is None:
        return "no grad", say("no grad" if is_torch(got) else "no differences", name=name)

    got, want = plain(got), plain(want)
    shapes = {"name": name, "got": got.shape, "want": want.shape}
    if squeezed(got.shape) != squeezed(want.shape):
        words = say("shape", **shapes)
        return "shape", words + (say("spread", **shapes) if spreads(got, want) else "")
    remark = say("flat", **shapes) if got.shape != want.shape else ""

    got = got.reshape(want.shape)
    unfit = (~np.isfinite(got)).sum()
    if unfit:
        return "not finite", say("not finite", count=unfit, total=got.size)
    if np.array_equal(got, want):
        return "exact", say("exact") + remark
    error, scale = np.abs(got - want).max(), np.abs(want).max()
    if error <= CLOSE * scale + FLOOR:
        return "close", say("close") + (say("vanishing") if scale <= FLOOR else "") + remark
    level = "near" if error <= NEAR * scale else "off"
    return level, say(level) + explain(got, want) + remark


def explain(got, want):
    """What can be seen of a wrong gradient: a constant factor, or where it is furthest off."""
    if not got.any():
        return say("zero")
    if want.any():
        factor = (got * want).sum() / (want * want).sum()
        if np.abs(got - factor * want).max() <= 1e-4 * np.abs(got).max():
            return say("factor", factor=factor)
    at = np.unravel_index(np.abs(got - want).argmax(), want.shape)
    return say("worst", at=[int(i) for i in at], got=got[at], want=want[at])


def is_torch(value):
    """Whether it is a tensor; torch is not imported for that."""
    return hasattr(value, "detach")


def is_array(value):
    """Whether it is a tensor, an array, or one of NumPy's numbers."""
    return is_torch(value) or isinstance(value, (np.ndarray, np.generic))


def is_float(value):
    """Whether its numbers are floats; so they are where there is nothing to compare with."""
    if is_torch(value):
        return value.dtype.is_floating_point
    return value is None or np.asarray(value).dtype.kind == "f"


def plain(value):
    """The numbers alone, as an array of float64."""
    return np.asarray(value.detach().double() if is_torch(value) else value, dtype=np.float64)


def squeezed(shape):
    """The shape without its axes of size 1."""
    return [size for size in shape if size != 1]


def spreads(got, want):
    """Whether broadcasting would stretch `got` to the shape of `want`."""
    try:
        return np.broadcast_shapes(got.shape, want.shape) == want.shape
    except ValueError:
        return False


def progress(*names):
    """Print how many gradients are right and which comes next; by default those of exercise 1."""
    if grading():
        return
    names = names or EVERY_STEP
    left = [name for name in names if _results.get(name) not in ("exact", "close")]
    line = say("progress", right=len(names) - len(left), total=len(names))
    print(line + (say("next", name=left[0]) if left else say("all right")))


def invariants():
    """Print what any right answer obeys, for the gradients that exist in the calling notebook."""
    if grading():
        return
    known = sys._getframe(1).f_globals
    pairs = [(name, known.get("d" + name), known.get(name)) for name in EVERY_STEP]
    pairs = [(name, plain(dx), plain(x)) for name, dx, x in pairs if is_array(dx) and is_array(x)]
    if not pairs:
        print(say("nothing"))
        return
    bent = ["d" + name for name, dx, x in pairs if squeezed(dx.shape) != squeezed(x.shape)]
    _tell(say("shapes"), not bent, ", ".join(bent))

    have = {name: dx for name, dx, x in pairs if squeezed(dx.shape) == squeezed(x.shape)}
    for key, name, axis in (
        ("rows", "logits", 1),
        ("rows", "norm_logits", 1),
        ("columns", "hprebn", 0),
    ):
        if name in have:
            dx = have[name]
            _holds(say(key, name="d" + name), dx.sum(axis), np.abs(dx).sum(axis).max())
    if "b1" in have and "hprebn" in have:
        scale = np.abs(have["hprebn"]).sum(0).max()
        _holds(say("vanishes", name="db1"), have["b1"], scale)
    if "C" in have and "Xb" in known:
        absent = np.ones(len(have["C"]), dtype=bool)
        absent[plain(known["Xb"]).astype(int)] = False
        _holds(say("absent"), have["C"][absent], 0.0)


def _holds(claim, values, scale):
    """Print whether `values` vanish next to `scale`."""
    size = np.abs(values).max(initial=0)
    _tell(claim, size <= CLOSE * scale, say("fails", size=size))


def _tell(claim, true, otherwise):
    """Print a claim and whether it is true."""
    print(
        f"{claim}: {say('holds') if true else otherwise}", file=sys.stdout if true else sys.stderr
    )


def numerical(f, x, dx=None, step=1e-5):
    """The gradient of the scalar f at x by central differences, one entry at a time.

    `f` is handed a float64 copy of `x`; other tensors that it uses must be float64 too.
    With `dx` it also prints how your gradient compares.
    """
    x = x.detach().double().contiguous().clone() if is_torch(x) else np.array(x, float, order="C")
    gradient = x * float("nan")
    if grading():
        return gradient
    entries, slopes = x.reshape(-1), gradient.reshape(-1)
    for i in range(len(entries)):
        here = float(entries[i])
        entries[i] = here + step
        up = f(x)
        entries[i] = here - step
        down = f(x)
        entries[i] = here
        if not str(getattr(up, "dtype", "float64")).endswith("float64"):
            raise TypeError(say("float32"))
        slopes[i] = (float(up) - float(down)) / (2 * step)
    if dx is not None:
        print(judge("numerical", dx, gradient)[1])
    return gradient


if "HANDGRAD_GRADING" in os.environ:  # whatever is assigned to `_grading`

    def numerical(f, x, dx=None, step=1e-5):
        """Differences are for checking at home: NaN."""
        return x.detach().double() * float("nan") if is_torch(x) else np.full(np.shape(x), np.nan)


def differences(loss="loss"):
    """The last line of a forward pass in NumPy: cmp then compares with central differences of `loss`.

    They run the cell's own lines again, with one entry of one value changed each time.
    """
    if grading() or "HANDGRAD_GRADING" in os.environ:
        return
    frame = sys._getframe(1)
    source = "".join(linecache.getlines(frame.f_code.co_filename))
    lines = [node for node in ast.parse(source).body if isinstance(node, ast.Assign)]
    codes = [compile(ast.Module([line], []), "<forward>", "exec") for line in lines]
    _forward[:] = codes, dict(frame.f_globals), loss


def _slopes(name):
    """The gradient of the forward pass in NumPy with respect to one of its values; None without."""
    codes, known, loss = _forward or ((), {}, "")
    if not (codes and is_array(known.get(name))):
        return None

    def changed(value):
        names = {**known, name: value}
        for code in codes:
            exec(code, names)
            names[name] = value
        return names[loss]

    return numerical(changed, known[name])


def skip(name):
    """The true gradient of `name`, so that later steps can be worked on; it earns no points."""
    if grading():
        return _grading.skip(name)
    given = sys._getframe(1).f_globals.get(name)
    value = reference(name, given)
    if value is None:
        raise LookupError(say("unknown", name=name))
    _skipped[name] = value.clone() if is_torch(value) else value.copy()
    return _skipped[name]


def picture(*titled):
    """Draw (title, tensor) or (title, tensor, size) side by side; colours run from -size to size."""
    if grading():
        return
    try:
        import matplotlib.pyplot as plt
    except ImportError:
        print(say("no picture"))
        return
    _, axes = plt.subplots(1, len(titled), figsize=(4.5 * len(titled), 4), squeeze=False)
    for axis, (title, tensor, *size) in zip(axes[0], titled, strict=True):
        values = plain(tensor)
        values = values.reshape(values.shape[0], -1) if values.ndim > 1 else values.reshape(1, -1)
        size = (size[0] if size else np.abs(values).max()) or 1.0
        drawn = axis.imshow(values, cmap="RdBu", vmin=-size, vmax=size, aspect="auto")
        axis.set_title(title)
        plt.colorbar(drawn, ax=axis)
    plt.tight_layout()
    plt.show()


def pictures(name, got, want):
    """Draw yours and the target on one scale, and the difference on its own."""
    want = plain(want)
    got, size = plain(got).reshape(want.shape), np.abs(want).max()
    picture(
        (f"d{name}: {say('yours')}", got, size),
        (say("target"), want, size),
        (say("difference"), got - want),
    )
