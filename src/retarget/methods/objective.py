"""What is minimised: a loss for each example, by kind of target; and examples that are mixed."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from retarget.core.types import CLASSES, BoolArray, FloatArray, IntArray, Kind
from retarget.methods.base import Labels
from retarget.methods.trainee import Trainee


@dataclass(frozen=True)
class Objective:
    """The loss of n examples, on the device they are trained on.

    Cross-entropy for classes; the mean binary cross-entropy over labels; squared error of numbers
    in units of their standard deviation.

    Attributes:
        kind: of the targets.
        targets: (n,) class or tag numbers; (n, K) 0/1; (n,) numbers.
        weights: (n,) of examples, class weights included, 1 on average over what is learned from.
        label_weights: (2, K) of absent and present labels.
        smoothing: share of the target given to all classes alike.
        spread: standard deviation of the numbers that are learned from, else 1.
    """

    kind: Kind
    targets: Tensor
    weights: Tensor
    label_weights: Tensor
    smoothing: float
    spread: float

    def read(self, trainee: Trainee, batch: Tensor) -> Tensor:
        """Return what the loss is of: the outputs (b, K) for a batch."""
        outputs: Tensor = trainee(batch)
        return outputs

    def losses(self, outputs: Tensor, rows: Tensor) -> Tensor:
        """Return (b,) losses of outputs (b, K) for the examples at `rows`, unweighted."""
        targets = self.targets[rows]
        if self.kind in CLASSES:
            return functional.cross_entropy(
                outputs, targets, reduction="none", label_smoothing=self.smoothing
            )
        if self.kind == "regression":
            return ((outputs[:, 0] - targets) / self.spread) ** 2
        smooth = targets * (1.0 - self.smoothing) + self.smoothing / 2
        each = functional.binary_cross_entropy_with_logits(outputs, smooth, reduction="none")
        absent, present = self.label_weights
        return (each * torch.where(targets > 0.5, present, absent)).mean(dim=1)

    def total(self, outputs: Tensor, rows: Tensor) -> Tensor:
        """Return the sum of weighted losses."""
        return (self.weights[rows] * self.losses(outputs, rows)).sum()

    def mixed_total(self, outputs: Tensor, rows: Tensor, others: Tensor, shares: Tensor) -> Tensor:
        """Return the sum of weighted losses of examples mixed of `shares` (b,) of the examples at
        `rows`, and the rest of those at `others`. For linear losses this is the loss of the mixed
        target; for squares it differs from that by what doesn't depend on the outputs."""
        own = self.weights[rows] * self.losses(outputs, rows)
        other = self.weights[others] * self.losses(outputs, others)
        return (shares * own + (1.0 - shares) * other).sum()


def objective_of(
    labels: Labels,
    learning: IntArray,
    smoothing: float,
    class_weight: Literal["balanced"] | None,
    device: torch.device,
) -> Objective:
    """Return the objective of all labelled examples; weights and spread are those of `learning`.

    "balanced" gives every class that occurs the same total weight; for labels, the presence and
    the absence of each. For numbers it changes nothing.
    """
    known = labels.take(learning)
    weights = labels.weights / known.weights.mean()
    label_weights = np.ones((2, labels.outputs))
    if class_weight == "balanced" and labels.kind in CLASSES:
        by_class = _balance(known.columns(), known.weights)
        weights = weights * by_class[labels.values.astype(np.int64)]
        weights = weights / weights[learning].mean()
    elif class_weight == "balanced" and labels.kind == "multilabel":
        present = known.columns()
        both = np.stack([1.0 - present, present], axis=-1)
        label_weights = np.stack([_balance(k, known.weights) for k in both.swapaxes(0, 1)], axis=1)
    spread = float(np.std(known.values)) if labels.kind == "regression" else 1.0
    kind_of = np.int64 if labels.kind in CLASSES else np.float32
    return Objective(
        kind=labels.kind,
        targets=torch.from_numpy(labels.values.astype(kind_of)).to(device),
        weights=torch.from_numpy(weights.astype(np.float32)).to(device),
        label_weights=torch.from_numpy(label_weights.astype(np.float32)).to(device),
        smoothing=smoothing,
        spread=spread or 1.0,
    )


def _balance(columns: FloatArray, weights: FloatArray) -> FloatArray:
    """Return (K,) weights that give each of the columns (n, K) of 0 and 1 that isn't empty an
    equal share; 1 for those that are."""
    sizes = weights @ columns
    occurring = np.count_nonzero(sizes)
    return np.where(sizes > 0, sizes.sum() / (occurring * np.where(sizes > 0, sizes, 1.0)), 1.0)


@dataclass(frozen=True)
class Mixing:
    """How the examples of a batch are mixed, each with its neighbour: 0 with 1, 2 with 3, …

    The order of a batch is random already, and neighbours stay together where a batch is divided.

    Attributes:
        others: (b,) positions of the neighbours; an odd last one is its own.
        shares: (b,) of the example itself; alike for both of a pair.
        cut: (b,) whether a box of the neighbour is pasted in, instead of all of it laid over.
        centres: (b, 2) of the box, 0 to 1.
    """

    others: IntArray
    shares: FloatArray
    cut: BoolArray
    centres: FloatArray

    def take(self, part: slice) -> "Mixing":
        """Return the mixing of a part of the batch that begins and ends between pairs."""
        others = self.others[part] - (part.start or 0)
        return Mixing(others, self.shares[part], self.cut[part], self.centres[part])

    def apply(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mixed batch, and (b,) what share of each is its own: pixels are whole."""
        shares = torch.from_numpy(self.shares.astype(np.float32))
        column = shares.reshape(-1, *[1] * (batch.ndim - 1)).to(batch.device)
        partners = batch[torch.from_numpy(self.others).to(batch.device)]
        mixed = column * batch + (1.0 - column) * partners
        for i in np.flatnonzero(self.cut).tolist():
            box, outside = _box(self.shares[i], self.centres[i], batch.shape[2:])
            mixed[i] = batch[i]
            inside = (slice(None), *box)
            mixed[i][inside] = partners[i][inside]
            shares[i] = outside
        return mixed, shares


def _box(share: float, centre: FloatArray, size: torch.Size) -> tuple[tuple[slice, ...], float]:
    """Return a box about `centre` of 1 − share of a grid, cut off at its edges, and the share
    outside of it."""
    box, inside = [], 1.0
    for at, length in zip(centre.tolist(), size, strict=True):
        half = length * (1.0 - share) ** 0.5 / 2
        low, high = (round(min(max(at * length + s * half, 0), length)) for s in (-1, 1))
        box.append(slice(low, high))
        inside *= (high - low) / length
    return tuple(box), 1.0 - inside


def draw_mixing(
    count: int, random: np.random.Generator, mixup: float, cutmix: float
) -> Mixing | None:
    """Return how a batch of `count` examples is mixed: shares from Beta(alpha, alpha), a coin for
    each pair where both ways are asked for; `None` where none is.

    Zhang et al. 2018, mixup; Yun et al. 2019, CutMix.
    """
    if not mixup and not cutmix:
        return None
    pairs = (count + 1) // 2
    cut = random.random(pairs) < 0.5 if mixup and cutmix else np.full(pairs, cutmix > 0)
    alphas = np.where(cut, cutmix, mixup)
    shares = random.beta(alphas, alphas)
    centres = random.random((pairs, 2))
    place = np.arange(count)
    others = np.minimum(place ^ 1, count - 1)
    return Mixing(others, shares[place // 2], cut[place // 2], centres[place // 2])
