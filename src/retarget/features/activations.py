"""`Activations`: what the frozen first layers of an encoder make of views, computed once."""

import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch
from torch import Tensor

from retarget.core.errors import StoreError
from retarget.core.hashing import hash_bytes
from retarget.core.progress import progress
from retarget.core.types import FloatArray, IntArray, StrArray
from retarget.features import disk
from retarget.features.devices import cores
from retarget.features.features import Space, StoredLayer
from retarget.features.loading import ahead
from retarget.features.segments import Records
from retarget.features.store import FeatureStore
from retarget.features.views import BATCHES_AHEAD, MOST_THREADS, Inputs, Views, drawn_view
from retarget.sources.encoder import Encoder, Split

CPU_BATCH = 16
GPU_BATCH = 64
PLAIN = -1
LEAST_SAVED = 0.1


@dataclass(frozen=True)
class Estimate:
    """What caching takes at most, all views of all examples, and what may be taken, in bytes.

    Rows that are already there count. The index of rows takes about 60 bytes a row more.
    """

    bytes: int
    limit: int

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
    rows = examples * (count + 1)
    return Estimate(rows * Records.of(_space("", split, 1)).size, disk.limit() - disk.in_use())


def passes_saved(epochs: int, count: int, learning: int = 1, validation: int = 0) -> float:
    """Return the share of passes through the prefix that a cache is expected to save, 0 to 1.

    Without one, every epoch takes each of `learning` and `validation` examples through it, and
    validation examples once more before training. With one, a learning example costs as many
    passes as it has different views in all epochs: of `count` views drawn `epochs` times,
    count · (1 − (1 − 1 / count)^epochs) are expected, or 1 of the plain view. A validation
    example costs one. Views are computed when they are first drawn, so nothing is ever lost.
    """
    if epochs < 1:
        return 0.0
    different = count * (1 - (1 - 1 / count) ** epochs) if count else 1.0
    without = learning * epochs + validation * (epochs + 1)
    return 1 - (learning * different + validation) / without if without else 0.0


def pays(
    epochs: int, count: int, *, learning: int = 1, validation: int = 0, share: float = 1.0
) -> bool:
    """Whether a cache saves at least a tenth of the training's time.

    `share` is that of loading, preparing and the prefix in an epoch's time without a cache.
    """
    return share * passes_saved(epochs, count, learning, validation) >= LEAST_SAVED


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
        self._device = device
        self._batch = CPU_BATCH if device.type == "cpu" else GPU_BATCH
        self._space = _space(hash_bytes(key.encode()), split, self._batch)
        self._place = disk.Place(key)
        self._store = FeatureStore(self._place.folder)
        self._open()

    @property
    def megabytes(self) -> float:
        """Return what the rows take that this feed could ask for and that are there."""
        with _as_os_error():
            return self._held() * Records.of(self._space).size / 1e6

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
            needed, allowed = self._missing_bytes() / 1e6, disk.limit() / 1e6
        raise OSError(
            f"the cache of activations needs {needed:,.0f} MB more, and all of them together may "
            f"take {allowed:,.0f} MB. Free some disk, or set {disk.LIMIT}"
        )

    def _ready(self) -> bool:
        """Open the store; return whether there is room. Raises `StoreError` where it is damaged."""
        self._store.create(self._space)
        return self._place.make_room(self._missing_bytes())

    def _emptied(self) -> bool:
        """Whether all rows of this key could be thrown away: nobody else uses them."""
        self._store.close()
        return self._place.clear()

    def _missing_bytes(self) -> int:
        rows = len(np.unique(self._views.inputs.ids)) * len(self._all_views())
        return (rows - self._held()) * Records.of(self._space).size

    def _held(self) -> int:
        ids = np.unique(self._views.inputs.ids).tolist()
        names = ([self._name(example, view) for example in ids] for view in self._all_views())
        return sum(int(self._store.held(self._space, np.array(part)).sum()) for part in names)

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
        rows = np.concatenate(list(self._computed(items)))
        names = self._names(items)
        with suppress(StoreError, OSError), self._store.writer(self._space) as writer:
            lost = ~self._store.held(self._space, names)
            writer.append(names[lost], rows[lost])
        return rows.reshape(-1, *self._split.shape)

    def _fill(self, items: Sequence[tuple[int, int]]) -> None:
        with _as_os_error():
            names = self._names(items)
            first = np.sort(np.unique(names, return_index=True)[1])
            missing = first[~self._store.held(self._space, names[first])].tolist()
            if not missing:
                return
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

    def _computed(self, items: Sequence[tuple[int, int]]) -> Iterator[FloatArray]:
        """Yield the activations of items in order, flat (≤ batch, numbers) float32."""
        threads = min(cores(), MOST_THREADS)
        window = threads + BATCHES_AHEAD * self._batch
        made: list[Tensor] = []
        with closing(ahead(self._view, items, threads, window)) as prepared:
            for tensor in prepared:
                made.append(tensor)
                if len(made) == self._batch:
                    yield self._run(made)
                    made = []
        if made:
            yield self._run(made)

    def _view(self, item: tuple[int, int]) -> Tensor:
        row, view = item
        if view == PLAIN:  # not `prepared`: what is computed once need not stay in memory
            return self._views.encoder.prepare(self._views.raw(row))
        return self._views.augmented(row, view)

    def _run(self, tensors: Sequence[Tensor]) -> FloatArray:
        """Run the prefix on a batch filled up with copies: what comes out doesn't depend on how
        many there were."""
        filled = [*tensors, *[tensors[-1]] * (self._batch - len(tensors))]
        batch = self._views.encoder.collate(filled)
        if batch.ndim == 4 and self._device.type != "mps":
            batch = batch.contiguous(memory_format=torch.channels_last)
        with _evaluating(self._views.encoder), torch.no_grad():
            found = self._split.prefix(batch.to(self._device))[: len(tensors)]
        return np.asarray(found.float().cpu().flatten(1).numpy())


def _space(key: str, split: Split, batch: int) -> Space:
    return Space(key, "activations", (StoredLayer(split.layer, split.shape),), "eager", batch)


@contextmanager
def _evaluating(encoder: Encoder) -> Iterator[None]:
    """Put an encoder in evaluation mode for the block: batches leave no trace in it."""
    training = [module for module in encoder.modules() if module.training]
    encoder.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


@contextmanager
def _as_os_error() -> Iterator[None]:
    """The store's errors are the disk's to whoever can do without a cache."""
    try:
        yield
    except StoreError as error:
        raise OSError(str(error)) from error
