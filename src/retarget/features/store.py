"""`FeatureStore`: features by encoder and example's content, kept between runs."""

import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from retarget.core.errors import StoreError
from retarget.core.paths import cache_dir
from retarget.core.types import BoolArray, FloatArray, IntArray, StrArray
from retarget.features.features import Space
from retarget.features.index import Index, told
from retarget.features.segments import (
    Keys,
    Records,
    SegmentWriter,
    keys_of,
    map_segment,
    segment_files,
    segment_path,
)

READ_BYTES = 4 << 20  # mapped and checked at a time: bounds the memory of a read
COMMIT_BYTES = 4 << 20
COMMIT_SECONDS = 1.0
ORPHAN_SECONDS = 24 * 3600.0
_INDEX = "index.sqlite"


@dataclass(frozen=True)
class StoreInfo:
    """What a store holds: `bytes` on disk, feature `rows` over all `spaces`."""

    path: Path
    bytes: int
    spaces: int
    rows: int
    unreadable: int


class FeatureStore:
    """Features of examples, by the encoder's fingerprint, the pooling and the example's content.

    The index is SQLite; the numbers lie in append-only segments, one for each writer. They reach
    the disk before the index names them, so a process can be killed at any moment and leaves a
    store with every row that was committed. Rows carry checksums: a damaged one is forgotten and
    counts as missing. Several threads and processes may read and write at once.

    `path` is the folder, `cache_dir() / "features"` if not given. It is made when first needed.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = Path(path) if path is not None else cache_dir() / "features"
        self._segments = self.path / "segments"
        self._index = Index(self.path / _INDEX)

    def __reduce__(self) -> tuple[Any, ...]:
        return FeatureStore, (self.path,)

    def space(self, fingerprint: str, pooling: str) -> Space | None:
        """Return the space of an encoder under a pooling, `None` where nothing was stored."""
        return self._index.space(fingerprint, pooling)

    def create(self, space: Space) -> Space:
        """Make room for a space and return it as stored: one that was there keeps its engine."""
        return self._index.create(space)

    def held(self, space: Space, ids: StrArray) -> BoolArray:
        """Return which of `ids` have a row; none is read, so it may still prove damaged."""
        return np.asarray(self._index.find(space, keys_of(ids))[1] >= 0)

    def missing(self, space: Space, ids: StrArray) -> IntArray:
        """Return the rows of `ids` whose features are absent or damaged, each id once.

        Every row is read and checked; damaged ones are forgotten.
        """
        keys = keys_of(ids)
        first = np.sort(np.unique(keys, return_index=True)[1])
        good = np.zeros(len(first), bool)
        records = Records.of(space)
        layers = range(len(records.sizes))
        for part in _parts(len(first), records.size):
            wanted = keys[first[part]]
            rows = np.empty((len(wanted), space.width), np.float32)
            good[part] = self._read(space, records, wanted, layers, rows)
        return np.asarray(first[~good], np.int64)

    def read(self, space: Space, ids: StrArray, layers: Sequence[str]) -> FloatArray:
        """Return (n, sum of sizes) float32 of several layers, or (n, *shape) of a single one.

        Raises `StoreError` where a row is not there or turns out to be damaged; such a row is
        forgotten, and the next extraction makes it anew.
        """
        keys = keys_of(ids)
        records = Records.of(space)
        names = [layer.name for layer in space.layers]
        chosen = [names.index(name) for name in layers]
        width = sum(records.sizes[layer] for layer in chosen)
        out = np.empty((len(keys), width), np.float32)
        for part in _parts(len(keys), 4 * width):
            good = self._read(space, records, keys[part], chosen, out[part])
            if not good.all():
                raise self._unread(ids[part][~good])
        return out.reshape(len(keys), *space.layers[chosen[0]].shape) if len(chosen) == 1 else out

    @contextmanager
    def writer(self, space: Space) -> "Iterator[Writer]":
        """Give a `Writer` for a stored space; what was appended is kept however the block ends."""
        self._sweep()
        writer = Writer(self._index, self._segments, space)
        try:
            yield writer
            writer.flush()
        except BaseException:
            with suppress(StoreError):
                writer.flush()
            raise
        finally:
            writer.close()

    def seconds_per_example(self, space: Space) -> float:
        """Return what the forward pass was measured to cost, 0 where nobody measured."""
        return self._index.cost(space)

    def unreadable(self, ids: StrArray, loader: str) -> dict[str, str]:
        """Return id → reason of those examples that `loader` (a name and version) can't read."""
        known = self._index.unreadable(loader, keys_of(ids))
        return {key.hex(): reason for key, reason in known.items()}

    def mark_unreadable(self, reasons: Mapping[str, str], loader: str) -> None:
        """Remember id → reason of examples that `loader` can't read."""
        if reasons:
            self._index.mark_unreadable(
                loader, {bytes.fromhex(name): reason for name, reason in reasons.items()}
            )

    def info(self) -> StoreInfo:
        """Return what the store holds; zeros where there is none."""
        if not (self.path / _INDEX).exists():
            return StoreInfo(self.path, 0, 0, 0, 0)
        spaces, rows, unreadable = self._index.counts()
        size = 0
        for file in self._files():
            with suppress(FileNotFoundError):
                size += file.stat().st_size
        return StoreInfo(self.path, size, spaces, rows, unreadable)

    def clear(self) -> None:
        """Remove all features, also of a damaged store; files that aren't the store's stay."""
        self._index.close()
        try:
            for file in self._files():
                file.unlink(missing_ok=True)
        except OSError as error:
            raise told(error, self.path) from error

    def close(self) -> None:
        """Close the index; the next use opens it again."""
        self._index.close()

    def _files(self) -> list[Path]:
        index = [self.path / f"{_INDEX}{part}" for part in ("", "-wal", "-shm", "-journal")]
        return [file for file in (*index, *segment_files(self._segments)) if file.exists()]

    def _read(
        self,
        space: Space,
        records: Records,
        keys: Keys,
        layers: Sequence[int],
        out: FloatArray,
    ) -> BoolArray:
        """Read `layers` into `out` (n, width); return which rows are there and undamaged."""
        names, segments, positions = self._index.find(space, keys)
        good = np.zeros(len(keys), bool)
        for number in np.unique(segments[segments >= 0]).tolist():
            rows = np.flatnonzero(segments == number)
            rows = rows[np.argsort(positions[rows], kind="stable")]
            mapped = map_segment(self._segment_path(names[number]), records.size)
            inside = rows[(positions[rows] >= 0) & (positions[rows] < len(mapped))]
            in_order = len(inside) == len(keys) and bool((np.diff(inside) == 1).all())
            values = out if in_order else np.empty((len(inside), out.shape[1]), np.float32)
            good[inside] = records.unpack(mapped, positions[inside], keys[inside], layers, values)
            if not in_order:
                out[inside] = values
            if len(damaged := rows[~good[rows]]):
                self._index.drop(space, names[number], keys[damaged], positions[damaged])
        return good

    def _segment_path(self, name: str) -> Path:
        try:
            return segment_path(self._segments, name)
        except ValueError as error:
            raise told(sqlite3.DatabaseError(str(error)), self.path) from error

    def _unread(self, ids: StrArray) -> StoreError:
        return StoreError(
            f"the features of {len(ids)} examples (the first is {ids[0]}) are missing or damaged "
            f"in the store in {self.path}. Run the command again: they are then extracted anew"
        )

    def _sweep(self) -> None:
        """Remove segments that no index row names, left a day ago by processes that were killed."""
        old = time.time() - ORPHAN_SECONDS
        with suppress(OSError):
            stale = [p for p in segment_files(self._segments) if p.stat().st_mtime < old]
            known = self._index.segments() if stale else set()
            for path in stale:
                if path.stem not in known:
                    path.unlink(missing_ok=True)


class Writer:
    """Appends rows to one space. They are committed about once a second, all at the end."""

    def __init__(self, index: Index, folder: Path, space: Space) -> None:
        self._index = index
        self._folder = folder
        self._space = space
        self._segment = SegmentWriter(folder, Records.of(space))
        self._waiting: list[tuple[Keys, FloatArray]] = []
        self._bytes = 0
        self._seconds = 0.0
        self._since = time.monotonic()

    def append(self, ids: StrArray, rows: FloatArray, seconds: float = 0.0) -> None:
        """Add `rows` (n, width) of `ids`, whose forward pass took `seconds`.

        Raises `ValueError` for rows of another shape, `StoreError` where the disk is full.
        """
        if rows.shape != (len(ids), self._space.width):
            raise ValueError(
                f"rows are {rows.shape}; {(len(ids), self._space.width)} were expected"
            )
        self._waiting.append((keys_of(ids), np.array(rows, np.float32)))
        self._bytes += rows.nbytes
        self._seconds += seconds
        due = time.monotonic() - self._since >= COMMIT_SECONDS
        if due or self._bytes >= COMMIT_BYTES:
            self.flush()

    def flush(self) -> None:
        """Commit what was appended: the numbers first, then their place in the index."""
        waiting, self._waiting = self._waiting, []
        seconds, self._seconds = self._seconds, 0.0
        self._bytes, self._since = 0, time.monotonic()
        if not waiting:
            return
        keys = np.concatenate([part for part, _ in waiting])
        rows = np.concatenate([part for _, part in waiting])
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            start = self._segment.append(keys, rows)
        except OSError as error:
            raise told(error, self._folder.parent) from error
        self._index.add(self._space, self._segment.name, start, keys, seconds)

    def close(self) -> None:
        """Close the segment; what was not flushed is lost."""
        self._segment.close()


def _parts(count: int, size: int) -> Iterator[slice]:
    """Slices of `count` rows, each of about `READ_BYTES` at `size` bytes a row."""
    step = max(1, READ_BYTES // max(1, size))
    for start in range(0, count, step):
        yield slice(start, start + step)
