"""The learning rate by a range test: raised step by step, and taken where the loss falls fastest.

Smith 2017, Cyclical Learning Rates for Training Neural Networks.
"""

from collections.abc import Iterator
from contextlib import closing
from itertools import count

import numpy as np

from retarget.core.progress import progress
from retarget.core.types import FloatArray, IntArray
from retarget.methods.gear import Gear
from retarget.methods.optimiser import set_lr
from retarget.methods.stepping import step_seed

MOST_STEPS, LEAST_STEPS = 60, 20
LOWEST, HIGHEST = 1e-6, 1e-1
# Steps, either way, over which losses are smoothed.
WIDTH = 2.5
# A loss so many times the first one says that all higher rates are too high.
DIVERGED = 4.0
# A fall by less, as a share of the first loss, is none.
LEAST_FALL = 1e-3
# At the lowest loss it is about to rise.
BELOW_LOWEST = 3.0
# Epochs have numbers; the order of the examples here is none of theirs.
FIRST_ORDER = 2**20


def find_lr(gear: Gear, otherwise: float) -> float:
    """Return a peak learning rate for the encoder; the weights are left as they were.

    All parts are trained, on up to 60 batches of the learning rows, at rates that rise evenly in
    their logarithm. The same every time.

    Args:
        gear: what to train with.
        otherwise: the answer where the loss never falls.
    """
    before = gear.copied()
    steps = int(np.clip(gear.decided.epochs * len(gear.batches(0)), LEAST_STEPS, MOST_STEPS))
    rates = np.geomspace(LOWEST, HIGHEST, steps)
    gear.activate(max(part.from_epoch for part in gear.parts))
    losses = _losses(gear, rates)
    gear.load(before)
    return steepest(rates[: len(losses)], losses, otherwise)


def _losses(gear: Gear, rates: FloatArray) -> FloatArray:
    """Return the loss at every rate, as far as it is finite and not out of all proportion."""
    optimiser = gear.optimiser(1.0)
    stepper = gear.stepper(optimiser)
    losses: list[float] = []
    title = f"{gear.subject.title}, finding a learning rate"
    with (
        closing(gear.shares(_batches(gear, len(rates)), 1, FIRST_ORDER)) as shares,
        progress(title, len(rates), "steps") as meter,
    ):
        for number, (share, rate) in enumerate(zip(shares, rates.tolist(), strict=True)):
            set_lr(optimiser, rate)
            try:
                losses.append(stepper.step(share, step_seed(gear.subject.seed, 0, number)))
            except FloatingPointError:
                break
            meter.advance()
            if losses[-1] > DIVERGED * losses[0]:
                break
    return np.array(losses)


def _batches(gear: Gear, steps: int) -> list[IntArray]:
    def endless() -> Iterator[IntArray]:
        for order in count(FIRST_ORDER):
            yield from gear.batches(order)

    return [rows for rows, _ in zip(endless(), range(steps), strict=False)]


def steepest(rates: FloatArray, losses: FloatArray, otherwise: float) -> float:
    """Return the rate where the smoothed loss falls fastest with the logarithm of the rate, at
    most a third of the rate where it is lowest; `otherwise` where it doesn't fall."""
    if len(losses) < LEAST_STEPS // 2:
        return otherwise
    smooth = smoothed(losses)
    lowest = int(smooth.argmin())
    if smooth[0] - smooth[lowest] <= LEAST_FALL * abs(smooth[0]):
        return otherwise
    slopes = np.gradient(smooth)[: lowest + 1]
    return float(min(rates[int(slopes.argmin())], rates[lowest] / BELOW_LOWEST))


def smoothed(losses: FloatArray) -> FloatArray:
    """Return the losses averaged over their neighbours, by a Gaussian of width `WIDTH`."""
    place = np.arange(len(losses))
    near = np.exp(-0.5 * ((place[:, None] - place) / WIDTH) ** 2)
    return np.asarray(near @ losses / near.sum(axis=1))
