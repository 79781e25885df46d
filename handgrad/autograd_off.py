"""Shuts the doors to autograd, and notes who knocked.

In given cells (the lecture's `loss.backward()`, `t.retain_grad()`) a shut door does nothing; in a
student's cell it raises, and the attempt is kept for a person to look at. The names are gone from
torch, its C module included; whoever digs them out of memory could as well write finite
differences, which no door can be shut against: docs/threat-model.md says so.
"""

import ast
import builtins
import importlib.abc
import importlib.machinery
import linecache
import sys
from collections.abc import Callable, Sequence
from types import FrameType, ModuleType
from typing import cast

import torch

from handgrad.cellcode import index_of, parse
from handgrad.evidence import Attempt
from handgrad.plan import CellKind

_MOST_ATTEMPTS = 200
_LINE_LENGTH = 200

# Other makers of derivatives, should one of them be installed.
_OTHER_ENGINES = frozenset(
    {
        "jax",
        "autograd",
        "tensorflow",
        "tinygrad",
        "mxnet",
        "paddle",
        "micrograd",
        "theano",
        "aesara",
    }
)


class DerivativesByHandError(RuntimeError):
    """A student's cell knocked at a shut door."""


class Doors:
    """Who may knock unheard, and who did not: one for the whole worker, kept across forks."""

    def __init__(self) -> None:
        self.kinds: dict[int, CellKind] = {}
        self.attempts: list[Attempt] = []

    def knock(self, door: str) -> None:
        """Raise and note it where the innermost cell on the stack is a student's."""
        found = _innermost_cell(sys._getframe(1))
        if found is None:
            return
        cell, line = found
        if self.kinds.get(cell, "other") in ("given", "test"):
            return
        self.note(Attempt(cell, door, line))
        raise DerivativesByHandError(
            f"derivatives here are written by hand: {door} is switched off while grading"
        )

    def note(self, attempt: Attempt) -> None:
        """Keep an attempt, once."""
        if attempt not in self.attempts and len(self.attempts) < _MOST_ATTEMPTS:
            self.attempts.append(attempt)


def seen_in(index: int, source: str) -> list[Attempt]:
    """Doors that the code of a cell names, whether or not it ever runs; comments and strings are
    not code. A class with a `backward` of its own is the student's, and free to be called.
    """
    try:
        tree = parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    lines = source.splitlines()
    own = any(
        isinstance(inner, ast.FunctionDef) and inner.name == "backward"
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        for inner in node.body
    )
    found: list[Attempt] = []
    for node in ast.walk(tree):
        door = _door_named(node, own)
        if door:
            number = getattr(node, "lineno", 1)
            line = lines[number - 1] if number <= len(lines) else ""
            found.append(Attempt(index, door, line.strip()[:_LINE_LENGTH]))
    return found


def _door_named(node: ast.AST, own_backward: bool) -> str:
    match node:
        case ast.Call(func=ast.Attribute(attr="backward")) if not own_backward:
            return "Tensor.backward"
        case ast.Attribute(attr="grad", value=ast.Attribute(attr="autograd")):
            return "torch.autograd.grad"
        case ast.Attribute(attr="grad", value=ast.Attribute(attr="func")):
            return "torch.func.grad"
        case ast.Attribute(attr="grad", ctx=ast.Load()):
            return "Tensor.grad"
        case ast.Attribute(attr="autograd", value=ast.Name(id="torch")):
            return "torch.autograd"
        case ast.Import(names=names):
            return next((n.name for n in names if _is_engine(n.name)), "")
        case ast.ImportFrom(module=str(module), names=names):
            if _is_engine(module):
                return module
            inner = [f"{module}.{n.name}" for n in names]
            return next((name for name in inner if _is_engine(name)), "")
        case _:
            return ""


def _is_engine(module: str) -> bool:
    if module.split(".")[0] in _OTHER_ENGINES | {"functorch"}:
        return True
    return any(
        module == door or module.startswith(door + ".") for door in ("torch.autograd", "torch.func")
    )


def shut(doors: Doors) -> None:
    """Shut every door, for this process and all it forks."""
    torch.autograd.set_grad_enabled(False)
    torch._C._set_fwd_grad_enabled(False)
    _shut_tensor(doors)
    _shut_modes(doors)
    _shut_modules(doors)
    _shut_ops(doors)
    sys.meta_path.insert(0, _NoEngines(doors))


def _shut(doors: Doors, holder: object, name: str, door: str, result: object = None) -> None:
    """Replace a function that exists by one that knocks."""
    if not hasattr(holder, name):
        return

    def closed(*_arguments: object, **_keywords: object) -> object:
        doors.knock(door)
        return result

    closed.__name__ = closed.__qualname__ = name
    setattr(holder, name, closed)


def _shut_tensor(doors: Doors) -> None:
    tensor = torch.Tensor
    base = torch._C.TensorBase
    own_grad, own_flag = base.__dict__["grad"], base.__dict__["requires_grad"]
    for name in ("backward", "retain_grad", "register_hook", "register_post_accumulate_grad_hook"):
        _shut(doors, tensor, name, f"Tensor.{name}")

    def get_grad(self: torch.Tensor) -> object:
        held = own_grad.__get__(self)  # what someone assigned; there is no engine to fill it
        if held is None and _called_from_a_cell(sys._getframe(1)):
            doors.knock("Tensor.grad")
        return held

    def set_grad(self: torch.Tensor, value: object) -> None:
        own_grad.__set__(self, value)

    def get_flag(self: torch.Tensor) -> object:
        return own_flag.__get__(self)

    def set_flag(self: torch.Tensor, value: object) -> None:
        if value and _called_from_a_cell(sys._getframe(1)):
            doors.knock("Tensor.requires_grad")

    def require(self: torch.Tensor, requires_grad: bool = True) -> torch.Tensor:
        if requires_grad and _called_from_a_cell(sys._getframe(1)):
            doors.knock("Tensor.requires_grad_")
        return self

    def nothing(self: torch.Tensor) -> None:
        return None

    replaced: dict[str, object] = {
        "grad": property(get_grad, set_grad, lambda self: own_grad.__set__(self, None)),
        "requires_grad": property(get_flag, set_flag),
        "requires_grad_": require,
        "grad_fn": property(nothing),
        "_grad_fn": property(nothing),
    }
    for name, value in replaced.items():
        setattr(tensor, name, value)


def _shut_modes(doors: Doors) -> None:
    """`no_grad` and its kin come through here too, from torch's own files: those pass in silence."""

    def set_mode(mode: object = True, *_rest: object) -> None:
        if mode and _called_from_a_cell(sys._getframe(1), through="grad_mode.py"):
            doors.knock("torch.set_grad_enabled")

    for name in ("_set_grad_enabled", "_set_fwd_grad_enabled"):
        setattr(torch._C, name, set_mode)


def _shut_modules(doors: Doors) -> None:
    import torch.autograd.forward_ad as forward_ad
    import torch.autograd.functional as functional
    import torch.autograd.variable as variable

    class NoEngine:
        """In the place of the engine that runs a graph backward."""

        def __getattr__(self, name: str) -> object:
            doors.knock("torch.autograd")
            return lambda *_arguments, **_keywords: None

    cast(ModuleType, variable.Variable)._execution_engine = NoEngine()  # type: ignore[attr-defined]
    for module, name in (
        (torch._C, "_ImperativeEngine"),
        (torch._C, "_EngineBase"),
        (variable, "ImperativeEngine"),
    ):
        if hasattr(module, name):
            delattr(module, name)
    for name in ("backward", "grad", "gradcheck", "gradgradcheck"):
        _shut(doors, torch.autograd, name, f"torch.autograd.{name}")
    _shut(doors, torch.autograd.Function, "apply", "torch.autograd.Function.apply")
    for name in ("jacobian", "hessian", "vjp", "jvp", "vhp", "hvp"):
        _shut(doors, functional, name, f"torch.autograd.functional.{name}")
    for name in ("make_dual", "enter_dual_level", "dual_level"):
        _shut(doors, forward_ad, name, f"torch.autograd.forward_ad.{name}")
    _shut(doors, torch._C, "_enter_dual_level", "torch.autograd.forward_ad")
    names = ("grad", "grad_and_value", "vjp", "jvp", "jacrev", "jacfwd", "hessian", "linearize")
    for holder in ("torch.func", "torch._functorch.apis", "torch._functorch.eager_transforms"):
        for name in names:
            if holder in sys.modules:
                _shut(doors, sys.modules[holder], name, f"torch.func.{name}")
    for holder in ("torch._functorch.eager_transforms", "torch._functorch.autograd_function"):
        for name in ("_autograd_grad", "grad_impl", "grad_and_value_impl", "_vjp_with_argnums"):
            if holder in sys.modules:
                _shut(doors, sys.modules[holder], name, "torch.func")


def _shut_ops(doors: Doors) -> None:
    """The formulas autograd is made of (`tanh_backward`, `native_batch_norm_backward`)."""
    holders: list[object] = [torch, torch._C._VariableFunctions]
    holders += [
        module
        for name, module in list(sys.modules.items())
        if name.startswith(("torch._decomp", "torch._refs"))
    ]
    for holder in holders:
        for name in dir(holder):
            if "backward" in name or name in ("_make_dual", "_make_dual_copy"):
                try:
                    _shut(doors, holder, name, f"torch.{name}")
                except (AttributeError, TypeError):
                    continue  # an attribute of C that cannot be set; torch's own name for it is
    namespace = type(torch.ops.aten)
    found = namespace.__getattr__

    def look_up(self: object, name: str) -> object:
        if "backward" in name or "dual" in name:
            doors.knock(f"torch.ops.{name}")
        return found(self, name)  # type: ignore[arg-type]

    for name in [name for name in vars(torch.ops.aten) if "backward" in name or "dual" in name]:
        delattr(torch.ops.aten, name)
    namespace.__getattr__ = look_up  # type: ignore[assignment,method-assign]
    operation: Callable[..., object] = torch._C._jit_get_operation

    def get_operation(name: str, *rest: object) -> object:
        if "backward" in name or "dual" in name:
            doors.knock(f"torch.ops.{name}")
        return operation(name, *rest)

    torch._C._jit_get_operation = get_operation  # type: ignore[assignment]


class _NoEngines(importlib.abc.MetaPathFinder):
    """Refuses to import other makers of derivatives."""

    def __init__(self, doors: Doors) -> None:
        self.doors = doors

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if path is None and fullname in _OTHER_ENGINES:
            self.doors.knock(fullname)
        return None


def _called_from_a_cell(frame: FrameType | None, through: str = "") -> bool:
    """Whether a cell's own code asked, not torch on its way through an innocent function."""
    while (
        frame is not None
        and through
        and frame.f_code.co_filename.endswith((through, "_contextlib.py"))
    ):
        frame = frame.f_back
    return frame is not None and index_of(frame.f_code.co_filename) is not None


def _innermost_cell(frame: FrameType | None) -> tuple[int, str] | None:
    while frame is not None:
        index = index_of(frame.f_code.co_filename)
        if index is not None:
            line = linecache.getline(frame.f_code.co_filename, frame.f_lineno)
            return index, line.strip()[:_LINE_LENGTH]
        frame = frame.f_back
    return None


def refuse_input() -> None:
    """`input()` has nobody to ask, and says so at once."""

    def refused(prompt: object = "", /) -> str:
        raise RuntimeError("input() has nobody to ask while grading: give the value in the code")

    builtins.input = refused
