"""Who says which epoch was best: the validation rows, and by how much training rows flatter."""

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt

import numpy as np
import torch
from torch import Tensor

from retarget.core.errors import TrainingError
from retarget.core.types import FloatArray, IntArray
from retarget.evaluation.metrics import score
from retarget.evaluation.quantiles import t_quantile
from retarget.methods.base import Labels
from retarget.methods.gear import Gear
from retarget.methods.losses import calibrated, example_losses
from retarget.methods.memory import run_in_parts
from retarget.methods.model import to_probabilities
from retarget.methods.units import Course, by_example

# Rows that are learned from, which are looked at as at prediction: for the gap, before training.
GAP_ROWS, START_ROWS = 1000, 256
LEVEL = 0.95


@dataclass(frozen=True)
class Judgement:
    """What the validation rows say.

    Attributes:
        outputs: (m, K) of them.
        temperature: that suits them.
        losses: (examples,) at that temperature, with the mean of those of the rows; see
            `units.by_example`.
        score: headline metric.
    """

    outputs: FloatArray
    temperature: float
    losses: FloatArray
    score: float

    @property
    def loss(self) -> float:
        """Mean loss; NaN without rows."""
        return float(self.losses.mean()) if len(self.losses) else float("nan")


class Judge:
    """Runs the trainee as at prediction: in float32, nothing dropped, no batch's statistics.

    Attributes:
        trainee, subject: whom it runs, on what.
    """

    def __init__(self, gear: Gear) -> None:
        self.trainee, self.subject = gear.trainee, gear.subject
        self._gear, self._subject = gear, gear.subject
        self._labels = gear.subject.labels.take(gear.subject.judging)

    def validation(self) -> Judgement:
        """Judge the weights as they are. Raises `TrainingError` for outputs that aren't finite."""
        return judged(self._labels, self.outputs(self._subject.judges), self._subject.metric)

    def learning_losses(self, most: int, temperature: float) -> FloatArray:
        """Return (≤ most,) losses of examples that are learned from, chosen by the seed."""
        found = self._subject.learners
        if len(found) > most:
            random = np.random.default_rng([self._subject.seed, most])
            found = np.sort(random.choice(found, most, replace=False))
        outputs = self.outputs(found)
        labels = self._subject.labels.take(self._subject.inputs.rows(found))
        losses = example_losses(labels, predictions(labels, outputs, temperature))
        return by_example(losses, labels.sequences)

    def gap(self, found: Judgement) -> tuple[float, float, float]:
        """Return validation loss less training loss, and its 95% interval (Welch's t)."""
        return difference(found.losses, self.learning_losses(GAP_ROWS, found.temperature))

    def outputs(self, examples: IntArray) -> FloatArray:
        """Return (rows, K) float64 outputs for examples of the subject, alike in all processes."""
        return self._made(examples, self._gear.trainee, self._subject.labels.outputs)

    def features(self, examples: IntArray) -> FloatArray:
        """Return (rows, d) float64 of what the head reads, before it is scaled, likewise."""
        trainee = self._gear.trainee
        return self._made(examples, trainee.features, len(trainee.centre))

    def _made(self, examples: IntArray, make: Callable[[Tensor], Tensor], width: int) -> FloatArray:
        gear, rows = self._gear, self._subject.inputs.rows
        place = gear.team.share(len(examples))
        gear.trainee.eval()
        course = Course(gear.feeding.plain, examples[place], gear.how.batch)
        batches = gear.feeding.evaluation(course.batches)
        run = torch.no_grad()(lambda part: make(self._gear.placed(part)))
        found = [course.rows(run_in_parts(run, batch), at) for at, batch in enumerate(batches)]
        before, until = len(rows(examples[: place.start])), len(rows(examples[: place.stop]))
        made = course.restored(found, width)
        outputs = gear.team.whole(made, slice(before, until), len(rows(examples)))
        if not np.isfinite(outputs).all():
            raise TrainingError(
                f"{self._subject.title}: the model's outputs are not finite. Train with a smaller "
                "learning rate (--lr), or in float32."
            )
        return outputs


def judged(labels: Labels, outputs: FloatArray, metric: str) -> Judgement:
    """Return what labels say of outputs (m, K)."""
    if not len(labels):
        return Judgement(outputs, 1.0, np.zeros(0), float("nan"))
    temperature, made = calibrated(labels, outputs)
    shown = made[:, 0] if labels.kind == "regression" else made
    value = score(
        metric, labels.kind, labels.values, shown, labels.weights, sequences=labels.sequences
    )
    losses = by_example(example_losses(labels, made), labels.sequences)
    return Judgement(outputs, temperature, losses, value)


def clearly_worse(losses: FloatArray, lowest: FloatArray) -> bool:
    """Return whether losses (m,) are above the lowest epoch's by more than one standard error.

    Of the paired difference. What can't be told apart is as good, and the later epoch is the one
    whose learning rate has fallen further: with ten validation rows the lowest loss is luck.
    """
    differences = losses - lowest
    if len(differences) < 2:
        return bool(differences.sum() > 0.0)
    error = float(differences.std(ddof=1)) / sqrt(len(differences))
    return float(differences.mean()) > error


def predictions(labels: Labels, outputs: FloatArray, temperature: float) -> FloatArray:
    """Return outputs as probabilities at a temperature; numbers as they are."""
    if labels.kind == "regression":
        return outputs
    return to_probabilities(labels.kind, outputs / temperature)


def difference(a: FloatArray, b: FloatArray) -> tuple[float, float, float]:
    """Return the difference of means a − b of independent samples with its interval.

    Welch 1947; NaN where a sample has less than two values.
    """
    if min(len(a), len(b)) < 2:
        value = float(a.mean() - b.mean()) if min(len(a), len(b)) else float("nan")
        return value, float("nan"), float("nan")
    value = float(a.mean() - b.mean())
    parts = [float(x.var(ddof=1)) / len(x) for x in (a, b)]
    total = sum(parts)
    if total <= 0.0:
        return value, value, value
    degrees = total**2 / sum(p**2 / (len(x) - 1) for p, x in zip(parts, (a, b), strict=True))
    half = t_quantile((1 + LEVEL) / 2, max(degrees, 1.0)) * sqrt(total)
    return value, value - half, value + half
