"""`Activations`: what the frozen first layers of an encoder make of views, computed once."""

import sqlite3
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
import torch
from torch import Tensor

from retarget.core.errors import StoreError
from retarget.core.hashing import hash_bytes
from retarget.core.progress import progress
from retarget.core.types import BoolArray, FloatArray, IntArray, StrArray
from retarget.features import disk
from retarget.features.devices import cores
from retarget.features.features import Space, StoredLayer
from retarget.features.loading import ahead
from retarget.features.prefix import Prefix
from retarget.features.segments import Records
from retarget.features.store import FeatureStore
from retarget.features.views import BATCHES_AHEAD, MOST_THREADS, Inputs, Views, drawn_view
from retarget.sources.encoder import Split

PLAIN = -1
KIND = "activations"
LEAST_SAVED = 0.1

# Seconds on one CPU core, EfficientNet-Lite0 on photos of 400 × 280 pixels. Constants: the same
# training must be fed the same way every time.
_LOADING = 0.0025  # an example
_MULTIPLY_ADD = {"cpu": 8e-11}
_MULTIPLY_ADD_ELSEWHERE = 1e-12
_WRITING = 4e-9  # a byte, synced to the disk
_READING = 1e-9


@dataclass(frozen=True)
class Estimate:
    """What caching takes at most, all views of all examples; what may be taken; and one view.

    Rows that are already there count. The index of rows takes about 60 bytes a row more.
    """

    bytes: int
    limit: int
    row_bytes: int

    @property
    def fits(self) -> bool:
        """Whether there is room, or can be made."""
        return self.bytes <= self.limit

    @property
    def megabytes(self) -> float:
        """Return what caching takes at most."""
        return self.bytes / 1e6


def estimate(inputs: Inputs | int, split: Split, count: int) -> Estimate:
    """Return what the activations of inputs (or so many) take: one plain view, `count` augmented.

    Raises `UsageError` where `RETARGET_ACTIVATIONS_GB` is no size.
    """
    examples = inputs if isinstance(inputs, int) else len(np.unique(inputs.ids))
    row = Records(sizes=(StoredLayer(split.layer, split.shape).size,)).size
    return Estimate(examples * (count + 1) * row, disk.limit() - disk.in_use(), row)


def passes(epochs: int, count: int, learning: int = 1, validation: int = 0) -> tuple[float, int]:
    """Return how many passes of an example through the prefix a training takes: cached, and not.

    Without a cache, every epoch takes each of `learning` and `validation` examples through it,
    and validation examples once more before training. With one, a learning example costs as many
    passes as it has different views in all epochs: of `count` views drawn `epochs` times,
    count · (1 − (1 − 1 / count)^epochs) are expected, or 1 of the plain view. A validation
    example costs one. Views are computed when they are first drawn, so there are never more.
    """
    if epochs < 1:
        return float(validation), validation
    different = count * (1 - (1 - 1 / count) ** epochs) if count else 1.0
    return learning * different + validation, learning * epochs + validation * (epochs + 1)


def pays(
    epochs: int,
    count: int,
    *,
    learning: int = 1,
    validation: int = 0,
    operations: float = float("inf"),
    row_bytes: int = 0,
    device: str = "cpu",
) -> bool:
    """Whether a cache saves at least a tenth of the time before the cut. Nothing is measured.

    A pass costs loading and `operations` multiply-adds of the prefix (`prefix.multiply_adds`);
    caching adds the writing of a row (`Estimate.row_bytes`) to it, and a reading to every use.
    """
    cached, uncached = passes(epochs, count, learning, validation)
    one = _LOADING + operations * _MULTIPLY_ADD.get(device, _MULTIPLY_ADD_ELSEWHERE)
    extra = (cached * _WRITING + uncached * _READING) * row_bytes
    return (uncached - cached) - extra / one >= LEAST_SAVED * uncached > 0


class Activations:
    """The `Feed` of what comes after a cut: batches are activations (b, *shape) on the CPU.

    Kept on disk under `cache_dir()/activations`, a folder a key, by the example's content and
    the view, so that other folds and methods over the same prefix compute nothing again.
    An epoch computes what it draws for the first time when it begins: augmented views of an
    example that never trains, or that come after an early stop, are never made. What was stored
    reaches the disk before it counts as there; several processes may fill at once. A damaged row
    is noticed when it is read, and computed again.

    Args:
        views: where inputs come from; nothing else may take from it what is cached.
        split: its prefix is run without gradients, in evaluation mode, in batches of one size.
        count: augmented views of each example; 0 trains on the plain view.
        key: names the weights of the prefix, its preprocessing and the cut.
        device: where the encoder is, and the prefix is run.

    Raises:
        OSError: there is no room, or the disk can't be written; also from the first batch of a
            stream. What was stored stays usable.
        DataError: see `Views`; from streams.
    """

    def __init__(
        self, views: Views, split: Split, *, count: int, key: str, device: torch.device
    ) -> None:
        self.count = count if views.strength else 0
        self._views = views
        self._split = split
        self._prefix = Prefix(views.encoder, split, device)
        self._settled = False
        layers = (StoredLayer(split.layer, split.shape),)
        # Without an engine as long as it is not in the store.
        self._space = Space(hash_bytes(key.encode()), KIND, layers, "", self._prefix.batch)
        self._place = disk.Place(key)
        self._store = FeatureStore(self._place.folder)
        weakref.finalize(self, self._store.close)
        self._open()

    @property
    def megabytes(self) -> float:
        """Return what the rows take that this feed could ask for and that are there."""
        with _as_os_error():
            return self._present() * Records.of(self._space).size / 1e6

    def training(self, order: Iterable[IntArray], epoch: int) -> Iterator[Tensor]:
        """Yield activations for each array of rows: of one of the views, drawn for the epoch."""
        seed, ids = self._views.seed, self._views.inputs.ids
        if not self.count:
            return self.evaluation(order)
        return self._feed(order, lambda row: drawn_view(seed, epoch, str(ids[row]), self.count))

    def evaluation(self, order: Iterable[IntArray]) -> Iterator[Tensor]:
        """Yield activations for each array of rows: of the plain view."""
        return self._feed(order, lambda row: PLAIN)

    def fill(self) -> None:
        """Compute all that streams could ever ask for and that isn't there yet."""
        rows = range(len(self._views.inputs))
        self._fill([(row, view) for row in rows for view in self._all_views()])

    def _open(self) -> None:
        """Open the store and make room for all that may come, if need be by starting anew."""
        with _as_os_error():
            try:
                ready = self._ready()
            except StoreError as error:
                passing = isinstance(error.__cause__, OSError | sqlite3.OperationalError)
                if passing or not self._emptied():
                    raise
                ready = self._ready()
            if ready or (self._emptied() and self._ready()):
                return
            needed = self._missing() * Records.of(self._space).size / 1e6
            allowed = disk.limit() / 1e6
        raise OSError(
            f"the cache of activations needs {needed:,.0f} MB more, and all of them together may "
            f"take {allowed:,.0f} MB. Free some disk, or set {disk.LIMIT}"
        )

    def _ready(self) -> bool:
        """Open the store; return whether there is room. Raises `StoreError` where it is damaged."""
        found = self._store.space(self._space.fingerprint, KIND)
        known = found is not None and found.layers == self._space.layers
        self._space = found if found and known else replace(self._space, engine="")
        return self._place.make_room(self._missing() * Records.of(self._space).size)

    def _emptied(self) -> bool:
        """Whether all rows of this key could be thrown away: nobody else uses them."""
        self._store.close()
        return self._place.clear()

    def _missing(self) -> int:
        """Return how many rows streams could ask for that aren't there."""
        return len(np.unique(self._views.inputs.ids)) * len(self._all_views()) - self._present()

    def _present(self) -> int:
        ids = np.unique(self._views.inputs.ids).tolist()
        names = ([self._name(example, view) for example in ids] for view in self._all_views())
        return sum(int(self._held(np.array(part)).sum()) for part in names)

    def _held(self, names: StrArray) -> BoolArray:
        if not self._space.engine:
            return np.zeros(len(names), bool)
        return self._store.held(self._space, names)

    def _all_views(self) -> range:
        return range(PLAIN, self.count)

    def _name(self, example: str, view: int) -> str:
        """Return the name of a row: 32 hexadecimal digits."""
        if view == PLAIN:
            return hash_bytes(b"plain", example.encode())
        facts = (example, self._views.seed, self._views.strength, view)
        return hash_bytes(b"view", *(str(fact).encode() for fact in facts))

    def _names(self, items: Iterable[tuple[int, int]]) -> StrArray:
        ids = self._views.inputs.ids
        return np.array([self._name(str(ids[row]), view) for row, view in items], dtype="U32")

    def _feed(self, order: Iterable[IntArray], view_of: Callable[[int], int]) -> Iterator[Tensor]:
        batches = [[(row, view_of(row)) for row in rows.tolist()] for rows in order]
        self._fill(list(chain.from_iterable(batches)))
        read = closing(ahead(self._read, batches, 1, 1 + BATCHES_AHEAD))
        with read as found:
            for batch, rows in zip(batches, found, strict=True):
                # A prefix in another thread would change modes under the training's feet.
                yield torch.from_numpy(self._mended(batch) if rows is None else rows)

    def _read(self, items: Sequence[tuple[int, int]]) -> FloatArray | None:
        try:
            return self._store.read(self._space, self._names(items), (self._split.layer,))
        except StoreError:
            return None

    def _mended(self, items: Sequence[tuple[int, int]]) -> FloatArray:
        """Compute a batch that can't be read, and store what was lost of it if that is possible."""
        self._settle(items)
        rows = np.concatenate(list(self._computed(items)))
        names = self._names(items)
        with suppress(StoreError, OSError), self._store.writer(self._space) as writer:
            lost = ~self._held(names)
            writer.append(names[lost], rows[lost])
        return rows.reshape(-1, *self._split.shape)

    def _fill(self, items: Sequence[tuple[int, int]]) -> None:
        with _as_os_error():
            names = self._names(items)
            first = np.sort(np.unique(names, return_index=True)[1])
            missing = first[~self._held(names[first])].tolist()
            if not missing:
                return
            self._settle([items[at] for at in missing])
            done, start = 0, time.perf_counter()
            with (
                self._store.writer(self._space) as writer,
                progress("Caching activations", len(missing), "examples") as meter,
            ):
                for rows in self._computed([items[at] for at in missing]):
                    now = time.perf_counter()
                    part = missing[done : done + len(rows)]
                    writer.append(names[part], rows, now - start)
                    meter.advance(len(rows))
                    done, start = done + len(rows), now

    def _settle(self, items: Sequence[tuple[int, int]]) -> None:
        """Have the engine that the rows were begun with, or choose one by the first of `items`."""
        if self._settled:
            return
        prepared = [self._view(item) for item in items[: self._prefix.batch]]
        remaining = self._missing()
        engine = self._prefix.choose(prepared, remaining, self._space.engine)
        if not self._space.engine:
            self._space = self._store.create(replace(self._space, engine=engine))
            if self._space.engine != engine:  # another process was faster
                self._prefix.choose(prepared, remaining, self._space.engine)
        self._settled = True

    def _computed(self, items: Sequence[tuple[int, int]]) -> Iterator[FloatArray]:
        """Yield the activations of items in order, flat (≤ batch, numbers) float32."""
        threads = min(cores(), MOST_THREADS)
        window = threads + BATCHES_AHEAD * self._prefix.batch
        made: list[Tensor] = []
        with closing(ahead(self._view, items, threads, window)) as prepared:
            for tensor in prepared:
                made.append(tensor)
                if len(made) == self._prefix.batch:
                    yield self._prefix(made)
                    made = []
        if made:
            yield self._prefix(made)

    def _view(self, item: tuple[int, int]) -> Tensor:
        row, view = item
        if view == PLAIN:  # not `prepared`: what is computed once need not stay in memory
            return self._views.encoder.prepare(self._views.raw(row))
        return self._views.augmented(row, view)


@contextmanager
def _as_os_error() -> Iterator[None]:
    """The store's errors are the disk's to whoever can do without a cache."""
    try:
        yield
    except StoreError as error:
        raise OSError(str(error)) from error
