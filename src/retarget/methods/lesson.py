"""`Lesson`: how examples are learned from: what is minimised, in which batches, and the head."""

from typing import TYPE_CHECKING

import torch

from retarget.core.types import IntArray
from retarget.methods.objective import Objective, objective_of
from retarget.methods.schedule import epoch_batches
from retarget.methods.settings import Training
from retarget.methods.tuning import Subject

if TYPE_CHECKING:
    from retarget.methods.judging import Judge


class Lesson:
    """The usual one: a loss for each example, each seen once an epoch, the head trained along.

    Attributes:
        together: examples of a batch that are never parted, neither by memory nor by processes.
    """

    together: int = 1

    def objective(self, subject: Subject, how: Training, device: torch.device) -> Objective:
        """Return what is minimised."""
        return objective_of(
            subject.labels, subject.learning, how.label_smoothing, how.class_weight, device
        )

    def batches(self, subject: Subject, how: Training, epoch: int, least: int) -> list[IntArray]:
        """Return the examples of every step of an epoch, which (seed, epoch) decide; as many in all
        epochs. No batch has fewer than `least` examples if that can be helped."""
        return epoch_batches(subject.learners, how.batch, subject.seed, epoch, least)

    def fit_head(self, judge: "Judge") -> None:
        """Make the head what it is to be at the end of an epoch, where gradients don't."""


USUAL = Lesson()
