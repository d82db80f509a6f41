"""Examples and the rows of labels they are judged by: one each, or one for each of its words."""

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from retarget.core.types import FloatArray, IntArray
from retarget.features.views import Inputs, Views


def aligned(outputs: Tensor, inputs: Inputs, examples: IntArray) -> Tensor:
    """Return outputs for a batch of `examples` as rows of labels (rows, K).

    Of outputs (b, T, K) these are the first places of each example, as many as it has rows.
    """
    if outputs.ndim == 2:
        return outputs
    counts = torch.from_numpy(inputs.counts(examples)).to(outputs.device)
    places = torch.arange(outputs.shape[1], device=outputs.device)
    return outputs[places[None] < counts[:, None]]


def by_example(losses: FloatArray, sequences: IntArray | None) -> FloatArray:
    """Return losses of rows as values (examples,) that are independent, with the same mean.

    The value of an example of c rows, of n rows and E examples in all, is
    mean + (sum of its losses − c · mean) · E / n. So the variance of their mean is that of the
    mean over rows, clusters of rows considered (Cochran 1977, Sampling Techniques, ratio
    estimates).
    """
    if sequences is None or not len(losses):
        return losses
    _, owners = np.unique(sequences, return_inverse=True)
    counts = np.bincount(owners)
    mean = losses.mean()
    apart = np.bincount(owners, weights=losses) - counts * mean
    return np.asarray(mean + apart * (len(counts) / len(losses)))


class Course:
    """Examples in batches that waste little on filling up: those that are alike in length beside
    each other, the longest first, fewer in a batch the longer they are.

    Attributes:
        batches: examples of each.
    """

    def __init__(self, views: Views, examples: IntArray, size: int) -> None:
        self._inputs, self._examples = views.inputs, examples
        buckets = views.buckets(examples)
        order = examples
        if buckets is not None:
            longest_first = np.argsort(-buckets, kind="stable")
            order, buckets = examples[longest_first], buckets[longest_first]
        self.batches: list[IntArray] = []
        at = 0
        while at < len(order):
            most = size
            if buckets is not None:
                most = min(size, views.encoder.batch_size(int(buckets[at]), size))
            self.batches.append(order[at : at + most])
            at += most

    def rows(self, outputs: Tensor, number: int) -> FloatArray:
        """Return the outputs for batch `number` as rows of labels, float64, on the CPU."""
        return aligned(outputs, self._inputs, self.batches[number]).cpu().double().numpy()

    def restored(self, found: Iterable[FloatArray], width: int) -> FloatArray:
        """Return the rows of all batches in the order of the examples; (0, width) of none."""
        parts = list(found)
        made = np.concatenate(parts) if parts else np.zeros((0, width))
        had = np.concatenate([np.zeros(0, np.int64), *map(self._inputs.rows, self.batches)])
        wanted = self._inputs.rows(self._examples)
        order = np.argsort(had, kind="stable")
        return np.asarray(made[order[np.searchsorted(had[order], wanted)]])
