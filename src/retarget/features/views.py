"""Inputs for training: read again and again, as they are or changed at random."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import numpy as np

from retarget.core.errors import DataError, UnreadableInput
from retarget.core.hashing import hash_bytes
from retarget.core.types import IntArray, Modality, StrArray
from retarget.features.devices import cores
from retarget.features.loading import ahead
from retarget.tasks import modalities
from retarget.tasks.files import taken
from retarget.tasks.held import memory_bytes
from retarget.tasks.tree import readable

if TYPE_CHECKING:
    from torch import Tensor

    from retarget.sources.encoder import Encoder

BATCHES_AHEAD = 2
MOST_THREADS = 16  # more only wait for the interpreter

_Value = TypeVar("_Value")


@dataclass(frozen=True)
class Inputs:
    """References to the inputs of n examples, all readable, and their content hashes.

    Attributes:
        modality: what they are.
        references: (n,) as the modality's loader reads them.
        ids: (n,) content hashes.
        owners: (rows,) the example that each row of labels is of, ascending, where examples have
            several rows, such as words; `None` where each is one row.
    """

    modality: Modality
    references: Sequence[Any]
    ids: StrArray
    owners: IntArray | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: IntArray) -> "Inputs":
        """Return the inputs of `rows` of labels: where examples have several, all of theirs, in
        order. Examples without any row are left out."""
        if self.owners is None:
            return Inputs(self.modality, taken(self.references, rows), self.ids[rows])
        kept, owners = np.unique(self.owners[rows], return_inverse=True)
        return Inputs(self.modality, taken(self.references, kept), self.ids[kept], owners)

    def examples(self, rows: IntArray) -> IntArray:
        """Return which examples rows of labels are of; each once where they have several."""
        return rows if self.owners is None else np.unique(self.owners[rows])

    def rows(self, examples: IntArray) -> IntArray:
        """Return the rows of labels of some examples, in the examples' order."""
        if self.owners is None:
            return examples
        starts, counts = self._starts[examples], self.counts(examples)
        behind = np.cumsum(counts) - counts
        return np.repeat(starts - behind, counts) + np.arange(counts.sum(), dtype=np.int64)

    def counts(self, examples: IntArray) -> IntArray:
        """Return how many rows of labels some examples have."""
        if self.owners is None:
            return np.ones(len(examples), dtype=np.int64)
        return np.asarray(np.diff(self._starts)[examples])

    @cached_property
    def _starts(self) -> IntArray:
        assert self.owners is not None
        return np.searchsorted(self.owners, np.arange(len(self) + 1)).astype(np.int64)


class Feed(Protocol):
    """What a training takes its batches from. Rows count the `Inputs` behind it."""

    def training(self, order: Iterable[IntArray], epoch: int) -> "Iterator[Tensor]":
        """Yield a batch for each array of rows, changed at random.

        The view of an example depends on the seed, its id and the epoch: not on the batch, nor on
        what was drawn before. So an epoch can be entered anywhere.
        """

    def evaluation(self, order: Iterable[IntArray]) -> "Iterator[Tensor]":
        """Yield a batch for each array of rows, as at prediction."""


class Views:
    """The `Feed` that prepares inputs as they are asked for, in threads ahead of the consumer.

    Raw inputs, and prepared ones for evaluation, stay in memory up to a bound, so that later
    epochs don't decode them again; what doesn't fit is read again each time. Batches are on the
    CPU. Streams raise `DataError` naming an example that can't be read any more.

    Args:
        inputs: what is fed.
        encoder: its `augment`, `prepare`, `collate` and `detail` are used, never its weights.
        seed: decides every view.
        strength: of the augmentation, 0 to 1; 0 is `prepare` exactly.
        megabytes: of inputs kept in memory, at most.
    """

    def __init__(
        self,
        inputs: Inputs,
        encoder: "Encoder",
        *,
        seed: int,
        strength: float,
        megabytes: float = 1000.0,
    ) -> None:
        self.inputs = inputs
        self.encoder = encoder
        self.seed = seed
        self.strength = strength
        self._raw: Kept[Any] = Kept(budget := Budget(int(megabytes * 1e6)))
        self._prepared: Kept[Tensor] = Kept(budget)

    def training(self, order: Iterable[IntArray], epoch: int) -> "Iterator[Tensor]":
        """Yield a batch for each array of rows: the views number `epoch`."""
        return self._batches(order, lambda row: self.augmented(row, epoch))

    def evaluation(self, order: Iterable[IntArray]) -> "Iterator[Tensor]":
        """Yield a batch for each array of rows, as at prediction."""
        return self._batches(order, self.prepared)

    def augmented(self, row: int, number: int) -> "Tensor":
        """Return the view of that number of an example. Safe to call from several threads."""
        if not self.strength:
            return self.prepared(row)
        random = view_random(self.seed, number, str(self.inputs.ids[row]))
        return self.encoder.augment(self.raw(row), random, self.strength)

    def prepared(self, row: int) -> "Tensor":
        """Return an example as at prediction. Safe to call from several threads."""
        example = str(self.inputs.ids[row])
        known = self._prepared.get(example)
        if known is not None:
            return known
        raw = self._raw.get(example)
        made = self.encoder.prepare(self._load(row) if raw is None else raw)
        return self._prepared.keep(example, made)

    def buckets(self, rows: IntArray) -> IntArray | None:
        """Return how long examples are when prepared (`Encoder.bucket`), `None` where all are
        alike."""
        from retarget.sources.encoder import Encoder

        if type(self.encoder).bucket is Encoder.bucket:
            return None
        threads = min(cores(), MOST_THREADS)
        with closing(ahead(self.prepared, rows.tolist(), threads, 4 * threads)) as made:
            return np.array([self.encoder.bucket(tensor) for tensor in made], dtype=np.int64)

    def raw(self, row: int) -> Any:
        """Return the input as loaded. Safe to call from several threads."""
        example = str(self.inputs.ids[row])
        known = self._raw.get(example)
        return self._raw.keep(example, self._load(row)) if known is None else known

    def _load(self, row: int) -> Any:
        reference = self.inputs.references[row]
        try:
            return modalities.load(self.inputs.modality, reference, self.encoder.detail)
        except UnreadableInput as reason:
            example = str(self.inputs.ids[row])
            name = readable(str(reference)) if isinstance(reference, Path) else f"input {example}"
            raise DataError(
                f"{name} {str(reason) or 'can no longer be read'}. It could be read before "
                "training began: put it back as it was, or take it out of the data, and run the "
                "command again."
            ) from reason

    def _batches(
        self, order: Iterable[IntArray], make: "Callable[[int], Tensor]"
    ) -> "Iterator[Tensor]":
        arrays = iter(order)
        first = next(arrays, None)
        if first is None:
            return
        threads = min(cores(), MOST_THREADS)
        rows = (
            (row, at == len(array))
            for array in chain([first], arrays)
            for at, row in enumerate(array.tolist(), 1)
        )
        window = threads + BATCHES_AHEAD * len(first)
        batch: list[Tensor] = []
        with closing(ahead(lambda item: (make(item[0]), item[1]), rows, threads, window)) as made:
            for tensor, last in made:
                batch.append(tensor)
                if last:
                    yield self.encoder.collate(batch)
                    batch = []


def view_random(seed: int, number: int, example: str) -> np.random.Generator:
    """Return the generator of view `number` of the example with that id: of nothing else."""
    return np.random.default_rng(int(hash_bytes(*_bytes("view", seed, number, example)), 16))


def drawn_view(seed: int, epoch: int, example: str, count: int) -> int:
    """Return which of `count` views of an example an epoch uses, each as likely."""
    return int(hash_bytes(*_bytes("draw", seed, epoch, example)), 16) % count


def _bytes(*parts: str | int) -> list[bytes]:
    return [str(part).encode() for part in parts]


class Budget:
    """Bytes that several stores of inputs may take together."""

    def __init__(self, most: int) -> None:
        self._left = most
        self._lock = Lock()

    def take(self, size: int) -> bool:
        """Whether there was room for so many bytes; they are then taken."""
        with self._lock:
            if size > self._left:
                return False
            self._left -= size
            return True


class Kept(Generic[_Value]):
    """Values in memory by example, first come, within a budget. Threads may share it."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._values: dict[str, _Value] = {}
        self._lock = Lock()

    def get(self, example: str) -> _Value | None:
        """Return what is kept of an example."""
        return self._values.get(example)

    def keep(self, example: str, value: _Value) -> _Value:
        """Keep a value if there is room, and return it, or the one that is already there."""
        with self._lock:
            if example not in self._values:
                if not self._budget.take(memory_bytes(value)):
                    return value
                self._values[example] = value
            return self._values[example]
