"""What the given leading cells left behind, kept pristine, and copied afresh for every run."""

import copy
import random
import sys
from collections import deque
from collections.abc import Iterable
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from handgrad.jailed.cellcode import Namespace

# Above this many bytes a tensor (the data set) is shared by all runs, and put right only where its
# version counter says that someone wrote to it: copying it 24 times would be half of the budget.
_BIG = 1 << 18
# So are lists of more than this many plain values (the names): to copy one is to count a reference
# to each of them, and so to copy every page they lie in after a fork. To compare it counts none.
_LONG = 4096
_ATOMS = frozenset({int, float, bool, str, bytes, type(None), complex})

# Also what is derived from them: a Counter, a defaultdict.
_CONTAINERS: tuple[type, ...] = (list, dict, set, bytearray, deque)

_MODULE_NAMES = frozenset(
    {"__name__", "__doc__", "__package__", "__loader__", "__spec__", "__builtins__"}
)

_clone = torch.Tensor.clone
_set = torch.Tensor.set_
_empty = torch.empty


class _Shared:
    """A large tensor that all runs of this process hold in common."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor
        self.version = tensor._version
        self.pristine = tensor.clone()

    def mend(self) -> None:
        """Undo what was written to it in place."""
        if self.tensor._version != self.version:
            self.tensor.copy_(self.pristine)
            self.version = self.tensor._version


class _SharedList:
    """A long list of plain values that all runs of this process hold in common."""

    def __init__(self, values: list[object]) -> None:
        self.values = values
        self.pristine = list(values)

    def mend(self) -> None:
        """Undo whatever was done to it."""
        if self.values != self.pristine:
            self.values[:] = self.pristine


_shared: dict[int, _Shared | _SharedList] = {}  # by id of what is shared, which it keeps alive


class Snapshot:
    """Variables and random states at one point of a notebook.

    Copies keep what belongs together: views of one storage stay views of one storage, and a list of
    tensors holds the very tensors that the names hold.
    """

    def __init__(self, namespace: Namespace) -> None:
        self._values = {k: v for k, v in namespace.items() if not _own(k)}
        self._flat: set[int] = set()
        self._whole: set[int] = set()  # ids of tensors that no other tensor shares a storage with
        owners: dict[int, list[Tensor]] = {}
        self._look(list(self._values.values()), set(), owners)
        for tensors in owners.values():
            if len(tensors) == 1 and _is_whole(tensors[0]):
                self._whole.add(id(tensors[0]))
        self._random = random.getstate()
        self._torch = torch.get_rng_state()
        numpy = sys.modules.get("numpy")
        self._numpy = None if numpy is None else numpy.random.get_state()

    def lengths(self, gradients: Iterable[str]) -> dict[str, int]:
        """Of the gradients of lists, how long these are."""
        given = {name: self._values.get(name.removeprefix("d")) for name in gradients}
        return {name: len(value) for name, value in given.items() if type(value) is list}

    def restore(self, module: ModuleType, *, keep: bool = False) -> Namespace:
        """Fill `module`'s own dictionary, so that functions defined in given cells see it.

        With `keep` the names stay that the snapshot does not know.
        """
        namespace = vars(module)
        kept = {k: v for k, v in namespace.items() if _own(k) or (keep and k not in self._values)}
        namespace.clear()
        namespace.update(kept)
        for shared in _shared.values():
            shared.mend()
        memo: dict[int, object] = {}
        namespace.update({name: self._copy(value, memo) for name, value in self._values.items()})
        random.setstate(self._random)
        torch.set_rng_state(self._torch)
        if self._numpy is not None:
            sys.modules["numpy"].random.set_state(self._numpy)
        return namespace

    def _look(self, values: list[object], seen: set[int], owners: dict[int, list[Tensor]]) -> None:
        """Find once what need not be looked into again."""
        for value in values:
            if id(value) in seen:
                continue
            seen.add(id(value))
            if id(value) in _shared:
                continue
            if type(value) is Tensor and _is_big(value):
                _shared[id(value)] = _Shared(value)
            elif isinstance(value, Tensor) and value.layout is torch.strided:
                owners.setdefault(value.untyped_storage().data_ptr(), []).append(value)
            elif isinstance(value, list | tuple | set | frozenset):
                if set(map(type, value)) <= _ATOMS:
                    self._flat.add(id(value))
                    if type(value) is list and len(value) > _LONG:
                        _shared[id(value)] = _SharedList(value)
                else:
                    self._look(list(value), seen, owners)
            elif isinstance(value, dict):
                if set(map(type, value.values())) <= _ATOMS:
                    self._flat.add(id(value))
                else:
                    self._look(list(value.values()), seen, owners)

    def _copy(self, value: Any, memo: dict[int, object]) -> object:
        kind = type(value)
        if kind in _ATOMS:
            return value
        found = memo.get(id(value))
        if found is not None:
            return found
        made: object
        if kind is Tensor:
            if id(value) in self._whole:
                made = _clone(value)
            else:
                made = value if _is_big(value) else _copy_tensor(value, memo)
        elif kind is list and id(value) in _shared:
            made = value
        elif kind is list:
            made = list(value) if id(value) in self._flat else [self._copy(v, memo) for v in value]
        elif kind is tuple:
            made = value if id(value) in self._flat else tuple(self._copy(v, memo) for v in value)
        elif kind is dict:
            flat = id(value) in self._flat
            made = dict(value) if flat else {k: self._copy(v, memo) for k, v in value.items()}
        elif kind is set:
            made = set(value)
        elif kind is torch.Generator:
            made = value.clone_state() if hasattr(value, "clone_state") else _generator(value)
        elif isinstance(value, (Tensor, torch.nn.Module, *_CONTAINERS)) or _is_numpy(value):
            made = copy.deepcopy(value)
        else:
            return value
        memo[id(value)] = made
        return made


def _is_numpy(value: object) -> bool:
    """Whether it is an array, or a generator of random numbers."""
    numpy: Any = sys.modules.get("numpy")
    kinds = (
        () if numpy is None else (numpy.ndarray, numpy.random.Generator, numpy.random.RandomState)
    )
    return isinstance(value, kinds)


def _is_whole(tensor: Tensor) -> bool:
    """Whether a plain clone is the same again: nothing of its storage lies outside it."""
    return (
        type(tensor) is Tensor
        and tensor.is_contiguous()
        and 0 < tensor.nbytes == tensor.untyped_storage().nbytes()
        and not (tensor.requires_grad or tensor.is_conj() or tensor.is_neg())
    )


def _is_big(tensor: Tensor) -> bool:
    return tensor.layout is torch.strided and tensor.untyped_storage().nbytes() > _BIG


def _copy_tensor(tensor: Tensor, memo: dict[int, Any]) -> Tensor:
    if tensor.layout is not torch.strided:
        return tensor.clone()
    storage: Any = tensor.untyped_storage()
    # Addresses of storages cannot be ids of Python objects: tell them apart by sign.
    key = -storage.data_ptr() or -id(tensor)
    copied = memo.get(key)
    if copied is None:
        copied = memo[key] = storage.clone()
    made = _empty(0, dtype=tensor.dtype)
    _set(made, copied, tensor.storage_offset(), tensor.size(), tensor.stride())
    return made


def _generator(generator: torch.Generator) -> torch.Generator:
    made = torch.Generator()
    made.set_state(generator.get_state())
    return made


def _own(name: str) -> bool:
    """Whether a module has this name by birth; `__warningregistry__` is not one of them, or a
    warning would be heard in the first run only.
    """
    return name in _MODULE_NAMES
