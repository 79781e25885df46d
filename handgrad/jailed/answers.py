"""A student's variable as an answer: a plain tensor that can be compared, or why it is none."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from handgrad.evidence import AnswerKind
from handgrad.jailed import wire
from handgrad.verdict import Note

# Taken before any student's code ran, since that may replace the names.
_equal, _is_complex, _from_numpy, _stack = (
    torch.equal,
    torch.is_complex,
    torch.from_numpy,
    torch.stack,
)
_array, _Array, _Number = np.array, np.ndarray, np.generic
_nbytes = np.ndarray.__dict__["nbytes"].__get__
_shape = np.ndarray.__dict__["shape"].__get__
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
    namespace: Mapping[str, object], name: str, handed: Sequence[object], room: int
) -> tuple[Taken, int]:
    """The variable `name` as an answer, and the bytes it takes up out of `room`.

    `handed` is what `skip()` gave out in this run.
    """
    value = namespace.get(name)
    entries = entries_of(namespace, name)
    if value is None or (entries and not any(entry is not None for entry in entries)):
        return Taken("missing"), 0
    try:
        with _disabled():
            tensor = as_tensor(value) if entries is None else _stacked(entries)
            if tensor is None:
                return Taken("unusable", why=_what(value)), 0
            if any(value is given for given in handed):
                return Taken("skipped"), 0
            return _dense(tensor, [t for t in map(as_tensor, handed) if t is not None], room)
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
        (_is_complex(plain), "complex_numbers", {}),
        (not wire.can_carry(plain.dtype), "other_dtype", {"dtype": str(plain.dtype)}),
    ):
        if wrong:
            return Taken("unusable", why=Note(code, parts)), 0
    size = plain.numel() * plain.element_size()  # an expanded view counts at its full size
    if size > room:
        return Taken("unusable", why=Note("too_large", {"shape": str(tuple(plain.shape))})), 0
    copied = _clone(plain.resolve_neg(), memory_format=torch.contiguous_format)
    if any(copied.dtype == g.dtype and equal(copied, g) for g in handed):
        return Taken("skipped"), 0
    return Taken("tensor", copied), size


def copy_of(value: object) -> Tensor | None:
    """The numbers of a tensor of a student's, without grad; None for what cannot be taken."""
    taken, _ = take({"": value}, "", (), _LARGEST)
    return taken.tensor


def same(namespace: Mapping[str, object], name: str, taken: Tensor) -> bool:
    """Whether the variable still holds the values that were taken (NaN equals NaN)."""
    try:
        with _disabled():
            entries = entries_of(namespace, name)
            value = as_tensor(namespace.get(name)) if entries is None else _stacked(entries)
            if value is None or value.dtype != taken.dtype:
                return False
            return equal(_detach(_as_subclass(value, Tensor)), taken)
    except BaseException:  # as above
        return False


def equal(one: Tensor, other: Tensor) -> bool:
    """Whether two plain tensors hold the same values (NaN equals NaN)."""
    if one.shape != other.shape:
        return False
    return _equal(one, other) or bool(((one == other) | ((one != one) & (other != other))).all())


def as_tensor(value: object) -> Tensor | None:
    """A tensor, an array of NumPy's, or a number, as a tensor; None for anything else.

    By its type: `isinstance` would believe what an object says of its class.
    """
    kind = type(value)
    if issubclass(kind, Tensor):
        return cast(Tensor, value)
    if issubclass(kind, (_Array, _Number)) or kind in (bool, int, float):
        if issubclass(kind, _Array) and _nbytes(value) > _LARGEST:
            return None  # a view may be far larger than its memory
        array = _array(value)  # a copy, in which nothing of a student's class is left
        if array.dtype.kind in "biufc" and array.dtype.isnative:
            return _from_numpy(array)
    return None


def entries_of(namespace: Mapping[str, object], name: str) -> list[object] | None:
    """The entries of a list that answers for a list of the course's; None where it is no such one."""
    given, value = namespace.get(name.removeprefix("d")), namespace.get(name)
    if type(value) is list and type(given) is list and len(value) == len(given):
        return value
    return None


def _stacked(entries: Sequence[object]) -> Tensor | None:
    """Entries of one shape as one tensor; None where they are no such ones."""
    tensors = [as_tensor(entry) for entry in entries]
    plain = [_detach(_as_subclass(one, Tensor)) for one in tensors if one is not None]
    alike = len({(one.shape, one.dtype) for one in plain}) == 1
    return _stack(plain) if alike and len(plain) == len(entries) else None


def like(value: object, tensor: Tensor) -> object:
    """A copy of the tensor as what `value` is: a list of its entries, an array or a number of NumPy's, of
    its type, or a tensor.
    """
    if type(value) is list:
        return [_clone(entry) for entry in tensor]
    if issubclass(type(value), (_Array, _Number)):
        return tensor.numpy().astype(cast(Any, value).dtype)[()]
    return _clone(tensor)


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
    if issubclass(type(value), _Array) and _nbytes(value) > _LARGEST:
        return Note("too_large", {"shape": str(_shape(value))})
    return Note("no_tensor", {"kind": kind})
