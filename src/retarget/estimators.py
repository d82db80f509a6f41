"""Transfer as scikit-learn estimators: pictures or texts in; classes, numbers or features out.

    search = GridSearchCV(TransferClassifier(), {"source": [...], "layer": ["last", "all"]})
    search.fit(paths, labels)

`X` is a list or array of paths, PIL images or arrays, or one array (n, h, w) or (n, h, w, c):
uint8 is taken as it is, other numbers by the range that each picture uses (see `tasks.pixels`).
Or it is a list or array of texts, or of pairs of texts. Where no source is named, the first that
`registry.USUAL` has for what `X` holds is taken.

Features are kept by content in the feature store, so in a whole search an input goes through an
encoder once; only parallel workers that start on an empty store may do the same one twice.
Fitted estimators hold arrays and URIs, so they can be pickled. A source of your own must be
registered in the process that fits or predicts, so in every worker too.

scikit-learn's `check_estimator` feeds tables of numbers, which are neither, so it can't pass.
"""

import warnings
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, TransformerMixin
from sklearn.utils import check_array, check_consistent_length, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from retarget.api import asked
from retarget.core.config import FitConfig
from retarget.core.errors import DataError, SourceError
from retarget.core.text import count
from retarget.core.types import FloatArray, IntArray, Kind, Pooling, StrArray
from retarget.evaluation.metrics import headline
from retarget.features.inputs import InputFeatures, input_features, listed, values_of
from retarget.features.table import Table
from retarget.methods.base import Labels, Method
from retarget.selection.candidates import candidates, methods_for
from retarget.selection.select import attempt, refit
from retarget.selection.trials import Evidence
from retarget.sources.registry import USUAL, resolve
from retarget.tagger import TransferTagger, seed_of
from retarget.tasks.memory import modality_of
from retarget.tasks.splits import assign_folds

__all__ = ["FeatureExtractor", "TransferClassifier", "TransferRegressor", "TransferTagger"]

_CHOICES = {"source": "sources", "layer": "layers", "method": "methods"}


class _FromInputs(BaseEstimator):  # type: ignore[misc]  # scikit-learn is not typed
    """An estimator whose `X` is pictures or texts."""

    def _config(self) -> FitConfig:
        """Return the parameters, checked. Raises `UsageError`."""
        told = self.get_params(deep=False)
        if "random_state" in told:
            told["seed"] = seed_of(told.pop("random_state"))
        return asked("", None, {_CHOICES.get(k, k): _one(k, v) for k, v in told.items()})

    def _transferred(self, X: Any, uri: str, pooling: Pooling, fingerprint: str) -> Table:
        """Return the features of all inputs from the source that was fitted with.

        Raises:
            DataError: inputs that can't be read. SourceError: the source has other layers now.
        """
        source = resolve(uri)
        if source.fingerprint != fingerprint:
            warnings.warn(
                f"{uri} has other weights or was loaded by other library versions than when this "
                f"{type(self).__name__} was fitted, so its output may be wrong. Fit it again.",
                stacklevel=3,
            )
        references = listed(X, source.facts.modality)
        return input_features(references, source, pooling, self.engine, self.device).whole()

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = False
        tags.input_tags.string = True
        tags.no_validation = True
        return tags


class _Transfer(_FromInputs):
    """A head on frozen features: chooses its strength by cross-validation inside `fit`."""

    def _read(self, X: Any, y: npt.NDArray[Any], config: FitConfig) -> InputFeatures:
        """Read what can be read, and warn of the rest."""
        check_consistent_length(values_of(X), y)
        read = _asked_features(X, config)
        if read.lost:
            warnings.warn(f"{read.told()} They were left out of the fit.", stacklevel=3)
        return read

    def _fit(
        self,
        read: InputFeatures,
        labels: Labels,
        classes: tuple[str, ...],
        methods: Sequence[Method],
        config: FitConfig,
    ) -> None:
        table = read.table
        (candidate,) = candidates((table,), methods, config.layers)
        _, units = np.unique(read.ids, return_inverse=True)
        evidence = Evidence(
            features={table.uri: table},
            labels=labels,
            folds=_folds(read.ids, labels, config),
            units=units.astype(np.int64),
            metric=headline(labels.kind, labels.values),
        )
        trial = attempt(evidence, candidate)
        self.model_ = refit(evidence, trial, classes, config.pooling)
        self.setting_ = trial.settings[0]
        self.fingerprint_ = read.fingerprint
        self.left_out_ = np.array(sorted(read.lost), dtype=np.int64)

    def _predict(self, X: Any) -> FloatArray:
        check_is_fitted(self)
        model = self.model_
        table = self._transferred(X, model.source, model.pooling, self.fingerprint_)
        _insist_on_layers(table, model.members[0].layers)
        return model.predict([table.layer])


class TransferClassifier(ClassifierMixin, _Transfer):  # type: ignore[misc]  # not typed
    """A classifier on the features of a pretrained model.

    Args:
        source: URI of the model: bundled:…, timm:…, hf:…, file:…; by what `X` holds if `None`.
        layer: a layer's name, several joined by `+`, `last` for the deepest, or `all` together.
        method: probe, prototype or knn.
        pooling: how places of a layer become one vector: mean, cls, mean+max, max, last or
            first+last.
        class_weight: `"balanced"` gives every class the same sum of weights in a probe.
        folds: 2 to 20, in which the method's strength is chosen by calibrated log-loss. Equal
            inputs are never divided by a fold.
        engine: how the encoder is run: auto, eager, onnx or compiled.
        device: where: auto, cpu, cuda, cuda:N or mps.
        random_state: of the folds.

    Attributes after `fit`: `classes_`, sorted; `model_`, the heads; `setting_`, the strength
    chosen; `fingerprint_` of the encoder; `left_out_`, rows of `X` that could not be read.
    """

    def __init__(
        self,
        source: str | None = None,
        layer: str = "all",
        method: str = "probe",
        pooling: str = "mean",
        class_weight: str | None = None,
        folds: int = 5,
        engine: str = "auto",
        device: str = "auto",
        random_state: Any = 0,
    ) -> None:
        self.source = source
        self.layer = layer
        self.method = method
        self.pooling = pooling
        self.class_weight = class_weight
        self.folds = folds
        self.engine = engine
        self.device = device
        self.random_state = random_state

    def fit(self, X: Any, y: npt.ArrayLike) -> Self:
        """Fit on n inputs and their classes; those that can't be read are warned of.

        Raises:
            ValueError: `y` is not one class for each input. DataError: nothing can be read, or
            what can be read has one class. UsageError: parameters. SourceError: no such model.
        """
        config = self._config()
        methods = methods_for("classification", config.methods, config.class_weight)
        classes = column_or_1d(y)
        check_classification_targets(classes)
        read = self._read(X, classes, config)
        self.classes_, values = np.unique(classes[read.rows], return_inverse=True)
        if len(self.classes_) < 2:
            raise DataError(
                f"All {count(len(values), 'input')} that can be read are of the class "
                f"{self.classes_[0]!r}. A classifier needs at least two classes."
            )
        names = tuple(map(str, self.classes_))
        labels = _labels("classification", values.astype(np.int64), len(names))
        self._fit(read, labels, names, methods, config)
        return self

    def predict_proba(self, X: Any) -> FloatArray:
        """Return calibrated probabilities (n, K), columns as in `classes_`.

        Raises `DataError` naming inputs that can't be read: there is a row for each input.
        """
        return self._predict(X)

    def predict(self, X: Any) -> npt.NDArray[Any]:
        """Return the most probable class of each input (n,). Raises as `predict_proba` does."""
        best = self._predict(X).argmax(axis=1)
        return np.asarray(self.classes_[best])


class TransferRegressor(RegressorMixin, _Transfer):  # type: ignore[misc]  # not typed
    """Ridge regression, or neighbours, on the features of a pretrained model.

    Args:
        source: URI of the model: bundled:…, timm:…, hf:…, file:…; by what `X` holds if `None`.
        layer: a layer's name, several joined by `+`, `last` for the deepest, or `all` together.
        method: probe or knn.
        pooling: how places of a layer become one vector: mean, cls, mean+max, max, last or
            first+last.
        folds: 2 to 20, in which the method's strength is chosen by squared error. Equal inputs
            are never divided by a fold.
        engine: how the encoder is run: auto, eager, onnx or compiled.
        device: where: auto, cpu, cuda, cuda:N or mps.
        random_state: of the folds.

    Attributes after `fit`: as of `TransferClassifier`, without `classes_`.
    """

    def __init__(
        self,
        source: str | None = None,
        layer: str = "all",
        method: str = "probe",
        pooling: str = "mean",
        folds: int = 5,
        engine: str = "auto",
        device: str = "auto",
        random_state: Any = 0,
    ) -> None:
        self.source = source
        self.layer = layer
        self.method = method
        self.pooling = pooling
        self.folds = folds
        self.engine = engine
        self.device = device
        self.random_state = random_state

    def fit(self, X: Any, y: npt.ArrayLike) -> Self:
        """Fit on n inputs and their values. Raises as `TransferClassifier.fit` does."""
        config = self._config()
        methods = methods_for("regression", config.methods)
        values = column_or_1d(check_array(y, ensure_2d=False, dtype=np.float64, input_name="y"))
        read = self._read(X, values, config)
        labels = _labels("regression", values[read.rows], 1)
        self._fit(read, labels, ("target",), methods, config)
        return self

    def predict(self, X: Any) -> FloatArray:
        """Return a value for each input (n,). Raises `DataError` naming what can't be read."""
        return self._predict(X)


class FeatureExtractor(TransformerMixin, _FromInputs):  # type: ignore[misc]  # not typed
    """A transformer from inputs to the features of a pretrained model.

    Args:
        source: URI of the model: bundled:…, timm:…, hf:…, file:…; by what `X` holds if `None`.
        layer: a layer's name, several joined by `+`, `last` for the deepest, or `all` together.
        pooling: how places of a layer become one vector: mean, cls, mean+max, max, last or
            first+last.
        engine: how the encoder is run: auto, eager, onnx or compiled.
        device: where: auto, cpu, cuda, cuda:N or mps.

    Attributes after `fit`: `layers_`, names, shallow to deep; `widths_` of these; `source_`,
    `pooling_` and `fingerprint_` of the encoder.
    """

    def __init__(
        self,
        source: str | None = None,
        layer: str = "last",
        pooling: str = "mean",
        engine: str = "auto",
        device: str = "auto",
    ) -> None:
        self.source = source
        self.layer = layer
        self.pooling = pooling
        self.engine = engine
        self.device = device

    def fit(self, X: Any, y: Any = None) -> Self:
        """Take the inputs through the encoder, and learn which layers there are; `y` is ignored.

        Raises `DataError` naming inputs that can't be read: there is a row for each input.
        """
        self._learn(X)
        return self

    def fit_transform(self, X: Any, y: Any = None) -> FloatArray:
        """Return what `transform` does after `fit`, reading the features once."""
        return self._columns(self._learn(X))

    def transform(self, X: Any) -> FloatArray:
        """Return features (n, d) float32. Raises as `fit` does."""
        check_is_fitted(self)
        return self._columns(self._transferred(X, self.source_, self.pooling_, self.fingerprint_))

    def get_feature_names_out(self, input_features: Any = None) -> npt.NDArray[np.object_]:
        """Return a name for each column: `LAYER_NUMBER`."""
        check_is_fitted(self)
        layers = zip(self.layers_, self.widths_, strict=True)
        names = [f"{layer}_{i}" for layer, width in layers for i in range(width)]
        return np.array(names, dtype=object)

    def _learn(self, X: Any) -> Table:
        config = self._config()
        read = _asked_features(X, config)
        table = read.whole()
        methods = methods_for("classification", ("probe",))
        (candidate,) = candidates((table,), methods, config.layers)
        self.layers_ = candidate.layers
        self.widths_ = tuple(table.layer(name).shape[1] for name in candidate.layers)
        self.source_ = table.uri
        self.pooling_ = config.pooling
        self.fingerprint_ = read.fingerprint
        return table

    def _columns(self, table: Table) -> FloatArray:
        _insist_on_layers(table, self.layers_)
        return np.concatenate([table.layer(name) for name in self.layers_], axis=1)


def _asked_features(X: Any, config: FitConfig) -> InputFeatures:
    """Return the features from the source that is named, or from that for what `X` holds."""
    uri = config.sources[0] if config.sources else USUAL[modality_of(values_of(X))]
    source = resolve(uri)
    references = listed(X, source.facts.modality)
    return input_features(references, source, config.pooling, config.engine, config.device)


def _labels(kind: Kind, values: IntArray | FloatArray, outputs: int) -> Labels:
    return Labels(kind, values, outputs, np.ones(len(values)))


def _folds(ids: StrArray, labels: Labels, config: FitConfig) -> IntArray:
    """Return the fold in which each example is held out while the strength is chosen."""
    different = len(np.unique(ids))
    if different < 2:
        raise DataError(
            f"The {count(len(ids), 'input')} that can be read are all the same one. At least 2 "
            "different ones are needed to choose a strength."
        )
    k = min(config.folds, different)
    alone = np.full(len(ids), "")
    return assign_folds(labels.values, alone, ids, k, config.seed, labels.kind)


def _insist_on_layers(table: Table, layers: Sequence[str]) -> None:
    if gone := [name for name in layers if name not in table.columns]:
        raise SourceError(
            f"{table.uri} has no layer {', '.join(gone)} any more; it has "
            f"{', '.join(table.layers)}. Fit again."
        )


def _one(name: str, value: Any) -> Any:
    if name not in _CHOICES:
        return value
    return () if value is None else (value,)
