"""Length-prefixed frames between the grader, its jailed worker and the students' processes.

A frame is two lengths, a JSON header and a body of bytes. Lengths are checked before anything is
read, headers are plain JSON, tensors travel as safetensors: nothing here can run what it reads.
"""

import json
import os
import struct
from collections.abc import Mapping
from typing import cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load as _load
from torch import Tensor

from handgrad.limits import Limits, TooNestedError, check_nesting
from handgrad.verdict import Note

_LENGTHS = struct.Struct("<II")
_HEADER_LENGTH = struct.Struct("<Q")

Json = dict[str, object]


class WireError(Exception):
    """The other end sent something that is no frame, or hung up in the middle of one."""


class Closed(WireError):
    """The other end hung up between two frames."""


_CODES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


# A header holds what a run showed, at most 4 Mi characters (`runner`), of which JSON makes up to six
# times as many bytes, and a few words on each cell and answer.
_MOST_HEADER = 26 << 20
_MOST_DEPTH = 30
_MOST_CONTAINERS = 250_000
_MOST_NAMES = 1 << 20  # bytes of the names and shapes before the tensors


def largest(limits: Limits) -> int:
    """Bytes of the largest frame that one run may take."""
    return (limits.tensor_mib << 20) + _MOST_NAMES + _MOST_HEADER


def can_carry(dtype: torch.dtype) -> bool:
    """Whether tensors of this dtype may cross; complex ones may not, they are no gradients."""
    return dtype in _CODES


def frame(header: Mapping[str, object], body: bytes = b"") -> bytes:
    """One frame as bytes."""
    text = json.dumps(header, separators=(",", ":"), allow_nan=False).encode("utf-8", "replace")
    return _LENGTHS.pack(len(text), len(body)) + text + body


def of_note(note: Note | None) -> list[object] | None:
    """A note as a header holds it."""
    return None if note is None else [note.code, dict(note.parts)]


def write(fd: int, data: bytes) -> None:
    """All of `data` to a descriptor; raises OSError where the reader has gone."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def read(fd: int, most: int) -> tuple[Json, bytes]:
    """The next frame from a blocking descriptor.

    Raises Closed at the end of the stream, WireError for a frame of more than `most` bytes or a
    header that is not a JSON object.
    """
    header_length, body_length = _LENGTHS.unpack(_exactly(fd, _LENGTHS.size, start=True))
    if header_length + body_length > most:
        raise WireError(f"a frame of {header_length + body_length} bytes where {most} are allowed")
    return parse(_exactly(fd, header_length)), _exactly(fd, body_length)


def taken(data: bytearray, most: int) -> bytes | None:
    """One whole frame, unread, off the front of `data`; None while it is incomplete.

    Raises WireError for one of more than `most` bytes.
    """
    if len(data) < _LENGTHS.size:
        return None
    end = _end(data, most)
    if len(data) < end:
        return None
    whole = bytes(data[:end])
    del data[:end]
    return whole


def opened(whole: bytes) -> tuple[Json, bytes]:
    """A frame that a stranger may have written. Raises WireError for anything that is none."""
    if len(whole) < _LENGTHS.size or _end(whole, len(whole)) != len(whole):
        raise WireError("something that is no frame")
    (header_length, _) = _LENGTHS.unpack_from(whole)
    if header_length > _MOST_HEADER:
        raise WireError(f"a header of {header_length} bytes where {_MOST_HEADER} are allowed")
    middle = _LENGTHS.size + header_length
    header = whole[_LENGTHS.size : middle]
    try:
        check_nesting(header, depth=_MOST_DEPTH, containers=_MOST_CONTAINERS)
    except TooNestedError as error:
        raise WireError(f"a header in which {error}") from None
    return parse(header), whole[middle:]


def _end(data: bytes | bytearray, most: int) -> int:
    header_length, body_length = _LENGTHS.unpack_from(data)
    if header_length + body_length > most:
        raise WireError(f"a frame of {header_length + body_length} bytes where {most} are allowed")
    return int(_LENGTHS.size + header_length + body_length)


def parse(text: bytes) -> Json:
    """A header; raises WireError unless it is a JSON object without NaN."""
    try:
        value = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise WireError(f"a header that is not JSON ({error})") from None
    if not isinstance(value, dict):
        raise WireError("a header that is not a JSON object")
    return cast(Json, value)


def pack(tensors: Mapping[str, Tensor]) -> bytes:
    """Dense CPU tensors in the safetensors format.

    Written by hand, since the library spends three times as long, on checks for shared storage that
    cannot matter here, and the format is a JSON header before the bytes.
    """
    header: dict[str, object] = {}
    parts: list[bytes] = []
    at = 0
    for name, tensor in tensors.items():
        flat = tensor.detach().contiguous().reshape(-1)
        data = flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""
        header[name] = {
            "dtype": _CODES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [at, at + len(data)],
        }
        parts.append(data)
        at += len(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return b"".join((_HEADER_LENGTH.pack(len(text)), text, *parts))


def unpack(data: bytes) -> dict[str, Tensor]:
    """Tensors from safetensors bytes; raises WireError for anything else."""
    if not data:
        return {}
    if len(data) < _HEADER_LENGTH.size or _HEADER_LENGTH.unpack_from(data)[0] > _MOST_NAMES:
        raise WireError("tensors without a list of their names")
    try:
        tensors = _load(data)
    except (SafetensorError, ValueError, KeyError, RuntimeError, OverflowError) as error:
        raise WireError(f"tensors that cannot be read ({error})") from None
    for name, tensor in tensors.items():
        if not can_carry(tensor.dtype):
            raise WireError(f"{name} is of a type that may not cross ({tensor.dtype})")
    return tensors


def _exactly(fd: int, count: int, *, start: bool = False) -> bytes:
    data = bytearray()
    while len(data) < count:
        part = os.read(fd, min(count - len(data), 1 << 20))
        if not part:
            raise Closed("hung up") if start and not data else WireError("hung up in mid-frame")
        data += part
    return bytes(data)


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is not JSON")
