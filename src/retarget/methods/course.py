"""The course of every training: start, train, mix, once more on all rows, write."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from retarget.core import processes
from retarget.methods import kept, mixing
from retarget.methods.losses import calibrated
from retarget.methods.mixing import Mixed
from retarget.methods.trainee import Trainee
from retarget.methods.training import Trained, train
from retarget.methods.tuning import Mix, Subject, TrainingCost, Tuned
from retarget.methods.tunings import GradientTuning, Ready
from retarget.sources.encoder import Encoder
from retarget.sources.tuned import save_tuned

ENDED_AGAIN = (
    "interrupted: training on all rows was ended by hand. What is handed over learned without the "
    "validation rows."
)


@dataclass(frozen=True)
class Outcome:
    """What there is to tell: of the training that was judged, and of all."""

    trained: Trained
    mixed: Mixed | None
    cost: TrainingCost
    notes: tuple[str, ...]
    interrupted: bool
    again: bool = False


def run(tuning: GradientTuning, subject: Subject, key: str) -> Tuned:
    """Train, and write the tuned encoder and all that is told of it under `key`."""
    encoder = tuning.start(subject).load()
    how = tuning.settled(encoder, subject)
    again = how.trains_again(subject)
    ready = _ready(how, encoder, subject)
    trained = train(
        ready.trainee,
        ready.parts,
        _first(subject, again),
        how,
        key=f"{key}-1",
        lesson=ready.lesson,
    )
    mixed = None
    if how.mixes and subject.validation.any():
        mixed = mixing.judge(
            ready.trainee,
            ready.start,
            trained.outputs,
            subject,
            more=how.kept_shares,
            behind=trained.settings.get("cached_behind", ""),
        )
    outcome = Outcome(trained, mixed, trained.cost, trained.notes, trained.interrupted)
    if again and not outcome.interrupted:
        second, later = _again(how, subject, outcome, key)
        if later.interrupted:
            # The first is whole and judged; the second is neither.
            notes = (*outcome.notes, ENDED_AGAIN)
            outcome = replace(outcome, cost=later.cost, notes=notes, interrupted=True)
        else:
            ready, outcome = second, later
    tuned = _written(how, subject, ready, outcome, key)
    # What was ended by hand is no answer to the same question asked again.
    if processes.is_main() and not outcome.interrupted:
        kept.keep(key, tuned, subject.labels.kind, subject.pooling)
    processes.barrier()
    return tuned


def _ready(how: GradientTuning, encoder: Encoder, subject: Subject) -> Ready:
    ready = how.begin(encoder, subject)
    return replace(ready, start=mixing.weights_of(ready.trainee)) if how.mixes else ready


def _first(subject: Subject, again: bool) -> Subject:
    """Return the subject of the first training, with its part of the time."""
    if not again or subject.seconds is None:
        return subject
    share = len(subject.learning) / (len(subject.learning) + len(subject.labels))
    return replace(subject, seconds=subject.seconds * share)


def _again(
    how: GradientTuning, subject: Subject, first: Outcome, key: str
) -> tuple[Ready, Outcome]:
    """Train once more, on all rows, as the first training turned out to be best."""
    everything = replace(
        subject,
        validation=np.zeros(len(subject.labels), dtype=np.bool_),
        title=f"{subject.title}, on all rows",
        seconds=subject.seconds and max(subject.seconds - first.cost.seconds, 0.0),
    )
    ready = _ready(how, how.start(subject).load(), everything)
    cost, notes, interrupted = first.cost, first.notes, False
    if _moved(how, first):
        trained = train(
            ready.trainee,
            ready.parts,
            everything,
            replace(how, lr=first.trained.lr, epochs=first.trained.schedule),
            key=f"{key}-2",
            epochs=first.trained.taken,
            lesson=ready.lesson,
        )
        cost, notes = _sum(cost, trained.cost), (*notes, *trained.notes)
        interrupted = trained.interrupted
    return ready, Outcome(first.trained, first.mixed, cost, notes, interrupted, again=True)


def _moved(how: GradientTuning, first: Outcome) -> bool:
    """Return whether any weights but those at the start are wanted."""
    mixed = first.mixed
    at_start = first.trained.taken == 0 or (mixed is not None and mixed.share == 0.0)
    return not at_start or bool(how.kept_shares and first.trained.taken)


def _sum(first: TrainingCost, second: TrainingCost) -> TrainingCost:
    return replace(
        first,
        seconds=first.seconds + second.seconds,
        peak_megabytes=max(first.peak_megabytes, second.peak_megabytes),
        disk_megabytes=max(first.disk_megabytes, second.disk_megabytes),
    )


def _written(
    how: GradientTuning, subject: Subject, ready: Ready, outcome: Outcome, key: str
) -> Tuned:
    """Write the encoder, and return all there is to know, calibrated on the validation rows."""
    folder, trainee = kept.folder_of(key), ready.trainee.cpu().eval()
    trained, mixed = outcome.trained, outcome.mixed
    if processes.is_main():
        kept.discard(key)
    outputs = trained.outputs
    points: tuple[Mix, ...] = ()
    if mixed:
        outputs = mixed.outputs[mixed.at(mixed.share)]
        points = _mix(how, subject, ready, mixed, folder)
    temperature = 1.0
    if subject.validation.any():
        temperature = calibrated(subject.labels.take(subject.judging), outputs)[0]
    member = trainee.member(how.name, temperature)
    adapter = how.end(ready, folder if processes.is_main() else None)
    return Tuned(
        uri=_save(how, subject, trainee, folder / kept.ENCODER),
        member=member,
        validation=outputs,
        epochs=trained.epochs,
        taken=trained.taken,
        why=_why(outcome),
        gap=trained.gap,
        cost=outcome.cost,
        mixes=points,
        settings=_settings(how, ready, outcome),
        notes=outcome.notes,
        adapter=adapter,
    )


def _save(how: GradientTuning, subject: Subject, trainee: Trainee, folder: Path) -> str:
    """Write the encoder as it is now, in the main process; return its URI."""
    if not processes.is_main():
        return f"file:{folder}"
    return save_tuned(how.start(subject), trainee.encoder, folder)


def _mix(
    how: GradientTuning, subject: Subject, ready: Ready, mixed: Mixed, folder: Path
) -> tuple[Mix, ...]:
    """Leave the best mixture in the trainee; write those that are kept; return all points."""
    trainee, points = ready.trainee, list(mixed.points)
    tuned = mixing.weights_of(trainee)
    for share in how.kept_shares:
        if share == mixed.share == 1.0:  # what is handed over anyway
            continue
        at = mixed.at(share)
        trainee.load_state_dict(mixing.mixed_weights(ready.start, tuned, share))
        uri = _save(how, subject, trainee, folder / f"mix-{share:g}")
        member = trainee.member(how.name, mixed.temperatures[at])
        points[at] = replace(points[at], uri=uri, member=member)
    trainee.load_state_dict(mixing.mixed_weights(ready.start, tuned, mixed.share))
    return tuple(points)


def _why(outcome: Outcome) -> str:
    """Say why these weights."""
    mixed = outcome.mixed
    if mixed is None or mixed.share == 1.0:
        return outcome.trained.why
    return (
        f"{outcome.trained.why} Of its weights mixed with the source's, {mixed.share:.0%} had the "
        "lowest validation loss."
    )


def _settings(how: GradientTuning, ready: Ready, outcome: Outcome) -> dict[str, Any]:
    """Return all that was decided, JSON-able."""
    mixed = outcome.mixed
    return {
        **asdict(how),
        **outcome.trained.settings,
        "refit": outcome.again,
        **({"share": mixed.share} if mixed else {}),
    }
