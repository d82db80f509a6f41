"""`Decisions`: the settings of a training with nothing left open."""

from dataclasses import dataclass
from typing import Any

import torch

from retarget.core.errors import UsageError
from retarget.methods.modes import has_attention, likes_bf16, likes_channels_last
from retarget.methods.schedule import augment_for, epochs_for, patience_for
from retarget.methods.settings import Training
from retarget.methods.trainee import Trainee
from retarget.methods.tuning import Subject

CONVOLUTION_LR, ATTENTION_LR = 5e-4, 1e-4
HEAD_TIMES = 10.0


@dataclass(frozen=True)
class Decisions:
    """What `Training` left to the task, decided.

    Attributes:
        epochs: that the schedule is laid out for.
        lr: peak of the encoder; where `searches`, what is taken if a range test finds none.
        searches: whether a range test finds it.
        head_lr: peak of the head, `None` for ten times that of the encoder.
        patience: epochs.
        augment: strength.
        bf16: whether the forward pass of training steps runs in bf16.
        batch_statistics: whether batch norms use the statistics of batches.
        channels_last: whether pictures and activations lie with their channels last.
    """

    epochs: int
    lr: float
    searches: bool
    head_lr: float | None
    patience: int
    augment: float
    bf16: bool
    batch_statistics: bool
    channels_last: bool

    def head(self, lr: float) -> float:
        """Return the peak learning rate of the head beside that of the encoder."""
        return HEAD_TIMES * lr if self.head_lr is None else self.head_lr

    def told(self, how: Training, lr: float, epochs: int) -> dict[str, Any]:
        """Return all settings by name, as used, JSON-able."""
        fields = Training.__dataclass_fields__
        return {
            **{name: getattr(how, name) for name in fields},
            "epochs": epochs,
            "lr": lr,
            "head_lr": self.head(lr),
            "patience": self.patience,
            "augment": self.augment,
            "precision": "bf16" if self.bf16 else "float32",
            "batch_statistics": self.batch_statistics,
        }


def decide(how: Training, subject: Subject, trainee: Trainee, device: torch.device) -> Decisions:
    """Return the settings for a subject. They follow from all labelled examples, those that judge
    included, so that a second training on all of them has the same course.

    Raises:
        UsageError: settings that don't fit the inputs.
    """
    if how.micro_batch is not None and how.micro_batch < 1:
        raise UsageError(f"micro_batch is how many examples go at once, not {how.micro_batch}.")
    examples = len(subject.inputs)
    attends = has_attention(trainee.encoder)
    shape = trainee.encoder.input_shape
    if how.cutmix and len(shape) < 2:
        raise UsageError(
            f"cutmix needs inputs with a grid of places; these are {tuple(shape)}. Use mixup."
        )
    if (how.mixup or how.cutmix) and not trainee.encoder.example_batch(1).is_floating_point():
        raise UsageError(
            "mixup and cutmix lay inputs over each other; these are numbers of words or pieces, "
            "which can't be mixed. Leave them out."
        )
    epochs = epochs_for(examples) if how.epochs is None else how.epochs
    usual = ATTENTION_LR if attends else CONVOLUTION_LR
    statistics = how.batch_statistics
    return Decisions(
        epochs=epochs,
        lr=how.lr if isinstance(how.lr, int | float) else usual,
        searches=how.lr == "auto",
        head_lr=how.head_lr,
        patience=patience_for(epochs) if how.patience is None else how.patience,
        augment=augment_for(examples) if how.augment is None else how.augment,
        bf16=how.precision == "bf16"
        or (how.precision == "auto" and likes_bf16(trainee.encoder, device)),
        batch_statistics=not subject.source.facts.pretrained if statistics is None else statistics,
        channels_last=likes_channels_last(trainee.encoder, device),
    )
