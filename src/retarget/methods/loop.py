"""The gradient loop: epochs of steps, judged, the best kept, and going on where it was killed."""

import time
from collections.abc import Mapping
from contextlib import closing, nullcontext, suppress
from typing import Any

import numpy as np
import torch
from torch import Tensor

from retarget.core import processes
from retarget.core.errors import TrainingError
from retarget.core.hashing import hash_json
from retarget.core.progress import Meter
from retarget.core.text import printable
from retarget.methods.callbacks import Callbacks
from retarget.methods.checkpoints import (
    Checkpoints,
    State,
    optimiser_state,
    prune,
    restore_optimiser,
)
from retarget.methods.gear import Gear
from retarget.methods.interruption import Interruption
from retarget.methods.journal import Journal
from retarget.methods.judging import START_ROWS, Judge, clearly_worse
from retarget.methods.optimiser import WeightAverage, set_lr
from retarget.methods.range_test import find_lr
from retarget.methods.schedule import Schedule
from retarget.methods.stepping import Share, step_seed
from retarget.methods.tuning import Epoch

# Seconds between checkpoints within an epoch; and how many times a checkpoint's own time must
# have passed before the next, so that they cost 2% at most.
SAVE_EVERY, SAVE_SPARSELY = 60.0, 50.0
# Steps after which it is decided how many epochs fit the time.
TIMED_STEPS = 6


class Loop:
    """A training under way; goes on from its checkpoint where there is one.

    Attributes:
        journal: what was done and decided.
        judge: of its weights.
        best: tensors of the epoch taken, on the CPU.
        outputs: (m, K) of the validation rows, by them.
    """

    def __init__(self, gear: Gear, key: str, epochs: int | None) -> None:
        self._gear, self._fixed = gear, epochs is not None
        self._checkpoints = Checkpoints(hash_json(["training", key]))
        self._began = self._saved = time.perf_counter()
        self._save_seconds = self._judge_seconds = 0.0
        self._callbacks = Callbacks(gear.subject.callbacks)
        self.judge = Judge(gear)
        self.best = gear.copied()
        self.outputs = torch.zeros(0, gear.subject.labels.outputs, dtype=torch.float64)
        self._lowest = torch.zeros(0, dtype=torch.float64)
        state = _fitting(self._checkpoints.load(), gear)
        self.journal = Journal.from_told(state.told["journal"]) if state else _new(gear, epochs)
        self._optimiser = gear.optimiser(self.journal.lr)
        self._stepper = gear.stepper(self._optimiser)
        self._stepper.micro = self.journal.micro
        decay = gear.how.average
        self._average = WeightAverage(gear.tensors(), decay) if decay else None
        if state:
            self._go_on_from(state)

    @property
    def seconds(self) -> float:
        """Spent on this training, by processes that were killed too."""
        return self.journal.seconds + time.perf_counter() - self._began

    def run(self, interruption: Interruption, meter: Meter) -> None:
        """Train until the last epoch, or until something ends it. Raises `TrainingError`."""
        journal, subject = self.journal, self._gear.subject
        self._callbacks.on_train_begin(subject.title, self.settings())
        meter.advance(self._examples_done())
        if not journal.history and subject.validation.any():
            self._judge_epoch(0, float(self.judge.learning_losses(START_ROWS, 1.0).mean()), 0.0)
        while journal.epoch <= journal.last and not journal.ended:
            self._epoch(interruption, meter)
        self._callbacks.on_train_end(tuple(journal.history), journal.taken)
        journal.notes += self._callbacks.notes

    def settings(self) -> dict[str, Any]:
        """Return all that was decided, by name, JSON-able."""
        journal, gear = self.journal, self._gear
        cached = gear.feeding.cached
        return {
            **gear.decided.told(gear.how, journal.lr, journal.schedule),
            "micro_batch": self._stepper.micro,
            "cached_behind": gear.trainee.split.layer if gear.trainee.split else "",
            "views": cached.count if cached else 0,
        }

    def remove_checkpoint(self) -> None:
        """Delete what is no longer needed, and what others left behind too much of."""
        self._checkpoints.remove()
        prune()

    def _epoch(self, interruption: Interruption, meter: Meter) -> None:
        journal, gear = self.journal, self._gear
        gear.activate(journal.epoch)
        batches = gear.batches(journal.epoch)
        shares = gear.shares(batches, journal.epoch, journal.epoch, journal.step)
        with closing(shares):
            for rows in batches[journal.step :]:
                began = time.perf_counter()
                share = next(shares)
                loss = self._step(share, len(batches))
                journal.took(loss, share.mass, time.perf_counter() - began)
                meter.advance(len(rows))
                self._show(meter)
                if interruption.agreed():
                    journal.ended = "interrupted"
                    break
                self._fit_in_time(len(batches))
                if journal.step < len(batches) and self._since_saved() > SAVE_EVERY:
                    self._save()
        self._end_epoch(meter, len(batches))

    def _step(self, share: Share, steps: int) -> float:
        journal, subject = self.journal, self._gear.subject
        number = (journal.epoch - 1) * steps + journal.step
        factor = Schedule(journal.schedule * steps, self._gear.how.warmup).factor(number)
        set_lr(self._optimiser, factor)
        try:
            loss = self._stepper.step(share, step_seed(subject.seed, journal.epoch, journal.step))
        except FloatingPointError as what:
            raise self._not_finite(str(what), share, factor * journal.lr) from what
        journal.micro = self._stepper.micro
        if self._average is not None:
            self._average.update()
            journal.updates = self._average.updates
        self._callbacks.on_step_end(number + 1, loss, factor * journal.lr)
        return loss

    def _end_epoch(self, meter: Meter, steps: int) -> None:
        journal, gear = self.journal, self._gear
        if gear.decided.batch_statistics:
            gear.team.average(gear.trainee.buffers())
        loss = journal.mean_loss * gear.objective.spread**2
        schedule = Schedule(journal.schedule * steps, gear.how.warmup)
        factor = schedule.factor((journal.epoch - 1) * steps + journal.step - 1)
        stop = self._judge_epoch(journal.epoch, loss, factor * journal.lr)
        self._show(meter)
        waited = journal.history[-1].number - journal.taken
        if stop:
            journal.ended = journal.ended or "callback"
        elif not self._fixed and waited >= gear.decided.patience:
            journal.ended = journal.ended or "patience"
        journal.begin_next()
        goes_on = journal.epoch <= journal.last and not journal.ended
        if goes_on and self._since_saved() > min(SAVE_EVERY, SAVE_SPARSELY * self._save_seconds):
            self._save()

    def _judge_epoch(self, number: int, loss: float, lr: float) -> bool:
        """Judge the weights, keep them if they are the best so far; return whether to stop."""
        began = time.perf_counter()
        journal = self.journal
        with self._average.applied() if self._average else nullcontext():
            if number:
                self._gear.lesson.fit_head(self.judge)
            found = self.judge.validation()
            if not journal.history or not found.loss >= journal.lowest:
                journal.lowest, self._lowest = found.loss, torch.from_numpy(found.losses)
            if not clearly_worse(found.losses, self._lowest.numpy()):
                journal.taken, journal.best = number, found.loss
                self.best = self._gear.copied()
                self.outputs = torch.from_numpy(found.outputs)
        epoch = Epoch(number, loss, found.loss, found.score, lr, self.seconds)
        journal.history.append(epoch)
        self._judge_seconds = time.perf_counter() - began
        return self._callbacks.on_epoch_end(epoch)

    def _show(self, meter: Meter) -> None:
        journal = self.journal
        said = [f"loss {journal.mean_loss:.3f}"] if journal.mass else []
        if journal.history and np.isfinite(journal.history[-1].validation_loss):
            last = journal.history[-1]
            said += [f"validation {last.validation_loss:.3f}", f"score {last.score:.3f}"]
        meter.note(" · ".join(said))

    def _examples_done(self) -> int:
        journal, gear = self.journal, self._gear
        begun = gear.batches(journal.epoch)[: journal.step]
        done = (journal.epoch - 1) * gear.examples
        return done + sum(len(rows) for rows in begun)

    def _fit_in_time(self, steps: int) -> None:
        """Shorten the course, once, if what was measured says that it takes too long."""
        journal, limit = self.journal, self._gear.subject.seconds
        enough = journal.step >= min(TIMED_STEPS, steps)
        if limit is None or journal.timed or not enough:
            return
        # The first step sets things up.
        times = journal.times[1:] or journal.times
        epoch = float(np.median(times)) * steps + self._judge_seconds
        left = limit - self.seconds + float(np.sum(journal.times))
        fits = max(1, int(processes.broadcast(int(left / epoch))))
        journal.timed = True
        if fits < journal.last:
            journal.notes.append(
                f"Training was shortened from {journal.last} epochs to {fits}: one takes about "
                f"{epoch:.2g} s, and {limit:.3g} s were given."
            )
            journal.schedule, journal.last = min(journal.schedule, fits), fits

    def _not_finite(self, what: str, share: Share, lr: float) -> TrainingError:
        journal, subject = self.journal, self._gear.subject
        where = f"{subject.title}: the {what} is not finite in epoch {journal.epoch}, "
        where += f"step {journal.step + 1}, at a learning rate of {lr:.3g}."
        if share.batch is not None:
            whole = torch.isfinite(share.batch.flatten(1)).all(dim=1).numpy()
            if not whole.all():
                row = int(share.rows[np.flatnonzero(~whole)[0]])
                name = printable(str(subject.inputs.references[row]))
                return TrainingError(
                    f"{where} The input {name} holds numbers that are not finite: mend it or "
                    "take it out of the data."
                )
        return TrainingError(
            f"{where} Train with a smaller learning rate (--lr), or in float32 where it was bf16."
        )

    def _since_saved(self) -> float:
        return time.perf_counter() - self._saved

    def _save(self) -> None:
        began = time.perf_counter()
        journal, now = self.journal, self._gear.tensors()
        tensors, told = optimiser_state(self._optimiser)
        kept = _prefixed("now", now) | _prefixed("best", self.best) | _prefixed("step", tensors)
        if self._average is not None:
            kept |= _prefixed("average", self._average.values)
        kept["outputs"], kept["lowest"] = self.outputs, self._lowest
        record = {**journal.told(), "seconds": self.seconds}
        problem = self._checkpoints.save(kept, {"journal": record, "optimiser": told})
        if problem and problem not in journal.notes:
            journal.notes.append(problem)
        self._saved = time.perf_counter()
        self._save_seconds = self._saved - began

    def _go_on_from(self, state: State) -> None:
        self._gear.load(_group(state, "now"))
        self.best, self.outputs = _group(state, "best"), state.tensors["outputs"]
        self._lowest = state.tensors["lowest"]
        restore_optimiser(self._optimiser, _group(state, "step"), state.told["optimiser"])
        if self._average is not None:
            self._average.updates = self.journal.updates
            for name, tensor in _group(state, "average").items():
                self._average.values[name].copy_(tensor)


def _new(gear: Gear, epochs: int | None) -> Journal:
    decided, subject = gear.decided, gear.subject
    lr = find_lr(gear, decided.lr) if decided.searches else decided.lr
    return Journal(
        rows=(len(subject.learning), len(subject.judging)),
        lr=lr,
        schedule=decided.epochs,
        last=decided.epochs if epochs is None else epochs,
        micro=gear.how.at_once,
    )


def _fitting(state: State | None, gear: Gear) -> State | None:
    """Return a checkpoint if it is one of this training."""
    if state is None:
        return None
    own = {name: tensor.shape for name, tensor in gear.tensors().items()}
    kept = {name: tensor.shape for name, tensor in _group(state, "now").items()}
    rows = [len(gear.subject.learning), len(gear.subject.judging)]
    with suppress(KeyError, TypeError):
        return state if own == kept and state.told["journal"]["rows"] == rows else None
    return None


def _prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def _group(state: State, prefix: str) -> dict[str, Tensor]:
    start = f"{prefix}."
    return {n.removeprefix(start): t for n, t in state.tensors.items() if n.startswith(start)}
