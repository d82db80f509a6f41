"""What every registered method promises, on every kind of labels it takes."""

import importlib
from itertools import pairwise

import numpy as np
import pytest

from retarget.core.types import Kind
from retarget.methods.base import HEADS, METHODS, Labels, method

importlib.import_module("retarget.methods")

# Of words, whose order counts, `test_crf.py` knows more.
KINDS: tuple[Kind, ...] = ("classification", "multilabel", "regression")
PAIRS = [(name, kind) for name in METHODS for kind in KINDS if kind in METHODS[name].kinds]
CLASSES = 3


def examples(kind: Kind, n: int = 60, width: int = 12, seed: int = 0, outputs: int = CLASSES):
    rng = np.random.default_rng(seed)
    values = np.arange(n) % outputs
    hidden = rng.normal(size=(outputs, width))[values]
    x = (hidden + rng.normal(size=(n, width))).astype(np.float32) / np.float32(np.sqrt(2 * width))
    folds = (np.arange(n) // outputs) % 5
    weights = np.ones(n)
    if kind == "classification":
        return x, Labels(kind, values, outputs, weights), folds
    if kind == "multilabel":
        held = np.stack([values == 0, values != 1, rng.random(n) < 0.3], axis=1).astype(float)
        return x, Labels(kind, held, 3, weights), folds
    return x, Labels(kind, hidden[:, 0] * 3 + 10, 1, weights), folds


def chances(kind: Kind, outputs):
    """What outputs mean: probabilities, or values."""
    if kind == "regression":
        return outputs
    if kind == "multilabel":
        return 1 / (1 + np.exp(-outputs))
    return np.exp(outputs - np.logaddexp.reduce(outputs, axis=-1)[..., None])


def with_values(labels: Labels, values) -> Labels:
    return Labels(labels.kind, values, labels.outputs, labels.weights)


every = pytest.mark.parametrize(("name", "kind"), PAIRS)


@every
def test_settings_go_from_simple_to_flexible_without_repeats(name, kind):
    _, labels, _ = examples(kind)
    settings = method(name).settings(labels)
    assert len(settings) >= 1
    assert all(a > b for a, b in pairwise(settings))


@every
def test_outputs_have_a_row_for_every_setting_and_example(name, kind):
    x, labels, folds = examples(kind)
    outputs = method(name).cross_fit(x, labels, folds).outputs
    assert outputs.shape == (len(method(name).settings(labels)), len(x), labels.outputs)
    assert outputs.dtype == np.float64
    assert np.isfinite(outputs).all()


@every
def test_out_of_fold_outputs_are_those_of_a_head_fitted_on_the_other_folds(name, kind):
    x, labels, folds = examples(kind)
    m = method(name)
    outputs = m.cross_fit(x, labels, folds).outputs
    for s, setting in enumerate(m.settings(labels)):
        for fold in (0, 3):
            kept, out = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
            head = m.fit(x[kept], labels.take(kept), setting)
            alone, together = head.outputs(x[out]), outputs[s, out]
            np.testing.assert_allclose(chances(kind, together), chances(kind, alone), atol=0.03)


@every
def test_labels_of_a_fold_never_reach_its_own_outputs(name, kind):
    x, labels, folds = examples(kind)
    changed = labels.values.copy()
    own = folds == 2
    changed[own] = (changed[own] + 1) % CLASSES if kind == "classification" else 1 - changed[own]
    before = method(name).cross_fit(x, labels, folds).outputs
    after = method(name).cross_fit(x, with_values(labels, changed), folds).outputs
    np.testing.assert_allclose(after[:, own], before[:, own], rtol=1e-3, atol=1e-3)
    assert np.abs(after[:, ~own] - before[:, ~own]).max() > 1e-3


def bits(head) -> dict[str, bytes]:
    """What a head is, as bytes: to be compared without a tolerance."""
    return {} if head is None else {k: a.tobytes() for k, a in head.arrays().items()}


@every
def test_what_was_computed_before_changes_no_bit(name, kind):
    x, labels, folds = examples(kind)
    rows, strangers, near = np.arange(len(x)), examples(kind, seed=1), x.copy()
    near[0] = np.nextafter(x[0], np.float32(9))
    m, setting = method(name), method(name).settings(labels)[-2]
    start = m.cross_fit(x, labels, folds).heads[-2]
    befores = {
        "nothing": lambda: None,
        "other examples": lambda: m.cross_fit(*strangers),
        "nearly the same": lambda: m.cross_fit(near, labels, folds),
        "the same in columns": lambda: m.cross_fit(np.asfortranarray(x), labels, folds),
        "other labels": lambda: m.cross_fit(x, labels.take(rows[::-1]), folds),
        "other folds": lambda: m.cross_fit(x, labels, rows % 3),
        "the choice": lambda: m.cross_fit(x, labels, folds),
        "the fit": lambda: m.fit(x, labels, setting),
    }
    found = {}
    for before, compute in befores.items():

        def prepare(compute=compute):
            m.cross_fit(x[:-1], labels.take(rows[:-1]), folds[:-1])
            compute()

        prepare()
        crossed = m.cross_fit(x, labels, folds)
        prepare()
        alone = m.fit(x, labels, setting)
        prepare()
        started = m.fit(x, labels, setting, start)
        heads = [bits(h) for h in (*crossed.heads, alone, started)]
        found[before] = crossed.outputs.tobytes(), heads
    assert [before for before in found if found[before] != found["nothing"]] == []


@every
def test_a_fit_from_a_start_is_the_fit_alone(name, kind):
    x, labels, folds = examples(kind)
    m = method(name)
    heads = m.cross_fit(x, labels, folds).heads
    for setting, start in zip(m.settings(labels), heads, strict=True):
        alone, started = (m.fit(x, labels, setting, s).outputs(x) for s in (None, start))
        np.testing.assert_allclose(chances(kind, started), chances(kind, alone), atol=5e-3)


@every
def test_order_of_examples_and_numbers_of_folds_do_not_matter(name, kind):
    x, labels, folds = examples(kind)
    order = np.random.default_rng(5).permutation(len(x))
    renamed = np.array([3, 0, 4, 1, 2])[folds]
    plain = method(name).cross_fit(x, labels, folds).outputs
    shuffled = method(name).cross_fit(x[order], labels.take(order), renamed[order]).outputs
    np.testing.assert_allclose(chances(kind, shuffled), chances(kind, plain[:, order]), atol=5e-3)


@every
def test_weight_two_is_the_row_twice(name, kind):
    x, labels, folds = examples(kind)
    weights = np.where(np.arange(len(x)) % 7 == 0, 2.0, 1.0)
    twice = np.repeat(np.arange(len(x)), weights.astype(int))
    m = method(name)
    weighted = Labels(kind, labels.values, labels.outputs, weights)
    first = np.unique(twice, return_index=True)[1]
    a = m.cross_fit(x, weighted, folds).outputs
    b = m.cross_fit(x[twice], labels.take(twice), folds[twice]).outputs[:, first]
    np.testing.assert_allclose(chances(kind, a), chances(kind, b), atol=5e-3)
    assert np.abs(a - m.cross_fit(x, labels, folds).outputs).max() > 1e-3


@every
def test_head_survives_being_arrays(name, kind):
    x, labels, _ = examples(kind)
    head = method(name).fit(x, labels, method(name).settings(labels)[-1])
    again = HEADS[head.kind].from_arrays({k: a.copy() for k, a in head.arrays().items()})
    np.testing.assert_array_equal(again.outputs(x), head.outputs(x))
    assert again.outputs(x[:0]).shape == (0, labels.outputs)


@every
@pytest.mark.parametrize("n", [2, 3, 4])
def test_a_handful_of_examples_is_enough(name, kind, n):
    x, labels, _ = examples(kind, n=n)
    m = method(name)
    assert np.isfinite(m.cross_fit(x, labels, np.arange(n) % 2).outputs).all()
    assert np.isfinite(m.fit(x, labels, m.settings(labels)[0]).outputs(x)).all()


@every
def test_constant_and_repeated_features_are_harmless(name, kind):
    x, labels, folds = examples(kind)
    m = method(name)
    assert np.isfinite(m.cross_fit(np.zeros_like(x), labels, folds).outputs).all()
    padded = np.concatenate([x, np.zeros((len(x), 5), np.float32)], axis=1)
    plain = chances(kind, m.cross_fit(x, labels, folds).outputs)
    np.testing.assert_allclose(
        chances(kind, m.cross_fit(padded, labels, folds).outputs), plain, atol=5e-3
    )


@every
def test_repeated_rows_are_harmless(name, kind):
    x, labels, folds = examples(kind)
    x[10:40] = x[0]
    assert np.isfinite(method(name).cross_fit(x, labels, folds).outputs).all()


@every
@pytest.mark.parametrize("scale", [1e-6, 1e4])
def test_scales_far_from_one_stay_finite(name, kind, scale):
    x, labels, folds = examples(kind)
    m = method(name)
    x = x * np.float32(scale)
    assert np.isfinite(m.cross_fit(x, labels, folds).outputs).all()
    assert np.isfinite(m.fit(x, labels, m.settings(labels)[-1]).outputs(x)).all()


@pytest.mark.parametrize("name", [n for n, kind in PAIRS if kind == "classification"])
@pytest.mark.parametrize("outputs", [2, 3, 5])
def test_a_class_absent_from_a_fit_is_unlikely_but_possible(name, outputs):
    x, labels, folds = examples("classification", outputs=outputs)
    folds = np.where(labels.values == 1, 0, folds)
    z = method(name).cross_fit(x, labels, folds).outputs[-1, folds == 0]
    assert (chances("classification", z)[:, 1] < 0.1).all()
    assert (chances("classification", z)[:, 1] > 0).all()


@pytest.mark.parametrize("name", [n for n, kind in PAIRS if kind == "multilabel"])
def test_a_label_that_none_or_all_have_is_told_from_its_share(name):
    x, labels, folds = examples("multilabel")
    values = labels.values.copy()
    values[:, 0], values[:, 2] = 0, 1
    z = method(name).cross_fit(x, with_values(labels, values), folds).outputs
    assert (z[..., 0] < -1).all()
    assert (z[..., 2] > 1).all()


@every
def test_signal_is_found(name, kind):
    x, labels, folds = examples(kind, n=150)
    z = method(name).cross_fit(x, labels, folds).outputs
    if kind == "classification":
        score, chance = (z.argmax(axis=2) == labels.values).mean(axis=1).max(), 1 / CLASSES
    elif kind == "multilabel":
        known = labels.values[:, 0]
        score, chance = ((z[..., 0] > 0) == known).mean(axis=1).max(), 1 - known.mean()
    else:
        spread = ((z[..., 0] - labels.values) ** 2).mean(axis=1).min()
        score, chance = 1 - spread / labels.values.var(), 0.3
    assert score > chance + 0.1
