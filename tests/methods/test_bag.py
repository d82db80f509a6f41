"""TF-IDF with a linear model: what its parts add, against scikit-learn and plain differences."""

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression

from retarget.core.types import Kind
from retarget.features.bags import Bag
from retarget.methods.bag import fit_bag, weighted
from retarget.methods.base import Labels


def _bag(n: int = 60, seed: int = 0) -> Bag:
    rng = np.random.default_rng(seed)
    counts = {name: rng.poisson(0.6, (n, k)).astype(np.float32) for name, k in (("a", 7), ("b", 9))}
    for one in counts.values():
        one[:, 0] += 1  # no row is empty
    names = {
        name: np.array([f"{name}{i}" for i in range(c.shape[1])]) for name, c in counts.items()
    }
    return Bag({name: csr_matrix(c) for name, c in counts.items()}, names)


def _labels(bag: Bag, kind: Kind, outputs: int) -> Labels:
    counts = bag.families["a"].toarray()
    if kind == "multilabel":
        values = (counts[:, 1 : 1 + outputs] > 0).astype(np.float64)
    elif kind == "regression":
        values = counts[:, 1].astype(np.float64)
    else:
        values = counts[:, 1 : 1 + outputs].argmax(axis=1)
    return Labels(kind, values, outputs, np.ones(len(values)))


@pytest.mark.parametrize(("kind", "outputs"), [
    ("classification", 2), ("classification", 3), ("multilabel", 2), ("regression", 1),
])  # fmt: skip
def test_effects_are_what_outputs_change_by(kind: Kind, outputs: int) -> None:
    bag = _bag()
    labels = _labels(bag, kind, outputs)
    model, _ = fit_bag(bag, labels, np.arange(60) % 3)
    effects = model.effects()
    assert set(effects) == set(model.rarity)
    beside = np.concatenate(list(effects.values()), axis=1)
    assert beside.shape[0] == outputs
    # Rows before they are scaled: one of a part is its rarity, so effects times counts add up.
    family = next(iter(model.rarity))
    x = weighted(bag, model.rarity)
    weights = beside / np.concatenate(list(model.rarity.values()))
    told = x @ weights.T
    made = model.linear.outputs(x)
    if kind == "classification":
        made = made - made.mean(axis=1, keepdims=True)
    offset = (made - told).mean(axis=0)
    np.testing.assert_allclose(told + offset, made, atol=1e-5)
    assert effects[family].shape[1] == len(bag.names[family])


def test_binary_effects_are_half_of_scikit_learn_s_coefficients() -> None:
    bag = _bag()
    labels = _labels(bag, "classification", 2)
    model, _ = fit_bag(bag, labels, np.arange(60) % 3)
    x = weighted(bag, model.rarity)
    fitted = LogisticRegression(C=model.linear.model.C, max_iter=300).fit(x, labels.values)
    rarity = np.concatenate(list(model.rarity.values()))
    beside = np.concatenate(list(model.effects().values()), axis=1)
    np.testing.assert_allclose(beside[1], fitted.coef_[0] * rarity / 2, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(beside[0], -beside[1])


def test_classes_not_seen_add_nothing_and_one_class_has_no_effects() -> None:
    bag = _bag()
    values = _labels(bag, "classification", 2).values * 2
    model, _ = fit_bag(bag, Labels("classification", values, 3, np.ones(60)), np.arange(60) % 3)
    assert all((own[1] == 0).all() and own[2].any() for own in model.effects().values())
    alone, _ = fit_bag(
        bag, Labels("classification", np.zeros(60, np.int64), 2, np.ones(60)), np.arange(60) % 3
    )
    assert alone.effects() == {}


def test_labels_that_all_or_none_have_add_nothing() -> None:
    bag = _bag()
    values = _labels(bag, "multilabel", 2).values
    values[:, 1] = 1
    model, _ = fit_bag(bag, Labels("multilabel", values, 2, np.ones(60)), np.arange(60) % 3)
    assert all(own[0].any() and not own[1].any() for own in model.effects().values())
