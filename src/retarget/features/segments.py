"""Segments: append-only files of rows of numbers, each row with its id and a checksum a layer."""

import mmap
import os
import re
import secrets
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from retarget.core.types import BoolArray, FloatArray, IntArray
from retarget.features.features import Space

KEY_BYTES = 16
SUFFIX = ".f32"
_NAME = re.compile(r"[0-9a-f]{32}")
_DIGITS = 32
_PART = 1 << 14  # ids turned into keys at a time: bounds the memory

Keys = npt.NDArray[np.bytes_]  # (n,) S16, the ids in binary; numpy pads what it strips


def keys_of(ids: npt.NDArray[np.str_] | Sequence[str]) -> Keys:
    """Return ids of 32 hexadecimal digits as (n,) keys of 16 bytes. Raises `ValueError`."""
    names = np.asarray(ids, dtype=str)
    if names.dtype.itemsize != 4 * _DIGITS:  # of another length, or room for a longer one
        _refuse(names[np.char.str_len(names) != _DIGITS])
        names = names.astype(f"U{_DIGITS}")
    keys = np.empty(len(names), f"S{KEY_BYTES}")
    for start in range(0, len(names), _PART):
        keys[start : start + _PART] = _binary(names[start : start + _PART])
    return keys


def _binary(names: npt.NDArray[np.str_]) -> Keys:
    codes = np.ascontiguousarray(names).view(np.uint32).reshape(-1, _DIGITS)
    digits, letters = (codes >= 48) & (codes <= 57), (codes >= 97) & (codes <= 102)
    _refuse(names[~(digits | letters).all(axis=1)])
    values = np.where(letters, codes - 87, codes - 48).astype(np.uint8)
    packed = np.ascontiguousarray(values[:, ::2] << 4 | values[:, 1::2])
    return packed.view(f"S{KEY_BYTES}").reshape(-1)


def _refuse(wrong: npt.NDArray[np.str_]) -> None:
    if len(wrong):
        raise ValueError(f"{str(wrong[0])!r} is no example id: 32 hexadecimal digits are expected")


@dataclass(frozen=True)
class Records:
    """How one row lies in a segment: key (16 bytes), a CRC-32 a layer, then the numbers, float32,
    or float16 where `half`.

    All are little-endian; offsets and sizes are in bytes. In halves numbers keep eleven bits, and
    those beyond ±65,504 become that.
    """

    sizes: tuple[int, ...]
    half: bool = False

    @classmethod
    def of(cls, space: Space) -> "Records":
        """Return the records of a space."""
        return cls(tuple(layer.size for layer in space.layers), space.half)

    @property
    def number(self) -> "np.dtype[Any]":
        """The type of a number."""
        return np.dtype("<f2" if self.half else "<f4")

    @cached_property
    def data(self) -> int:
        """Where the numbers begin."""
        return KEY_BYTES + 4 * len(self.sizes)

    @cached_property
    def size(self) -> int:
        """Bytes of one record."""
        return self.data + self.number.itemsize * sum(self.sizes)

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """The first number of each layer, and the end of the last."""
        return (0, *(int(end) for end in np.cumsum(self.sizes)))

    def pack(self, keys: Keys, rows: FloatArray) -> npt.NDArray[np.uint8]:
        """Return (n, size) bytes of `rows` (n, width)."""
        packed = np.zeros((len(keys), self.size), np.uint8)
        packed[:, :KEY_BYTES] = np.frombuffer(keys.tobytes(), np.uint8).reshape(-1, KEY_BYTES)
        numbers = packed.view(self.number)
        most = float(np.finfo(self.number).max)
        numbers[:, self.data // self.number.itemsize :] = (
            np.clip(rows, -most, most) if self.half else rows
        )
        for layer in range(len(self.sizes)):
            first = KEY_BYTES + 4 * layer
            packed[:, first : first + 4] = _checksums(numbers[:, self._numbers(layer)])
        return packed

    def unpack(
        self,
        records: npt.NDArray[np.uint8],
        positions: IntArray,
        keys: Keys,
        layers: Sequence[int],
        out: FloatArray,
    ) -> BoolArray:
        """Copy `layers` of the records at `positions` into `out`; return which are undamaged.

        `records` is (m, size), `keys` (n,) what is expected at `positions` (n,), `out` is
        (n, sum of the layers' sizes) float32. Checksums are taken of what was copied.
        """
        chosen = _selection(positions)
        wanted = np.frombuffer(keys.tobytes(), np.uint8).reshape(-1, KEY_BYTES)
        good = np.asarray((records[:, :KEY_BYTES][chosen] == wanted).all(axis=1))
        numbers, start = records.view(self.number), 0
        for layer in layers:
            first = KEY_BYTES + 4 * layer
            sums = records[:, first : first + 4][chosen]
            part = out[:, start : start + self.sizes[layer]]
            copied = np.ascontiguousarray(numbers[:, self._numbers(layer)][chosen])
            part[:] = copied
            good &= (sums == _checksums(copied)).all(axis=1)
            start += self.sizes[layer]
        return good

    def _numbers(self, layer: int) -> slice:
        """Where a layer lies in a record of numbers."""
        first = self.data // self.number.itemsize
        return slice(first + self.starts[layer], first + self.starts[layer + 1])


def _checksums(numbers: FloatArray) -> npt.NDArray[np.uint8]:
    """(n, 4) bytes: the CRC-32 of each row of `numbers` (n, size)."""
    sums = [zlib.crc32(row) for row in numbers]
    return np.array(sums, "<u4").view(np.uint8).reshape(-1, 4)


class SegmentWriter:
    """One new segment file; nobody else ever writes to it. Nothing is made before `append`."""

    def __init__(self, folder: Path, records: Records) -> None:
        self.name = secrets.token_hex(16)
        self.path = folder / f"{self.name}{SUFFIX}"
        self.rows = 0
        self._records = records
        self._handle: int | None = None

    def append(self, keys: Keys, rows: FloatArray) -> int:
        """Write rows to the disk itself and return the position of the first.

        What was half written is cut off again. Raises `OSError`.
        """
        if self._handle is None:
            self._handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        start = self.rows
        try:
            _write_all(self._handle, memoryview(self._records.pack(keys, rows).tobytes()))
            os.fsync(self._handle)
        except OSError:
            os.ftruncate(self._handle, start * self._records.size)
            os.lseek(self._handle, 0, os.SEEK_END)
            raise
        self.rows += len(keys)
        return start

    def close(self) -> None:
        """Close the file; one without rows is removed."""
        if self._handle is None:
            return
        os.close(self._handle)
        self._handle = None
        if not self.rows:
            self.path.unlink(missing_ok=True)


def _write_all(handle: int, data: memoryview) -> None:
    while len(data):
        data = data[os.write(handle, data) :]


def segment_path(folder: Path, name: str) -> Path:
    """Return the path of a segment named in the index. Raises `ValueError` for any other name."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} names no segment")
    return folder / f"{name}{SUFFIX}"


def segment_files(folder: Path) -> list[Path]:
    """Return the segment files in a folder, and nothing else that lies there."""
    if not folder.is_dir():
        return []
    return [p for p in folder.iterdir() if p.suffix == SUFFIX and _NAME.fullmatch(p.stem)]


def map_segment(path: Path, size: int) -> npt.NDArray[np.uint8]:
    """Return the whole records of a segment as a read-only map (m, size); none if it is gone.

    The map is closed when the array is no longer used, so what was read leaves the process.
    """
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
    except OSError:
        return np.zeros((0, size), np.uint8)
    try:
        count = os.fstat(handle).st_size // size
        if not count:
            return np.zeros((0, size), np.uint8)
        mapped = mmap.mmap(handle, count * size, access=mmap.ACCESS_READ)
    finally:
        os.close(handle)
    return np.frombuffer(mapped, np.uint8, count * size).reshape(count, size)


def _selection(positions: IntArray) -> slice | IntArray:
    """Positions as a slice where they follow one another: no copy of what is read."""
    if len(positions) and bool((np.diff(positions) == 1).all()):
        return slice(int(positions[0]), int(positions[-1]) + 1)
    return positions
