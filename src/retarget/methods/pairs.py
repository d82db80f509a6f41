"""Learning from pairs: examples of one class to be alike, those of different classes not."""

from dataclasses import dataclass, fields
from math import ceil

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from retarget.core.types import IntArray
from retarget.methods.judging import Judge
from retarget.methods.lesson import Lesson
from retarget.methods.objective import Objective
from retarget.methods.probe import Probe
from retarget.methods.scale import BlockScale
from retarget.methods.settings import Training
from retarget.methods.start import fitted
from retarget.methods.trainee import Trainee
from retarget.methods.tuning import Subject

# Of weights.
TINY = 1e-12
ALONG = 2  # examples of a class that lie side by side in a batch


@dataclass(frozen=True)
class PairObjective(Objective):
    """The loss of all pairs of a batch, by the cosine of what the head reads."""

    def read(self, trainee: Trainee, batch: Tensor) -> Tensor:
        """Return what the loss is of: the features (b, d) of a batch."""
        return trainee.features(batch)

    def total(self, outputs: Tensor, rows: Tensor) -> Tensor:
        """Return the loss of the pairs among features (b, d), times the weights of the examples at
        `rows`, so that parts of a batch add up to a mean of theirs."""
        weights = self.weights[rows]
        return weights.sum() * pair_loss(outputs, self.targets[rows], weights)


def pair_loss(features: Tensor, classes: Tensor, weights: Tensor) -> Tensor:
    """Return the squared error of cosines against 1 for pairs of one class and 0 for others.

    Each sort of pair is averaged by itself and both count alike, however many there are of each;
    0 where there is no pair. What Reimers and Gurevych 2019, Sentence-BERT, minimise over a list
    of pairs, here over all pairs of a batch: b passes give b (b − 1) / 2 of them.

    Args:
        features: (b, d).
        classes: (b,) numbers.
        weights: (b,) of the examples; a pair weighs the product of both.
    """
    unit = functional.normalize(features, dim=1)
    equal = classes[:, None] == classes
    errors = (unit @ unit.T - equal.to(unit.dtype)) ** 2
    pairs = torch.triu(weights[:, None] * weights, diagonal=1)
    losses, masses = [], []
    for sort in (equal, ~equal):
        mass = (pairs * sort).sum()
        losses.append((errors * pairs * sort).sum() / mass.clamp(min=TINY))
        masses.append((mass > 0).to(mass.dtype))
    return torch.stack(losses).sum() / torch.stack(masses).sum().clamp(min=1.0)


@dataclass(frozen=True)
class PairLesson(Lesson):
    """Examples are learned from in pairs, and the head is a probe of what they became.

    Attributes:
        steps: of an epoch.
        probe: the head.
    """

    steps: int
    probe: Probe
    together: int = ALONG

    def objective(self, subject: Subject, how: Training, device: torch.device) -> Objective:
        """Return what is minimised."""
        usual = super().objective(subject, how, device)
        return PairObjective(**{f.name: getattr(usual, f.name) for f in fields(usual)})

    def batches(self, subject: Subject, how: Training, epoch: int, least: int) -> list[IntArray]:
        """Return batches that hold as many examples of each class as of any other."""
        classes = subject.labels.values[subject.learning]
        return balanced_batches(
            subject.learning, classes.astype(np.int64), how.batch, self.steps, subject.seed, epoch
        )

    def fit_head(self, judge: Judge) -> None:
        """Fit the probe to the learning rows as the encoder sees them now."""
        subject = judge.subject
        x = judge.features(subject.learning).astype(np.float32)
        scale = BlockScale.fit(x, [x.shape[1]])
        labels = subject.labels.take(subject.learning)
        judge.trainee.start_from(scale, fitted(self.probe, scale(x), labels, subject))


def balanced_batches(
    rows: IntArray, classes: IntArray, batch: int, steps: int, seed: int, epoch: int
) -> list[IntArray]:
    """Return `steps` batches of rows, each with as many of every class, decided by (seed, epoch).

    A batch holds all classes, or those whose turn it is where there are more than half the size of
    a batch; of each the same number of rows, at least two, or all that the class has. Classes and
    their rows come round in random order. Two of a class lie side by side and classes take turns,
    so that parts of a batch have pairs of both sorts too.

    Args:
        rows: (n,) to draw from.
        classes: (n,) of them.
        batch: size of a batch, at most; 2 or more.
        steps: how many.
        seed: with the number of the epoch decides what is drawn.
        epoch: see above.
    """
    random = np.random.default_rng([seed, epoch])
    decks = [_Deck(rows[classes == c], random) for c in np.unique(classes)]
    turns = _Deck(np.arange(len(decks)), random)
    at_once = min(len(decks), max(batch // ALONG, 1))
    each = batch // at_once
    found = []
    for _ in range(steps):
        dealt = [decks[turn].deal(each) for turn in turns.deal(at_once)]
        rounds = range(0, ceil(each / ALONG) * ALONG, ALONG)
        found.append(np.concatenate([own[i : i + ALONG] for i in rounds for own in dealt]))
    return found


class _Deck:
    """Cards that are dealt in random order, all before any comes again, where numbers allow."""

    def __init__(self, cards: IntArray, random: np.random.Generator) -> None:
        self._cards, self._random = cards, random
        self._left = random.permutation(cards)

    def deal(self, count: int) -> IntArray:
        """Return so many different cards, or all there are."""
        count = min(count, len(self._cards))
        if len(self._left) < count:
            self._left = self._random.permutation(self._cards)
        dealt, self._left = self._left[:count], self._left[count:]
        return dealt
