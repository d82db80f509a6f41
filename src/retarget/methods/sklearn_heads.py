"""The heads as scikit-learn estimators, for features that are there already."""

from abc import abstractmethod
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from retarget.core.types import FloatArray, IntArray
from retarget.methods.base import Head, Labels, Method, log_softmax
from retarget.methods.knn import Knn
from retarget.methods.probe import Probe
from retarget.methods.prototype import Prototype
from retarget.methods.scale import BlockScale

FOLDS = 5


class _Fitted(BaseEstimator):  # type: ignore[misc]  # scikit-learn is not typed
    """Scales features, chooses the method's setting by cross-validation, and fits it.

    Attributes after `fit`: `setting_`, `head_`, `scale_`, `n_features_in_`.
    """

    @abstractmethod
    def _asked(self) -> tuple[Method, float | None]:
        """Return the method, and its setting where it was given."""

    def _fit(self, x: FloatArray, labels: Labels) -> None:
        method, setting = self._asked()
        self.scale_ = BlockScale.fit(x, [x.shape[1]])
        scaled = np.asarray(self.scale_(x), dtype=np.float32)
        chosen = _chosen(method, scaled, labels) if setting is None else (setting, None)
        self.setting_, start = chosen
        self.head_ = method.fit(scaled, labels, self.setting_, start)

    def _outputs(self, x: npt.ArrayLike) -> FloatArray:
        check_is_fitted(self)
        rows = validate_data(self, x, reset=False, dtype=np.float64)
        return self.head_.outputs(self.scale_(rows))


class _Classifier(ClassifierMixin, _Fitted):  # type: ignore[misc]  # scikit-learn is not typed
    """A classifier. After `fit` it has `classes_` too."""

    def fit(self, X: npt.ArrayLike, y: npt.ArrayLike) -> "_Classifier":
        """Fit on features (n, D) and the class of each row. Raises `ValueError` on bad data."""
        x, y = validate_data(self, X, y, dtype=np.float64, ensure_min_samples=2)
        check_classification_targets(y)
        self.classes_, values = np.unique(y, return_inverse=True)
        ones = np.ones(len(values))
        self._fit(x, Labels("classification", values, len(self.classes_), ones))
        return self

    def decision_function(self, X: npt.ArrayLike) -> FloatArray:
        """Return logits (n, K); for two classes the log-odds (n,) of the second."""
        outputs = self._outputs(X)
        return outputs[:, 1] - outputs[:, 0] if len(self.classes_) == 2 else outputs

    def predict_proba(self, X: npt.ArrayLike) -> FloatArray:
        """Return probabilities (n, K)."""
        return np.asarray(np.exp(log_softmax(self._outputs(X))))

    def predict(self, X: npt.ArrayLike) -> npt.NDArray[Any]:
        """Return the likeliest class of each row."""
        best = self._outputs(X).argmax(axis=1)
        return np.asarray(self.classes_[best])


class ProbeClassifier(_Classifier):
    """L2-regularised softmax regression; see `Probe`.

    Args:
        strength: of the penalty, above zero; `None` chooses it by cross-validated log-loss.
        balanced: give every class the same sum of weights.
    """

    def __init__(self, strength: float | None = None, balanced: bool = False) -> None:
        self.strength = strength
        self.balanced = balanced

    def _asked(self) -> tuple[Method, float | None]:
        return Probe(class_weight="balanced" if self.balanced else None), self.strength


class PrototypeClassifier(_Classifier):
    """Nearest class mean with shrinkage; see `Prototype`.

    Args:
        shrinkage: in examples, at least 0; `None` chooses it by cross-validated log-loss.
    """

    def __init__(self, shrinkage: float | None = None) -> None:
        self.shrinkage = shrinkage

    def _asked(self) -> tuple[Method, float | None]:
        return Prototype(), self.shrinkage


class KnnProbeClassifier(_Classifier):
    """Nearest neighbours by cosine similarity; see `Knn`.

    Args:
        neighbours: how many vote; `None` chooses it by cross-validated log-loss.
    """

    def __init__(self, neighbours: int | None = None) -> None:
        self.neighbours = neighbours

    def _asked(self) -> tuple[Method, float | None]:
        return Knn(), self.neighbours


class ProbeRegressor(RegressorMixin, _Fitted):  # type: ignore[misc]  # scikit-learn is not typed
    """Ridge regression; see `Probe`.

    Args:
        strength: of the penalty, above zero; `None` chooses it by cross-validated squared error.
    """

    def __init__(self, strength: float | None = None) -> None:
        self.strength = strength

    def _asked(self) -> tuple[Method, float | None]:
        return Probe(), self.strength

    def fit(self, X: npt.ArrayLike, y: npt.ArrayLike) -> "ProbeRegressor":
        """Fit on features (n, D) and values (n,). Raises `ValueError` on bad data."""
        x, y = validate_data(self, X, y, dtype=np.float64, ensure_min_samples=2, y_numeric=True)
        values = np.asarray(y, dtype=np.float64)
        self._fit(x, Labels("regression", values, 1, np.ones(len(values))))
        return self

    def predict(self, X: npt.ArrayLike) -> FloatArray:
        """Return values (n,)."""
        return self._outputs(X)[:, 0]


def _chosen(method: Method, x: FloatArray, labels: Labels) -> tuple[float, Head | None]:
    """Return the setting with the smallest out-of-fold loss, the simplest one where it is equal,
    and where its fit may start."""
    found = method.cross_fit(x, labels, _folds(labels))
    outputs = found.outputs
    if labels.kind == "regression":
        losses = ((outputs[..., 0] - labels.values) ** 2).mean(axis=1)
    else:
        rows = np.arange(len(labels))
        losses = -log_softmax(outputs)[:, rows, labels.values.astype(np.int64)].mean(axis=1)
    best = int(losses.argmin())
    return method.settings(labels)[best], found.heads[best]


def _folds(labels: Labels) -> IntArray:
    """Return a fold for every row, with each class spread over all folds."""
    order = np.random.default_rng(0).permutation(len(labels))
    if labels.kind == "classification":
        order = order[np.argsort(labels.values[order], kind="stable")]
    folds = np.empty(len(labels), dtype=np.int64)
    folds[order] = np.arange(len(labels)) % FOLDS
    return folds
