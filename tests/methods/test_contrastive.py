"""Pairs against the plainest loop, batches, and what tuning on pairs is for."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from retarget.core.errors import TrainingError, UsageError
from retarget.methods.contrastive import Contrastive, steps_for
from retarget.methods.decisions import decide
from retarget.methods.gear import equip
from retarget.methods.pairs import PairLesson, PairObjective, balanced_batches, pair_loss
from retarget.methods.probe import Probe
from retarget.methods.settings import Training
from retarget.methods.training import train
from retarget.sources.registry import resolve

LESSON = PairLesson(2, Probe())


def plain_loss(features, classes, weights):
    """One pair after the other."""
    losses = []
    for wanted in (True, False):
        above = below = 0.0
        for i in range(len(features)):
            for j in range(i + 1, len(features)):
                if bool(classes[i] == classes[j]) is wanted:
                    a, b = features[i], features[j]
                    cosine = float(a @ b / np.sqrt((a @ a) * (b @ b)))
                    weight = weights[i] * weights[j]
                    above += weight * (cosine - wanted) ** 2
                    below += weight
        if below:
            losses.append(above / below)
    return sum(losses) / len(losses) if losses else 0.0


@given(
    classes=st.lists(st.integers(0, 3), min_size=1, max_size=9),
    seed=st.integers(0, 999),
)
@settings(deadline=None, max_examples=40)
def test_the_loss_is_that_of_a_plain_loop_over_pairs(classes, seed):
    random = np.random.default_rng(seed)
    x = random.normal(size=(len(classes), 5))
    weights = random.uniform(0.2, 3.0, len(classes))
    found = pair_loss(torch.tensor(x), torch.tensor(classes), torch.tensor(weights))
    assert float(found) == pytest.approx(plain_loss(x, classes, weights), abs=1e-9)


@given(classes=st.lists(st.integers(0, 2), min_size=1, max_size=6), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=20)
def test_gradients_are_finite_whatever_pairs_there_are(classes, seed):
    x = torch.randn(len(classes), 3, generator=torch.Generator().manual_seed(seed))
    x.requires_grad_(True)
    pair_loss(x, torch.tensor(classes), torch.ones(len(classes))).backward()
    assert torch.isfinite(x.grad).all()


def test_a_step_along_the_gradient_draws_equals_together_and_others_apart():
    x = torch.randn(8, 4, generator=torch.Generator().manual_seed(1), requires_grad=True)
    classes = torch.arange(8) % 2
    pair_loss(x, classes, torch.ones(8)).backward()
    moved = (x - 0.5 * x.grad).detach()

    def spread(features):
        cosines = functional.normalize(features, dim=1) @ functional.normalize(features, dim=1).T
        equal = classes[:, None] == classes
        return float(cosines[equal].mean() - cosines[~equal].mean())

    assert spread(moved) > spread(x.detach())


@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=12),
    batch=st.integers(2, 20),
    seed=st.integers(0, 99),
)
@settings(deadline=None, max_examples=60)
def test_batches_have_as_many_of_every_class_and_no_row_twice(sizes, batch, seed):
    classes = np.repeat(np.arange(len(sizes)), sizes)
    rows = 100 + np.random.default_rng(seed).permutation(len(classes))
    found = balanced_batches(rows, classes, batch, 4, seed, 1)
    again = balanced_batches(rows, classes, batch, 4, seed, 1)
    class_of = dict(zip(rows.tolist(), classes.tolist(), strict=True))
    assert len(found) == 4
    for one, same in zip(found, again, strict=True):
        np.testing.assert_array_equal(one, same)
        assert 1 <= len(one) <= batch
        assert len(set(one.tolist())) == len(one)
        held = np.bincount([class_of[r] for r in one.tolist()], minlength=len(sizes))
        most = held.max()
        # A class has fewer only where it has no more.
        assert all(h in (0, most) or h == size for h, size in zip(held, sizes, strict=True))


def test_every_row_has_its_turn_before_any_comes_again():
    rows, classes = np.arange(64), np.arange(64) % 2
    found = np.concatenate(balanced_batches(rows, classes, 16, 4, 0, 1))
    np.testing.assert_array_equal(np.sort(found), rows)


def test_parts_of_a_batch_have_pairs_of_both_sorts():
    rows, classes = np.arange(40), np.arange(40) % 4
    (batch,) = balanced_batches(rows, classes, 32, 1, 0, 1)
    for part in np.split(batch, 4):
        held = np.bincount(classes[part], minlength=4)
        assert (held == 2).all()


def test_other_epochs_and_seeds_draw_otherwise():
    rows, classes = np.arange(40), np.arange(40) % 2
    drawn = [balanced_batches(rows, classes, 8, 3, s, e) for s, e in ((0, 1), (0, 2), (1, 1))]
    told = [np.concatenate(d).tolist() for d in drawn]
    assert told[0] != told[1]
    assert told[0] != told[2]


def test_memory_grows_with_the_texts_and_not_with_their_pairs(trainable):
    """Of 40,000 examples no array has more than a few numbers for each."""
    import tracemalloc

    made = trainable.subject(24, 8)
    labels = replace(made.labels, values=np.arange(40_000) % 3, weights=np.ones(40_000), outputs=3)
    tracemalloc.start()
    big = replace(made, labels=labels, validation=np.zeros(40_000, np.bool_))
    objective = LESSON.objective(big, Training(), torch.device("cpu"))
    batches = LESSON.batches(big, Training(batch=32), 1, 1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert objective.targets.numel() + objective.weights.numel() == 80_000
    assert sum(map(len, batches)) <= 64
    assert peak < 40_000 * 200  # a table of all pairs would have 1.6e9 entries


def geared(trainable, model, made, how):
    return equip(model, trainable.everything(model), made, how, None, LESSON)


def test_where_memory_is_short_parts_have_their_own_pairs(trainable):
    how = Training(batch=8, augment=0.0, views=0, batch_statistics=False)
    made = trainable.subject(24, 0, classes=2)
    losses = []
    for most in (8, 4):
        model = trainable.trainee(made, trainable.Small(norm=False))
        model.encoder.most = most
        gear = geared(trainable, model, made, how)
        gear.activate(1)
        share = next(gear.shares(gear.batches(1), 1, 1))
        losses.append(gear.stepper(gear.optimiser(1e-3)).step(share, 0))
    fresh = trainable.trainee(made, trainable.Small(norm=False))
    rows = gear.batches(1)[0]
    inputs = [fresh.encoder.prepare(made.inputs.references[i]) for i in rows]
    with torch.no_grad():
        x = fresh.features(torch.stack(inputs)).double().numpy()
    classes, ones = made.labels.values[rows], np.ones(8)
    assert losses[0] == pytest.approx(plain_loss(x, classes, ones), rel=1e-4)
    halves = [plain_loss(x[p], classes[p], ones[p]) for p in (slice(0, 4), slice(4, 8))]
    assert losses[1] == pytest.approx(np.mean(halves), rel=1e-4)


def test_a_part_of_less_than_two_is_refused(trainable):
    made = trainable.subject(24, 0, classes=2)
    model = trainable.trainee(made)
    model.encoder.most = 1
    how = Training(epochs=1, batch=8, augment=0.0, views=0)
    with pytest.raises(TrainingError, match="2 examples, which are compared"):
        train(model, trainable.everything(model), made, how, key="short", lesson=LESSON)


def test_the_head_is_a_probe_of_the_features_as_they_are_after_training(trainable):
    made = trainable.subject(32, 8, classes=2)
    model = trainable.trainee(made)
    before = model.linear.weight.detach().clone()
    how = Training(epochs=1, lr=1e-3, batch=8, augment=0.0, views=0, patience=9)
    parts = trainable.everything(model)
    done = train(model, parts, replace(made, validation=np.zeros(32, np.bool_)), how,
                 key="head", lesson=LESSON)  # fmt: skip
    assert done.taken == 1
    assert not torch.equal(before, model.linear.weight)
    batch = torch.stack([model.encoder.prepare(p) for p in made.inputs.references])
    with torch.no_grad():
        outputs, x = model(batch).double().numpy(), model.features(batch).numpy()
    scaled = (x - model.centre.numpy()) * model.factor.numpy()
    found = []
    for strength in Probe().settings(made.labels):
        head = Probe().fit(scaled, made.labels, strength)
        found.append(np.abs(head.outputs(scaled) - outputs).max())
    assert min(found) < 0.05


def test_classes_lie_apart_afterwards_that_did_not_before(toy):
    made = toy.subject("test_resnet", n=96, judging=32)
    tuned = Contrastive(epochs=6, steps=8, lr=5e-3, batch=8, augment=0.0, refit=False).fit(made)

    def apart(encoder):
        with torch.inference_mode():
            batch = torch.stack([encoder.prepare(made.inputs.references[i]) for i in made.judging])
            x = encoder.pooled(batch, "mean")[encoder.layers[-1].name]
        unit = functional.normalize(x, dim=1)
        classes = torch.from_numpy(made.labels.values[made.judging])
        equal, own = classes[:, None] == classes, torch.eye(len(x), dtype=torch.bool)
        cosines = unit @ unit.T
        return float(cosines[equal & ~own].mean() - cosines[~equal].mean())

    assert tuned.taken > 0
    assert apart(resolve(tuned.uri).load()) > apart(made.source.load()) + 0.05


@pytest.mark.parametrize(
    ("told", "what"),
    [
        ({"mixup": 0.2}, "mixup"),
        ({"cutmix": 0.2}, "cutmix"),
        ({"label_smoothing": 0.1}, "label_smoothing"),
        ({"batch": 1}, "at least 2"),
        ({"steps": 0}, "at least 1 step"),
    ],
)
def test_settings_that_make_no_sense_for_pairs_are_refused(told, what):
    with pytest.raises(UsageError, match=what):
        Contrastive(**told)


@pytest.mark.parametrize(
    ("examples", "batch", "steps"), [(16, 32, 4), (32, 32, 4), (128, 32, 16), (40_000, 32, 500)]
)
def test_steps_are_bounded(examples, batch, steps):
    assert steps_for(examples, batch) == steps


def test_pairs_are_the_objective_and_weights_count(trainable):
    made = trainable.subject(24, 8, classes=2, weights=np.arange(1.0, 25.0))
    how = Training(batch=8)
    objective = LESSON.objective(made, how, torch.device("cpu"))
    assert isinstance(objective, PairObjective)
    x = np.random.default_rng(0).normal(size=(6, 4))
    rows = torch.tensor([0, 3, 5, 7, 9, 11])
    weights = objective.weights[rows].double().numpy()
    expected = weights.sum() * plain_loss(x, made.labels.values[rows.numpy()], weights)
    assert float(objective.total(torch.tensor(x), rows)) == pytest.approx(expected, rel=1e-5)
    assert decide(how, made, trainable.trainee(made), torch.device("cpu")).epochs > 0
