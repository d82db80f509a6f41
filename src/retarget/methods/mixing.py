"""WiSE-FT: weights on the way from the source to the tuned ones, chosen on validation rows."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import torch
from torch import Tensor

from retarget.core.progress import progress
from retarget.core.types import FloatArray
from retarget.evaluation.metrics import score
from retarget.features.devices import pick_device
from retarget.features.views import Views
from retarget.methods.base import Labels
from retarget.methods.losses import calibrated, example_losses
from retarget.methods.memory import run_in_parts
from retarget.methods.start import EXAMPLES_AT_ONCE
from retarget.methods.trainee import Trainee
from retarget.methods.tuning import Mix, Subject
from retarget.methods.units import Course

SHARES = tuple(i / 10 for i in range(11))
# Losses that are closer than this are one and the same, in another order of summation.
ALIKE = 1e-6
# Of activations of frozen layers, kept in memory while mixtures are judged.
MOST_BYTES = 500_000_000

Weights = Mapping[str, Tensor]


@dataclass(frozen=True)
class Mixed:
    """The way from the source to the tuned weights.

    Attributes:
        share: of the tuned weights, where it is best.
        points: of the way, from the source on.
        outputs: (m, K) of the validation rows at each point.
        temperatures: that suit them.
    """

    share: float
    points: tuple[Mix, ...]
    outputs: tuple[FloatArray, ...]
    temperatures: tuple[float, ...]

    def at(self, share: float) -> int:
        """Return the number of the point with that share."""
        return [p.share for p in self.points].index(share)


def weights_of(trainee: Trainee) -> dict[str, Tensor]:
    """Return a copy of all weights and running statistics, encoder and head, on the CPU."""
    return {k: v.detach().cpu().clone() for k, v in trainee.state_dict().items()}


def mixed_weights(start: Weights, tuned: Weights, share: float) -> dict[str, Tensor]:
    """Return (1 − share) · start + share · tuned; what counts in whole numbers is the tuned."""
    return {
        name: torch.lerp(start[name], value, share) if value.is_floating_point() else value
        for name, value in tuned.items()
    }


def judge(
    trainee: Trainee,
    start: Weights,
    outputs: FloatArray,
    subject: Subject,
    more: Sequence[float] = (),
    behind: str = "",
) -> Mixed:
    """Judge every tenth of the way, and `more` shares, by the validation rows.

    Of shares that are as good as each other the one nearest to the source is the best. Wortsman
    et al. 2022, Robust fine-tuning of zero-shot models.

    Args:
        trainee: as trained, and left so.
        start: its weights before.
        outputs: (m, K) of the validation rows, as trained.
        subject: examples.
        more: shares up to 1.
        behind: a layer up to which nothing was trained, so that it is run once for all shares.
    """
    tuned, labels = weights_of(trainee), subject.labels.take(subject.judging)
    shares = sorted({*SHARES, *more} - {1.0})
    between = (mixed_weights(start, tuned, share) for share in shares)
    found = [*_outputs(trainee, between, len(shares), subject, behind), outputs]
    trainee.load_state_dict(tuned)
    points, temperatures = [], []
    for share, one in zip((*shares, 1.0), found, strict=True):
        temperature, point = _point(share, labels, one, subject.metric)
        temperatures.append(temperature)
        points.append(point)
    lowest = min(p.validation_loss for p in points)
    best = next(p for p in points if p.validation_loss <= lowest + ALIKE * abs(lowest))
    return Mixed(best.share, tuple(points), tuple(found), tuple(temperatures))


@torch.no_grad()
def _outputs(
    trainee: Trainee, weights: Iterable[Weights], count: int, subject: Subject, behind: str
) -> Iterator[FloatArray]:
    """Yield (m, K) outputs of the validation rows with each of `count` sets of weights."""
    device = pick_device(subject.device)
    trainee.to(device).eval()
    views = Views(subject.inputs, trainee.encoder, seed=subject.seed, strength=0.0)
    split = trainee.encoder.split_at(behind) if behind else None
    activations: list[Tensor] = []
    course = Course(views, subject.judges, EXAMPLES_AT_ONCE)
    if split and 4 * prod(split.shape) * len(subject.judges) <= MOST_BYTES:
        whole = views.evaluation(course.batches)
        activations = [split.prefix(batch.to(device)) for batch in whole]
    with progress("Mixing with the source", count, "mixtures") as meter:
        for one in weights:
            trainee.load_state_dict(dict(one))
            trainee.split = split if activations else None
            stream = activations or views.evaluation(course.batches)
            made = [
                course.rows(run_in_parts(lambda part: trainee(part.to(device)), batch), at)
                for at, batch in enumerate(stream)
            ]
            trainee.split = None
            meter.advance()
            yield course.restored(made, subject.labels.outputs)


def _point(share: float, labels: Labels, outputs: FloatArray, metric: str) -> tuple[float, Mix]:
    """Return the temperature that suits outputs, and what they are worth at it."""
    if not np.isfinite(outputs).all():  # between two good models there can be a bad one
        return 1.0, Mix(share, float("inf"), float("nan"))
    temperature, predictions = calibrated(labels, outputs)
    shown = predictions[:, 0] if labels.kind == "regression" else predictions
    loss = float(example_losses(labels, predictions).mean())
    worth = score(
        metric, labels.kind, labels.values, shown, labels.weights, sequences=labels.sequences
    )
    return temperature, Mix(share, loss, worth)
