"""Inputs for training: read again and again, as they are or changed at random."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from retarget.core.types import IntArray, Modality, StrArray
from retarget.tasks.files import taken

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Inputs:
    """References to the inputs of n examples, all readable, and their content hashes."""

    modality: Modality
    references: Sequence[Any]
    ids: StrArray

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: IntArray) -> "Inputs":
        """Return the inputs at `rows`."""
        return Inputs(self.modality, taken(self.references, rows), self.ids[rows])


class Feed(Protocol):
    """What a training takes its batches from. Rows count the `Inputs` behind it."""

    def training(self, order: Iterable[IntArray], epoch: int) -> "Iterator[Tensor]":
        """Yield a batch for each array of rows, changed at random.

        The view of an example depends on the seed, its id and the epoch: not on the batch, nor on
        what was drawn before. So an epoch can be entered anywhere.
        """

    def evaluation(self, order: Iterable[IntArray]) -> "Iterator[Tensor]":
        """Yield a batch for each array of rows, as at prediction."""
