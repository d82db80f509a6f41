"""TF-IDF and a linear model: what inputs of countable parts tell without a pretrained model."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from retarget.core.types import CLASSES, FloatArray, IntArray, Kind
from retarget.features.bags import Bag
from retarget.methods.base import Labels
from retarget.methods.losses import calibrated, example_losses
from retarget.methods.model import to_probabilities

# Inverse strengths of the penalty. With rows of length one these reach from all alike to all kept.
INVERSE_STRENGTHS = (0.1, 1.0, 10.0, 100.0)
# With so many rows one fold is enough to choose by.
MANY = 2000
ITERATIONS = 300
TINY = 1e-12


@dataclass(frozen=True)
class BagModel:
    """A linear model on weighted counts.

    `rarity` holds, by family, the weights of its parts.
    """

    rarity: dict[str, FloatArray]
    linear: "_Linear"
    temperature: float

    def predict(self, bag: Bag) -> FloatArray:
        """Return probabilities (n, K), or values (n, 1)."""
        kind = self.linear.kind
        outputs = self.linear.outputs(weighted(bag, self.rarity)) / self.temperature
        return outputs if kind == "regression" else to_probabilities(kind, outputs)

    def effects(self) -> dict[str, FloatArray]:
        """Return by family (K, parts): how much each part, occurring once, adds to each output.

        Of classes it is what it adds above the mean of all classes. Empty where nothing was
        learned, as of a single class.
        """
        found: dict[str, FloatArray] = {}
        weights, start = self.linear.weights(), 0
        for name, rarity in self.rarity.items():
            if weights is not None:
                found[name] = weights[:, start : start + len(rarity)] * rarity
            start += len(rarity)
        return found


def fit_bag(bag: Bag, labels: Labels, folds: IntArray) -> tuple[BagModel, FloatArray]:
    """Fit TF-IDF with logistic regression (ridge for numbers), chosen on out-of-fold loss.

    What is chosen is the family of parts, or all together, and the strength of the penalty; the
    rarity of parts is counted on the rows that each fit learns from. Weights are
    (1 + ln count) · (1 + ln((1 + n) / (1 + rows with it))), rows scaled to length one (Salton and
    Buckley 1988, Term-weighting approaches in automatic text retrieval).

    Args:
        bag: of n rows.
        labels: of the same rows.
        folds: (n,) the fold in which each row is held out while choosing.

    Returns:
        The model fitted on all rows, and (n, K) out-of-fold predictions of what was chosen, NaN
        for rows that were not held out.
    """
    best: tuple[float, tuple[str, ...], float, float, FloatArray] | None = None
    for names in _choices(bag):
        part = Bag({name: bag.families[name] for name in names})
        for strength, outputs in _cross_fit(part, labels, folds):
            known = np.isfinite(outputs).all(axis=1)
            judged = labels.take(np.flatnonzero(known))
            temperature, shown = calibrated(judged, outputs[known])
            loss = float(example_losses(judged, shown).mean())
            if best is None or loss < best[0]:
                found = np.full(outputs.shape, np.nan)
                found[known] = shown
                best = loss, names, strength, temperature, found
    assert best is not None, "a bag has families"
    _, names, strength, temperature, found = best
    chosen = Bag({name: bag.families[name] for name in names})
    rarity = {name: rarity_of(counts) for name, counts in chosen.families.items()}
    model = _fit(weighted(chosen, rarity), labels, strength)
    return BagModel(rarity, model, temperature), found


def rarity_of(counts: Any) -> FloatArray:
    """Return (parts,) weights of the parts, zero for those that no row has."""
    rows = np.asarray(counts.getnnz(axis=0), np.float64)
    found = 1.0 + np.log((1.0 + counts.shape[0]) / (1.0 + rows))
    return np.where(rows > 0, found, 0.0).astype(np.float32)


def weighted(bag: Bag, rarity: dict[str, FloatArray]) -> Any:
    """Return the weighted counts of those families side by side, each row of length one."""
    from scipy.sparse import diags_array, hstack
    from sklearn.preprocessing import normalize

    blocks = []
    for name, weights in rarity.items():
        counts = bag.families[name].copy()
        counts.data = 1.0 + np.log(counts.data)
        blocks.append(normalize(counts @ diags_array(weights)))
    return (hstack(blocks) / np.sqrt(len(blocks))).tocsr()


def _choices(bag: Bag) -> list[tuple[str, ...]]:
    names = tuple(bag.families)
    return [*((name,) for name in names), *([names] if len(names) > 1 else [])]


def _cross_fit(bag: Bag, labels: Labels, folds: IntArray) -> Iterator[tuple[float, FloatArray]]:
    """Yield for each strength its out-of-fold outputs (n, K)."""
    numbers = np.unique(folds)
    wanted = numbers[:1] if len(labels) >= MANY else numbers
    parts = []
    for fold in wanted:
        learning, held = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        known = bag.take(learning)
        rarity = {name: rarity_of(counts) for name, counts in known.families.items()}
        parts.append(
            (weighted(known, rarity), labels.take(learning), weighted(bag.take(held), rarity), held)
        )
    for strength in INVERSE_STRENGTHS:
        outputs = np.full((len(labels), labels.outputs), np.nan)
        for x, own, shown, held in parts:
            outputs[held] = _fit(x, own, strength).outputs(shown)
        yield strength, outputs


@dataclass(frozen=True)
class _Linear:
    """A linear model of scikit-learn's, fitted on `rows` rows."""

    model: Any
    kind: Kind
    width: int
    rows: int

    def outputs(self, x: Any) -> FloatArray:
        """Return (n, K) logits, or values (n, 1); of a class not seen as if half a row had it."""
        if self.kind == "regression":
            return np.asarray(self.model.predict(x), np.float64)[:, None]
        p = np.clip(np.asarray(self.model.predict_proba(x), np.float64), TINY, 1.0 - TINY)
        if self.kind not in CLASSES:
            return np.asarray(np.log(p) - np.log1p(-p))
        found = np.full((x.shape[0], self.width), np.log(0.5 / self.rows))
        found[:, self.model.classes_.astype(np.int64)] = np.log(p)
        return found

    def weights(self) -> FloatArray | None:
        """Return (K, parts), of classes above their mean, zero for classes not seen; or `None`."""
        if self.kind == "multilabel":
            each = [getattr(one, "coef_", None) for one in self.model.estimators_]
            width = next((own.shape[1] for own in each if own is not None), 0)
            rows = [np.zeros(width) if own is None else own[0] for own in each]
            return np.stack(rows) if width else None
        own = getattr(self.model, "coef_", None)
        if own is None or self.kind == "regression":
            return None if own is None else np.atleast_2d(own)
        own = np.concatenate([-own, own]) / 2 if len(own) == 1 else own - own.mean(axis=0)
        found = np.zeros((self.width, own.shape[1]))
        found[self.model.classes_.astype(np.int64)] = own
        return found


def _fit(x: Any, labels: Labels, strength: float) -> _Linear:
    from sklearn.dummy import DummyClassifier
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.multiclass import OneVsRestClassifier

    values, weights = labels.values, labels.weights
    if labels.kind == "regression":
        model = Ridge(alpha=1.0 / strength).fit(x, values, weights)
    elif labels.kind == "multilabel":
        each = LogisticRegression(C=strength, max_iter=ITERATIONS)
        model = OneVsRestClassifier(each).fit(x, values)
    elif len(np.unique(values)) < 2:
        model = DummyClassifier(strategy="prior").fit(x, values)
    else:
        model = LogisticRegression(C=strength, max_iter=ITERATIONS).fit(x, values, weights)
    return _Linear(model, labels.kind, labels.outputs, len(labels))
