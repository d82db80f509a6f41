"""`train`: the only gradient loop of the project."""

from collections.abc import Sequence
from dataclasses import dataclass

from retarget.core.types import FloatArray
from retarget.methods.settings import Part, Training
from retarget.methods.trainee import Trainee
from retarget.methods.tuning import Epoch, Subject, TrainingCost


@dataclass(frozen=True)
class Trained:
    """What a training found. The trainee holds the weights of the epoch taken, in evaluation mode.

    Attributes:
        outputs: (m, K) of the validation rows, by the weights taken; empty where there are none.
        epochs, taken, why, gap, cost, notes: as in `Tuned`.
        lr: what was used.
    """

    outputs: FloatArray
    epochs: tuple[Epoch, ...]
    taken: int
    why: str
    gap: tuple[float, float, float]
    cost: TrainingCost
    lr: float
    notes: tuple[str, ...] = ()


def train(
    trainee: Trainee,
    parts: Sequence[Part],
    subject: Subject,
    how: Training,
    *,
    key: str,
    epochs: int | None = None,
) -> Trained:
    """Train a trainee on the subject's learning rows, judged by its validation rows.

    Where the shallowest layers are frozen (no parameter of theirs is in any part), their
    activations are computed once and only the rest is run, if that pays.

    Args:
        trainee: changed in place.
        parts: what is trained.
        subject: examples. Without validation rows training runs to `epochs`.
        how: settings.
        key: names this training; its checkpoints lie under it, and one that was killed goes on.
        epochs: stop after so many epochs of the schedule that `how` gives, whatever they bring:
            the same course again on other rows.

    Raises:
        TrainingError: see `Tuning.fit`.
    """
    raise NotImplementedError
