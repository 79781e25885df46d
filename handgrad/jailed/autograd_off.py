"""Shuts the doors to autograd, and notes who knocked.

In given cells (the lecture's `loss.backward()`, `t.retain_grad()`) a shut door does nothing; in a
student's cell it raises, and the attempt is kept for a person to look at. The names are gone from
torch, its C module included. Whoever digs the machinery out of memory could as well write finite
differences, which no door can be shut against: docs/threat-model.md says so.
"""

import _thread
import ctypes
import gc
import importlib.abc
import importlib.machinery
import sys
import threading
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, cast

import torch

from handgrad.jailed.doors import Doors
from handgrad.jailed.doorseen import FUNC_DOORS, OTHER_ENGINES

_IMPORTING = ("<frozen importlib._bootstrap>", "importlib/__init__.py")


def shut(doors: Doors) -> None:
    """Shut every door, for this process and all it forks."""
    set_grad: Callable[[bool], None] = torch._C._set_grad_enabled
    set_forward: Callable[[bool], None] = torch._C._set_fwd_grad_enabled
    set_grad(False)
    set_forward(False)
    _shut_threads(set_grad, set_forward)
    _shut_tensor(doors)
    _shut_modes(doors)
    _shut_engine(doors)
    _shut_modules(doors)
    _shut_formulas(doors)
    sys.meta_path.insert(0, _NoEngines(doors))


def _shut_threads(*modes: Callable[[bool], None]) -> None:
    """Grad mode belongs to a thread, and a new thread starts with it on."""
    first: Callable[[threading.Thread], None] = cast(Any, threading.Thread)._bootstrap_inner
    start: Callable[..., int] = _thread.start_new_thread

    def bootstrap(self: threading.Thread) -> None:
        for mode in modes:
            mode(False)
        first(self)

    def start_new_thread(function: Callable[..., object], *rest: Any) -> int:
        def run(*arguments: object, **keywords: object) -> None:
            for mode in modes:
                mode(False)
            function(*arguments, **keywords)

        return start(run, *rest)

    cast(Any, threading.Thread)._bootstrap_inner = bootstrap
    _thread.start_new_thread = _thread.start_new = start_new_thread


def _shut_tensor(doors: Doors) -> None:
    tensor = torch.Tensor
    base: Any = torch._C.TensorBase
    own_grad, own_flag = base.__dict__["grad"], base.__dict__["requires_grad"]
    for name in ("backward", "retain_grad", "register_hook", "register_post_accumulate_grad_hook"):
        doors.close(tensor, name, f"Tensor.{name}")

    def get_grad(self: torch.Tensor) -> object:
        held: object = own_grad.__get__(self)  # what someone assigned; no engine fills it
        if held is None and doors.asked(sys._getframe(1)):
            doors.knock("Tensor.grad")
        return held

    def set_grad(self: torch.Tensor, value: object) -> None:
        own_grad.__set__(self, value)

    def get_flag(self: torch.Tensor) -> object:
        return own_flag.__get__(self)

    def set_flag(self: torch.Tensor, value: object) -> None:
        if value and doors.asked(sys._getframe(1)):
            doors.knock("Tensor.requires_grad")

    def require(self: torch.Tensor, requires_grad: bool = True) -> torch.Tensor:
        if requires_grad and doors.asked(sys._getframe(1)):
            doors.knock("Tensor.requires_grad_")
        return self

    made: dict[str, object] = {
        "grad": property(get_grad, set_grad, lambda self: own_grad.__set__(self, None)),
        "_grad": property(get_grad, set_grad),
        "requires_grad": property(get_flag, set_flag),
        "requires_grad_": require,
        "grad_fn": property(lambda _: None),
        "_grad_fn": property(lambda _: None),
    }
    for name, value in made.items():
        setattr(tensor, name, value)
    # The C type under Tensor refuses setattr, but has a dictionary like any other.
    for names in gc.get_referents(base.__dict__):
        if isinstance(names, dict):
            for name in ("grad", "_grad", "grad_fn", "_grad_fn", "requires_grad_", "retain_grad"):
                names.pop(name, None)
    ctypes.pythonapi.PyType_Modified(ctypes.py_object(base))


def _shut_modes(doors: Doors) -> None:
    """`no_grad` and its kin come through here too, from torch's own files: those pass in silence."""

    def set_mode(mode: object = True, *_rest: object) -> None:
        if mode and doors.asked(sys._getframe(1), through=("grad_mode.py", "_contextlib.py")):
            doors.knock("torch.set_grad_enabled")

    for name in ("_set_grad_enabled", "_set_fwd_grad_enabled"):
        setattr(torch._C, name, set_mode)


def _shut_engine(doors: Doors) -> None:
    """The engine that runs a graph backward, and TorchScript, which has its own way to it."""
    import torch.autograd.variable as variable

    class NoEngine:
        def __getattr__(self, name: str) -> object:
            doors.knock("torch.autograd")
            return lambda *_arguments, **_keywords: None

    cast(Any, variable.Variable)._execution_engine = NoEngine()
    # Not deleted: parts of torch that are imported later (its optimisers) name the class.
    for module, name in (
        (torch._C, "_ImperativeEngine"),
        (torch._C, "_EngineBase"),
        (variable, "ImperativeEngine"),
    ):
        setattr(module, name, NoEngine)
    for holder, names in (
        (torch.jit, ("script", "trace", "trace_module", "CompilationUnit", "load")),
        (torch._C, ("CompilationUnit", "_jit_script_compile", "_create_function_from_graph")),
    ):
        for name in names:
            doors.close(holder, name, f"torch.jit.{name}")


def _shut_modules(doors: Doors) -> None:
    import torch.autograd.forward_ad as forward_ad
    import torch.autograd.functional as functional

    for name in ("backward", "grad", "gradcheck", "gradgradcheck"):
        doors.close(torch.autograd, name, f"torch.autograd.{name}")
    doors.close(torch.autograd.Function, "apply", "torch.autograd.Function.apply")
    for name in ("jacobian", "hessian", "vjp", "jvp", "vhp", "hvp"):
        doors.close(functional, name, f"torch.autograd.functional.{name}")
    for name in ("make_dual", "enter_dual_level", "dual_level"):
        doors.close(forward_ad, name, f"torch.autograd.forward_ad.{name}")
    doors.close(torch._C, "_enter_dual_level", "torch.autograd.forward_ad")
    inner = ("_autograd_grad", "grad_impl", "grad_and_value_impl", "_vjp_with_argnums")
    for holder in (
        "torch.func",
        "torch._functorch.apis",
        "torch._functorch.eager_transforms",
        "torch._functorch.autograd_function",
    ):
        for name in (*FUNC_DOORS, *inner):
            if holder in sys.modules:
                doors.close(sys.modules[holder], name, f"torch.func.{name}")


def _shut_formulas(doors: Doors) -> None:
    """The formulas autograd is made of (`tanh_backward`, `native_batch_norm_backward`)."""
    holders: list[object] = [torch, torch._C._VariableFunctions]
    holders += [
        module
        for name, module in list(sys.modules.items())
        if name.startswith(("torch._decomp", "torch._refs"))
    ]
    for holder in holders:
        for name in dir(holder):
            if "backward" in name or "make_dual" in name:
                try:
                    doors.close(holder, name, f"torch.{name}")
                except (AttributeError, TypeError):
                    continue  # an attribute of C that cannot be set; torch's own name for it is
    namespace: Any = type(torch.ops.aten)
    find: Callable[[object, str], object] = namespace.__getattr__

    # Looked up before, and so attributes that no look-up would see; torch itself needs these very
    # objects, as keys.
    known = {name: op for name, op in vars(torch.ops.aten).items() if _is_formula(name)}

    def look_up(self: object, name: str) -> object:
        if _is_formula(name) and doors.asked(sys._getframe(1)):
            doors.knock(f"torch.ops.{name}")
        return known[name] if self is torch.ops.aten and name in known else find(self, name)

    def forget(name: str) -> None:
        operation: Callable[..., object] = getattr(torch._C, name)

        def by_name(wanted: str, *rest: object) -> object:
            if _is_formula(wanted) and doors.asked(sys._getframe(1)):
                doors.knock(f"torch.ops.{wanted}")
            return operation(wanted, *rest)

        setattr(torch._C, name, by_name)

    for name in known:
        delattr(torch.ops.aten, name)
    namespace.__getattr__ = look_up
    for name in ("_jit_get_operation", "_get_operation_overload"):
        if hasattr(torch._C, name):
            forget(name)


def _is_formula(name: str) -> bool:
    if any(part in name for part in ("backward", "make_dual", "set_grad", "requires_grad")):
        return True
    return name in ("grad", "aten::grad")


class _NoEngines(importlib.abc.MetaPathFinder):
    """Refuses to import other makers of derivatives."""

    def __init__(self, doors: Doors) -> None:
        self._doors = doors

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        other = path is None and fullname in OTHER_ENGINES
        # Not where a library merely looks whether one is there.
        if other and self._doors.asked(sys._getframe(1), _IMPORTING):
            self._doors.knock(fullname)
        return None
