"""When what is learned from, and how fast: epochs, their order, batches, the learning rate."""

from dataclasses import dataclass
from math import ceil, cos, pi

import numpy as np

from retarget.core.types import IntArray

# Examples seen by default, in epochs of all examples, within these bounds.
SEEN = 20_000
FEWEST_EPOCHS, MOST_EPOCHS = 5, 40
LEAST_PATIENCE = 5
# Batches that exchange examples, so that each has some of one length.
WINDOW = 16


def epochs_for(examples: int) -> int:
    """Return how many epochs suit a number of examples: 20,000 views, but 5 to 40 epochs.

    With batches of 32 these are about 600 steps, fewer for less than 500 examples.
    """
    return int(np.clip(round(SEEN / max(examples, 1)), FEWEST_EPOCHS, MOST_EPOCHS))


def patience_for(epochs: int) -> int:
    """Return after how many epochs without a better loss to stop: a third, at least five.

    Under a cosine the last third often brings the most, so less would stop too early.
    """
    return max(LEAST_PATIENCE, ceil(epochs / 3))


def augment_for(examples: int) -> float:
    """Return how strongly to augment: 1 up to 1,000 examples, falling to 0.5 at 100,000."""
    decades = np.log10(max(examples, 1)) - 3.0
    return float(np.clip(1.0 - decades / 4.0, 0.5, 1.0))


@dataclass(frozen=True)
class Schedule:
    """A linear rise to the peak learning rate, then a cosine to zero behind the last step.

    Loshchilov and Hutter 2017, SGDR; Goyal et al. 2017 for the rise.

    Attributes:
        steps: of the whole.
        warmup: share of them over which the rate rises.
    """

    steps: int
    warmup: float

    def factor(self, step: int) -> float:
        """Return the share of the peak for step number `step`, counted from 0; above zero."""
        rise = int(self.warmup * self.steps)
        if step < rise:
            return (step + 1) / (rise + 1)
        done = (step - rise) / max(self.steps - rise, 1)
        return 0.5 * (1.0 + cos(pi * min(done, 1.0))) if done < 1.0 else 0.0


def epoch_batches(rows: IntArray, batch: int, seed: int, epoch: int, least: int) -> list[IntArray]:
    """Return the global batches of an epoch: a permutation that (seed, epoch) decides, cut.

    A last batch of fewer than `least` examples joins the one before it.
    """
    order = np.random.default_rng([seed, epoch]).permutation(rows)
    parts = [order[i : i + batch] for i in range(0, len(order), batch)]
    if len(parts) > 1 and len(parts[-1]) < least:
        parts[-2:] = [np.concatenate(parts[-2:])]
    return parts


def alike(batches: list[IntArray], buckets: IntArray, seed: int, epoch: int) -> list[IntArray]:
    """Return an epoch's batches with examples of a length together, in an order that (seed, epoch)
    decides.

    Examples change places within `WINDOW` batches that follow each other, so batches stay random.

    Args:
        batches: examples.
        buckets: how long every example is.
        seed, epoch: decide the order.
    """
    random = np.random.default_rng([seed, epoch, WINDOW])
    found: list[IntArray] = []
    for at in range(0, len(batches), WINDOW):
        window = batches[at : at + WINDOW]
        rows = np.concatenate(window)
        rows = rows[np.argsort(buckets[rows], kind="stable")]
        parts = np.split(rows, np.cumsum([len(part) for part in window])[:-1])
        # What is filled up most comes anywhere; a smaller last batch stays in its window.
        found += [parts[i] for i in random.permutation(len(parts))]
    return found


def share_of(size: int, process: int, count: int, together: int = 1) -> slice:
    """Return which positions of a batch of `size` one of `count` processes takes.

    Neighbours in blocks of `together` are never parted. Shares differ by one block at most.
    """
    blocks = ceil(size / together)
    first, last = (blocks * p // count * together for p in (process, process + 1))
    return slice(first, min(last, size))
