"""Switches autograd off for the code of notebooks.

In given cells (the lecture's `loss.backward()`, `t.retain_grad()`) what is switched off does nothing;
in a student's cell it raises, and the attempt is kept (`attempts`). No graph is recorded
in the thread that runs the cells. In a thread of the student's own torch records one, and whatever
would read it is switched off all the same. Whoever digs the machinery out of memory could as well
write finite differences, which nothing can be switched off against: docs/threat-model.md says so.
"""

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, cast

import torch

from handgrad.jailed.attempts import Attempts

# Other makers of derivatives, should one of them be installed.
OTHER_ENGINES = frozenset(
    [
        "jax",
        "autograd",
        "tensorflow",
        "tinygrad",
        "mxnet",
        "paddle",
        "micrograd",
        "theano",
        "aesara",
    ]
)
FUNCTIONAL = frozenset(
    ["grad", "grad_and_value", "vjp", "jvp", "jacrev", "jacfwd", "hessian", "linearize"]
)


def switch_off(attempts: Attempts) -> None:
    """Switch autograd off, for this process and all it forks."""
    torch._C._set_grad_enabled(False)
    torch._C._set_fwd_grad_enabled(False)
    _tensors(attempts)
    _modes(attempts)
    _engine(attempts)
    _modules(attempts)
    _formulas(attempts)
    sys.meta_path.insert(0, _NoEngines(attempts))


def _tensors(attempts: Attempts) -> None:
    tensor, base = torch.Tensor, cast(Any, torch._C.TensorBase)
    for name in ("backward", "register_hook", "register_post_accumulate_grad_hook"):
        attempts.switch_off(tensor, name, f"Tensor.{name}")

    def get_grad(self: torch.Tensor) -> object:
        held: object = base.grad.__get__(self)  # what someone assigned; no engine fills it
        if held is None:
            return attempts.grad_of(self)
        return held

    def set_flag(self: torch.Tensor, value: object) -> None:
        if value:
            attempts.refuse_students("Tensor.requires_grad")

    def require(self: torch.Tensor, requires_grad: bool = True) -> torch.Tensor:
        if requires_grad:
            attempts.refuse_students("Tensor.requires_grad_")
        return self

    grad = property(
        get_grad, lambda t, value: base.grad.__set__(t, value), lambda t: base.grad.__delete__(t)
    )
    made: dict[str, object] = {
        "grad": grad,
        "_grad": grad,
        "requires_grad": property(lambda t: base.requires_grad.__get__(t), set_flag),
        "requires_grad_": require,
        "retain_grad": lambda _: None,  # for everybody: whoever then reads the gradient is told
        "grad_fn": property(lambda _: None),
        "_grad_fn": property(lambda _: None),
    }
    for name, value in made.items():
        setattr(tensor, name, value)


def _modes(attempts: Attempts) -> None:
    """`no_grad` and its kin come through here too, from torch's own files: those pass in silence."""

    def set_mode(mode: object = True, *_rest: object) -> None:
        if mode:
            attempts.refuse_students("torch.set_grad_enabled")

    for name in ("_set_grad_enabled", "_set_fwd_grad_enabled"):
        setattr(torch._C, name, set_mode)


def _engine(attempts: Attempts) -> None:
    """The engine that runs a graph backward, and TorchScript, which has its own way to it."""
    import torch.autograd.variable as variable

    class NoEngine:
        def __getattr__(self, name: str) -> object:
            attempts.refuse("torch.autograd")
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
            attempts.switch_off(holder, name, f"torch.jit.{name}")


def _modules(attempts: Attempts) -> None:
    import torch.autograd.forward_ad as forward_ad
    import torch.autograd.functional as functional
    import torch.autograd.graph as graph

    for holder, place, names in (
        (torch.autograd, "torch.autograd", "backward grad gradcheck gradgradcheck"),
        (torch.autograd.Function, "torch.autograd.Function", "apply"),
        (graph, "torch.autograd.graph", "saved_tensors_hooks"),
        (functional, "torch.autograd.functional", "jacobian hessian vjp jvp vhp hvp"),
        (forward_ad, "torch.autograd.forward_ad", "make_dual enter_dual_level dual_level"),
    ):
        for name in names.split():
            attempts.switch_off(holder, name, f"{place}.{name}")
    attempts.switch_off(torch._C, "_enter_dual_level", "torch.autograd.forward_ad")
    inner = ("_autograd_grad", "grad_impl", "grad_and_value_impl", "_vjp_with_argnums")
    for module in (
        "torch.func",
        "torch._functorch.apis",
        "torch._functorch.eager_transforms",
        "torch._functorch.autograd_function",
    ):
        for name in (*FUNCTIONAL, *inner):
            if module in sys.modules:
                attempts.switch_off(sys.modules[module], name, f"torch.func.{name}")


def _formulas(attempts: Attempts) -> None:
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
                    attempts.switch_off(holder, name, f"torch.{name}")
                except (AttributeError, TypeError):
                    continue  # an attribute of C that cannot be set; torch's own name for it is
    for name in ("_jit_get_operation", "_get_operation_overload"):
        if hasattr(torch._C, name):
            setattr(torch._C, name, _without_formulas(attempts, getattr(torch._C, name)))
    _operations(attempts)


def _operations(attempts: Attempts) -> None:
    """`torch.ops.aten`: the formulas that were looked up before are looked up once more, as torch
    itself needs these very objects, as keys.
    """
    namespace: Any = type(torch.ops.aten)
    find: Callable[[object, str], object] = namespace.__getattr__
    known = {name: op for name, op in vars(torch.ops.aten).items() if _is_formula(name)}

    def look_up(self: object, name: str) -> object:
        if _is_formula(name):
            attempts.refuse_students(f"torch.ops.{name}")
        return known[name] if self is torch.ops.aten and name in known else find(self, name)

    for name in known:
        delattr(torch.ops.aten, name)
    namespace.__getattr__ = look_up


def _without_formulas(
    attempts: Attempts, operation: Callable[..., object]
) -> Callable[..., object]:
    def by_name(wanted: str, *rest: object) -> object:
        if _is_formula(wanted):
            attempts.refuse_students(f"torch.ops.{wanted}")
        return operation(wanted, *rest)

    return by_name


def _is_formula(name: str) -> bool:
    if any(part in name for part in ("backward", "make_dual", "set_grad", "requires_grad")):
        return True
    return name in ("grad", "aten::grad")


class _NoEngines(importlib.abc.MetaPathFinder):
    """Refuses to import other makers of derivatives."""

    def __init__(self, attempts: Attempts) -> None:
        self._attempts = attempts

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if path is None and fullname in OTHER_ENGINES:
            self._attempts.refuse_students(fullname)  # a library may look whether one is there
        return None
