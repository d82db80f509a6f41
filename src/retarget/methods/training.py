"""`train`: the only gradient loop of the project, from a trainee to what it became."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch

from retarget.core.progress import progress
from retarget.core.types import FloatArray
from retarget.methods.gear import Gear, equip
from retarget.methods.interruption import Interruption
from retarget.methods.journal import Journal
from retarget.methods.judging import judged
from retarget.methods.lesson import USUAL, Lesson
from retarget.methods.loop import Loop
from retarget.methods.memory import PeakMemory
from retarget.methods.recompute import recomputing
from retarget.methods.settings import Part, Training
from retarget.methods.trainee import Trainee
from retarget.methods.tuning import Epoch, Subject, TrainingCost
from retarget.sources.timm_encoder import stages


@dataclass(frozen=True)
class Trained:
    """What a training found. The trainee holds the weights of the epoch taken, in evaluation mode.

    Attributes:
        outputs: (m, K) of the validation rows, by the weights taken; empty where there are none.
        epochs, taken, why, gap, cost, notes: as in `Tuned`. Without validation rows their figures
            are NaN.
        lr: what was used.
        schedule: epochs that the learning rate's course was laid out for: give it as `epochs` of
            the settings to follow the same course again.
        settings: all that was decided, JSON-able.
        interrupted: whether somebody ended it.
    """

    outputs: FloatArray
    epochs: tuple[Epoch, ...]
    taken: int
    why: str
    gap: tuple[float, float, float]
    cost: TrainingCost
    lr: float
    notes: tuple[str, ...] = ()
    schedule: int = 0
    settings: dict[str, Any] = field(default_factory=dict)
    interrupted: bool = False


def train(
    trainee: Trainee,
    parts: Sequence[Part],
    subject: Subject,
    how: Training,
    *,
    key: str,
    epochs: int | None = None,
    lesson: Lesson | None = None,
) -> Trained:
    """Train a trainee on the subject's learning rows, judged by its validation rows.

    Where the shallowest layers are frozen (no parameter of theirs is in any part), their
    activations are computed once and only the rest is run, if that pays.

    Everything random follows from (seed, epoch, step or example), so that a training that was
    killed goes on to the same numbers. Of several processes each takes its share of every batch,
    and all come to what one process comes to, but for rounding, what is dropped, and statistics
    of batches, which are those of a share.

    Args:
        trainee: changed in place.
        parts: what is trained.
        subject: examples. Without validation rows training runs to `epochs`.
        how: settings.
        key: names this training; its checkpoints lie under it, and one that was killed goes on.
        epochs: stop after so many epochs of the schedule that `how` gives, whatever they bring:
            the same course again on other rows.
        lesson: how examples are learned from; `None` for the usual way.

    Raises:
        TrainingError: see `Tuning.fit`.
        UsageError: settings that don't fit the inputs.
        MissingExtraError: several processes without accelerate.
    """
    wanted = {name: p.requires_grad for name, p in trainee.named_parameters()}
    try:
        gear = equip(trainee, parts, subject, how, epochs, lesson or USUAL)
        return _trained(gear, key, epochs)
    finally:
        _put_down(trainee, wanted)


def _trained(gear: Gear, key: str, epochs: int | None) -> Trained:
    trainee, subject = gear.trainee, gear.subject
    with (
        Interruption() as interruption,
        PeakMemory(gear.team.device) as peak,
        _sparing(gear),
    ):
        loop = Loop(gear, key, epochs)
        journal = loop.journal
        whole = journal.last * gear.examples
        with progress(subject.title, whole, _unit(subject)) as meter:
            loop.run(interruption, meter)
        gear.load(loop.best)
        trainee.eval()
        found = judged(subject.labels.take(subject.judging), loop.outputs.numpy(), subject.metric)
        gap = loop.judge.gap(found) if subject.validation.any() else (float("nan"),) * 3
        cost = _cost(gear, loop, peak.megabytes)
    loop.remove_checkpoint()
    return Trained(
        outputs=found.outputs,
        epochs=tuple(journal.history),
        taken=journal.taken,
        why=why(journal, subject),
        gap=gap,
        cost=cost,
        lr=journal.lr,
        notes=(*gear.feeding.notes, *journal.notes, *_ended(journal)),
        schedule=journal.schedule,
        settings=loop.settings(),
        interrupted=journal.ended == "interrupted",
    )


def why(journal: Journal, subject: Subject) -> str:
    """Return one sentence: why the weights of that epoch."""
    taken, last = journal.taken, journal.history[-1].number if journal.history else 0
    if not subject.validation.any():
        return f"Epoch {taken}, the last: there were no validation rows to choose an epoch by."
    loss = f"{journal.best:.4g}"
    if taken == 0:
        return (
            f"The weights it started from: every epoch of {last} had a validation loss clearly "
            f"above theirs ({loss})."
        )
    if journal.best > journal.lowest:
        return (
            f"Epoch {taken} of {last}: the last one whose validation loss ({loss}) can't be told "
            f"apart from the lowest ({journal.lowest:.4g}) by one standard error."
        )
    after = last - taken
    rest = f"; {after} more were clearly above it" if after else ", the last one"
    return f"Epoch {taken} of {last}: the lowest validation loss ({loss}){rest}."


def _ended(journal: Journal) -> list[str]:
    if journal.ended != "interrupted":
        return []
    return [
        f"interrupted: training was ended by hand in epoch {journal.history[-1].number} of "
        f"{journal.last}. The best epoch so far was kept."
    ]


def _cost(gear: Gear, loop: Loop, peak: float) -> TrainingCost:
    trained = gear.trained
    sizes = {name: p.numel() for name, p in gear.trainee.named_parameters()}
    return TrainingCost(
        parameters=sum(sizes.values()),
        trainable=sum(n for name, n in sizes.items() if name in trained),
        seconds=loop.seconds,
        step_seconds=loop.journal.step_seconds,
        peak_megabytes=peak,
        disk_megabytes=gear.feeding.megabytes,
    )


def _put_down(trainee: Trainee, wanted: Mapping[str, bool]) -> None:
    """Leave the trainee whole, on the CPU, in evaluation mode, gradients wanted as before."""
    trainee.split = None
    trainee.to("cpu").to(memory_format=torch.contiguous_format).eval()
    for name, parameter in trainee.named_parameters():
        parameter.grad = None
        parameter.requires_grad_(wanted[name])


def _unit(subject: Subject) -> str:
    return f"{subject.inputs.modality}s"


def _sparing(gear: Gear) -> AbstractContextManager[None]:
    """Spare memory where that is wanted. Behind a cut blocks stand in for others, and what would
    be computed again is not what was."""
    if not gear.how.recompute:
        return nullcontext()
    if gear.trainee.split is not None:
        gear.feeding.notes.append(
            "Activations were not recomputed: those of the frozen layers are not kept anyway."
        )
        return nullcontext()
    encoder = gear.trainee.encoder
    return recomputing([encoder.get_submodule(name) for name in stages(encoder)])
