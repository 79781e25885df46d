"""A student's variable as an answer: a plain tensor that can be compared, or why it is none."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard, cast

import torch
from torch import Tensor

from handgrad.evidence import AnswerKind
from handgrad.jailed import wire
from handgrad.verdict import Note

# Taken before any student's code ran, since that may replace the names.
_equal, _is_complex = torch.equal, torch.is_complex
_detach = torch._C.TensorBase.detach
_clone = torch._C.TensorBase.clone
_as_subclass = torch._C.TensorBase.as_subclass
_disabled = torch._C.DisableTorchFunctionSubclass
_type_name = type.__dict__["__name__"].__get__

_LARGEST = 1 << 26  # bytes of a value that is copied to be compared with a later one


@dataclass(frozen=True, slots=True)
class Taken:
    """An answer on the student's side of the border; `tensor` is a copy."""

    kind: AnswerKind
    tensor: Tensor | None = None
    why: Note | None = None


def take(
    namespace: Mapping[str, object], name: str, handed: Sequence[Tensor], room: int
) -> tuple[Taken, int]:
    """The variable `name` as an answer, and the bytes it takes up out of `room`.

    `handed` are the tensors that `skip()` gave out in this run.
    """
    value = namespace.get(name)
    if value is None:
        return Taken("missing"), 0
    try:
        if not is_tensor(value):
            return Taken("unusable", why=_what(value)), 0
        if any(value is given for given in handed):
            return Taken("skipped"), 0
        with _disabled():
            return _dense(value, handed, room)
    except BaseException as error:  # a student's class may raise anything when it is touched
        return Taken("unusable", why=Note("untouchable", {"kind": _name(error)})), 0


def _dense(value: Tensor, handed: Sequence[Tensor], room: int) -> tuple[Taken, int]:
    """A dense copy without grad; layouts, devices and types that are no gradients are named."""
    # From here on nothing of a student's is called.
    plain = _detach(value if type(value) is Tensor else _as_subclass(value, Tensor))
    for wrong, code, parts in (
        (plain.layout is not torch.strided, "sparse", {"layout": str(plain.layout)}),
        (plain.is_quantized, "quantized", {}),
        (plain.device.type != "cpu", "elsewhere", {"device": plain.device.type}),
        (plain.dtype is torch.bool, "booleans", {}),
        (_is_complex(plain), "complex_numbers", {}),
        (not wire.can_carry(plain.dtype), "other_dtype", {"dtype": str(plain.dtype)}),
    ):
        if wrong:
            return Taken("unusable", why=Note(code, parts)), 0
    size = plain.numel() * plain.element_size()  # an expanded view counts at its full size
    if size > room:
        return Taken("unusable", why=Note("too_large", {"shape": str(tuple(plain.shape))})), 0
    copied = _clone(plain.resolve_neg(), memory_format=torch.contiguous_format)
    if any(copied.shape == given.shape and _equal(copied, given) for given in handed):
        return Taken("skipped"), 0
    return Taken("tensor", copied), size


def copy_of(value: object) -> Tensor | None:
    """The numbers of a tensor of a student's, without grad; None for what cannot be taken."""
    taken, _ = take({"": value}, "", (), _LARGEST)
    return taken.tensor


def same(namespace: Mapping[str, object], name: str, taken: Tensor) -> bool:
    """Whether the variable still holds the values that were taken (NaN equals NaN)."""
    value = namespace.get(name)
    if not is_tensor(value):
        return False
    try:
        with _disabled():
            if value.dtype != taken.dtype:
                return False
            return equal(_detach(_as_subclass(value, Tensor)), taken)
    except BaseException:  # as above
        return False


def equal(one: Tensor, other: Tensor) -> bool:
    """Whether two plain tensors hold the same values (NaN equals NaN)."""
    if one.shape != other.shape:
        return False
    return _equal(one, other) or bool(((one == other) | ((one != one) & (other != other))).all())


def is_tensor(value: object) -> TypeGuard[Tensor]:
    """By its type: `isinstance` would believe what an object says of its class."""
    return issubclass(type(value), Tensor)


def _name(value: object) -> str:
    """The name of its type, whatever its metaclass says."""
    return str(_type_name(type(value)))[:80]


def _what(value: object) -> Note:
    """What a value is that is no tensor."""
    kind = _name(value)
    for sequence in (list, tuple):
        if issubclass(type(value), sequence):  # and its own methods are left alone
            items = list(sequence.__iter__(cast(Any, value)))
            inner = {_name(item) for item in items[:1000]}
            parts = {"kind": kind, "count": str(len(items))}
            if len(inner) == 1:
                return Note("sequence_of", {**parts, "what": inner.pop()})
            return Note("sequence", parts)
    numpy = sys.modules.get("numpy")
    if numpy is not None and type(value) is numpy.ndarray:
        return Note("numpy_array", {"shape": str(tuple(value.shape))})  # type: ignore[attr-defined]
    return Note("no_tensor", {"kind": kind})
