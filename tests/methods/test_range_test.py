from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest
import torch

from retarget.methods import range_test
from retarget.methods.gear import equip
from retarget.methods.range_test import find_lr, smoothed, steepest
from retarget.methods.settings import Part, Training
from retarget.methods.training import train

RATES = np.geomspace(1e-6, 1e-1, 60)
HOW = Training(epochs=3, lr="auto", batch=6, augment=0.2, views=0)


def test_takes_the_rate_where_the_loss_falls_fastest() -> None:
    place = np.log10(RATES)
    losses = 1 - 1 / (1 + np.exp(-(place + 3.5) * 4)) + 50 * np.maximum(place + 1.5, 0) ** 2
    assert steepest(RATES, losses, 9.0) == pytest.approx(10**-3.5, rel=0.3)
    noisy = losses + np.random.default_rng(0).normal(0, 0.03, 60)
    assert steepest(RATES, noisy, 9.0) == pytest.approx(10**-3.5, rel=0.6)


def test_stays_below_where_the_loss_begins_to_rise() -> None:
    losses = np.r_[np.linspace(1, 0.9, 30), np.linspace(0.9, 0.0, 5), np.linspace(0.5, 9, 25)]
    found = steepest(RATES, losses, 9.0)
    assert found <= RATES[int(smoothed(losses).argmin())] / 3


@pytest.mark.parametrize("losses", [[], [1.0] * 60, list(range(60)), [1.0, 0.5, 0.2]])
def test_says_otherwise_where_the_loss_does_not_fall(losses: list[float]) -> None:
    assert steepest(RATES[: len(losses)], np.array(losses), 9.0) == 9.0


def test_leaves_no_trace_and_is_the_same_every_time(trainable: ModuleType) -> None:
    made = trainable.subject(24, 8)
    model = trainable.trainee(made)
    parts = (Part(("linear.weight",)), Part(("encoder.last.weight",), from_epoch=3))
    gear = equip(model, parts, made, replace(HOW, batch_statistics=True), None)
    before = trainable.state(model)
    found = find_lr(gear, 9.0)
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())
    assert 1e-6 <= found <= 1e-1
    assert find_lr(gear, 9.0) == found


def test_a_loss_that_explodes_ends_it(trainable: ModuleType, monkeypatch) -> None:
    made = trainable.subject(24, 8)
    model = trainable.trainee(made)
    gear = equip(model, trainable.everything(model), made, HOW, None)
    monkeypatch.setattr(range_test, "HIGHEST", 1e6)
    assert find_lr(gear, 9.0) < 10
    model.linear.register_forward_hook(lambda *a: a[2] * float("nan"))
    assert find_lr(gear, 9.0) == 9.0


def test_a_training_uses_what_was_found(trainable: ModuleType) -> None:
    made = trainable.subject(60, 20)
    model = trainable.trainee(made)
    found = train(model, trainable.everything(model), made, HOW, key="auto")
    assert 1e-5 < found.lr < 1e-1
    assert found.settings["lr"] == found.lr and found.settings["head_lr"] == 10 * found.lr
    fixed = train(
        trainable.trainee(made), trainable.everything(model), made,
        replace(HOW, head_lr=0.003), key="head",
    )  # fmt: skip
    assert fixed.settings["head_lr"] == 0.003
