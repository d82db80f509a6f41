"""`Gear`: all that a training works with, made ready on its device."""

from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.optim import AdamW

from retarget.core.types import FloatArray, IntArray
from retarget.methods.decisions import Decisions, decide
from retarget.methods.feeding import Feeding, cut_where_frozen
from retarget.methods.lesson import USUAL, Lesson
from retarget.methods.modes import set_modes
from retarget.methods.objective import Objective, draw_mixing
from retarget.methods.optimiser import adamw
from retarget.methods.schedule import alike
from retarget.methods.settings import Part, Training
from retarget.methods.stepping import Share, Stepper, placed
from retarget.methods.team import Team
from retarget.methods.trainee import Trainee
from retarget.methods.tuning import Subject


@dataclass(frozen=True)
class Gear:
    """What a training works with.

    Attributes:
        trainee: on the device.
        parts: what is trained of it.
        subject: what is learned.
        how: settings, and `decided`, what they left open.
        team: the processes.
        feeding: batches.
        objective: what is minimised.
        weights: (n,) of the rows of labels in it.
        lesson: how examples are learned from.
        buckets: how long examples are when prepared; `None` where all are alike.
    """

    trainee: Trainee
    parts: tuple[Part, ...]
    subject: Subject
    how: Training
    decided: Decisions
    team: Team
    feeding: Feeding
    objective: Objective
    weights: FloatArray
    lesson: Lesson = USUAL
    buckets: IntArray | None = None

    @property
    def examples(self) -> int:
        """How many examples an epoch sees, each as often as it is seen."""
        return sum(map(len, self.batches(1)))

    @property
    def trained(self) -> frozenset[str]:
        """Names of the parameters that any epoch trains."""
        return frozenset(name for part in self.parts for name in part.names)

    def optimiser(self, lr: float) -> AdamW:
        """Return a new optimiser of all parts."""
        named = dict(self.trainee.named_parameters())
        head_lr, how = self.decided.head(lr), self.how
        return adamw(named, self.parts, lr, head_lr, how.weight_decay, how.stay_near)

    def stepper(self, optimiser: AdamW) -> Stepper:
        """Return who takes steps with an optimiser."""
        return Stepper(
            self.trainee,
            self.objective,
            optimiser,
            self.team,
            self.how,
            self.decided,
            self.lesson.together,
            self.subject.inputs,
        )

    def activate(self, epoch: int) -> None:
        """Have the parameters of the parts that an epoch trains want gradients, and set modes."""
        active = {n for part in self.parts if part.from_epoch <= epoch for n in part.names}
        for name, parameter in self.trainee.named_parameters():
            parameter.requires_grad_(name in active)
        set_modes(self.trainee, active, self.decided.batch_statistics)

    def tensors(self) -> dict[str, Tensor]:
        """Return what training changes: trained parameters and all buffers, not copied."""
        trained = self.trained
        found = {n: p.detach() for n, p in self.trainee.named_parameters() if n in trained}
        return {**found, **dict(self.trainee.named_buffers())}

    def copied(self) -> dict[str, Tensor]:
        """Return copies of `tensors()` on the CPU."""
        return {n: t.detach().to("cpu", copy=True) for n, t in self.tensors().items()}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Put back tensors that are named as those of `tensors()`."""
        with torch.no_grad():
            for name, tensor in self.tensors().items():
                tensor.copy_(tensors[name])

    def placed(self, batch: Tensor) -> Tensor:
        """Return a batch where the trainee is, and laid out as it is."""
        return placed(batch, self.team.device, self.decided.channels_last)

    def batches(self, epoch: int) -> list[IntArray]:
        """Return the examples of every step of an epoch."""
        # A single example has no variance for a batch norm to divide by.
        least = 2 if self.decided.batch_statistics else 1
        found = self.lesson.batches(self.subject, self.how, epoch, least)
        if self.buckets is None or self.lesson.together > 1:
            return found
        return alike(found, self.buckets, self.subject.seed, epoch)

    def shares(
        self, batches: Sequence[IntArray], views: int, mark: int, first: int = 0
    ) -> Generator[Share, None, None]:
        """Yield this process's share of every batch from number `first` on.

        Args:
            batches: examples of all processes.
            views: number of the views that examples are seen in.
            mark: with the seed and the number of the batch decides how examples are mixed.
            first: number of the first one.
        """
        how, team = self.how, self.team
        mixes = how.mixup or how.cutmix
        batches = batches[first:]
        together = max(self.lesson.together, 2 if mixes else 1)
        places = [team.share(len(rows), together) for rows in batches]
        own = [rows[place] for rows, place in zip(batches, places, strict=True)]
        stream = self.feeding.training([rows for rows in own if len(rows)], views)
        with closing(stream):
            for at, (rows, mine, place) in enumerate(zip(batches, own, places, strict=True)):
                random = np.random.default_rng([self.subject.seed, mark, first + at])
                mixing = draw_mixing(len(rows), random, how.mixup, how.cutmix)
                batch = next(stream) if len(mine) else None
                mass = float(self.weights[self.subject.inputs.rows(rows)].sum())
                yield Share(batch, mine, mixing and mixing.take(place), mass, self._at_once(mine))

    def _at_once(self, examples: IntArray) -> int:
        """Return how many of some examples, filled up to the longest, go through the model at
        once: long ones need more memory."""
        usual = self.how.batch
        if self.buckets is None or not len(examples):
            return usual
        longest = int(self.buckets[examples].max())
        return min(usual, self.trainee.encoder.batch_size(longest, usual))


def equip(
    trainee: Trainee,
    parts: Sequence[Part],
    subject: Subject,
    how: Training,
    epochs: int | None,
    lesson: Lesson = USUAL,
) -> Gear:
    """Bring a trainee to its device and make all that its training needs.

    Raises:
        UsageError: settings that don't fit; a device that isn't here.
        MissingExtraError: several processes, and accelerate is not installed.
    """
    team = Team(subject.device)
    decided = decide(how, subject, trainee, team.device)
    trainee.to(team.device)
    if decided.channels_last:
        trainee.to(memory_format=torch.channels_last)
    objective = lesson.objective(subject, how, team.device)
    _start_at_the_mean(trainee, subject)
    feeding = Feeding(trainee, subject, decided)
    gear = Gear(
        trainee,
        tuple(parts),
        subject,
        how,
        decided,
        team,
        feeding,
        objective,
        objective.weights.cpu().double().numpy(),
        lesson,
        feeding.plain.buckets(np.arange(len(subject.inputs))),
    )
    last = decided.epochs if epochs is None else epochs
    cut_where_frozen(feeding, trainee, gear.trained, subject, how, last)
    return gear


@torch.no_grad()
def _start_at_the_mean(trainee: Trainee, subject: Subject) -> None:
    """Have a head of zeros predict the mean of the numbers: it may be far from zero."""
    labels, linear = subject.labels.take(subject.learning), trainee.linear
    if labels.kind == "regression" and not linear.weight.any() and not linear.bias.any():
        mean = float(np.average(labels.values, weights=labels.weights))
        linear.bias.fill_(mean / float(trainee.spread))
