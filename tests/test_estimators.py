"""The estimators keep scikit-learn's contract, and take no picture through an encoder twice."""

import inspect
import pickle
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from sklearn.base import BaseEstimator, clone, is_classifier, is_regressor
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

import retarget.estimators as estimators
from retarget.core.errors import DataError, SourceError, UsageError
from retarget.core.hashing import hash_json
from retarget.estimators import FeatureExtractor, TransferClassifier, TransferRegressor
from retarget.sources.encoder import Encoder, Layer
from retarget.sources.registry import RESOLVERS, load_schemes
from retarget.sources.source import Facts, Source

ALL = (TransferClassifier, TransferRegressor, FeatureExtractor)
SIDE = 8


class ToyEncoder(Encoder):
    """A fixed convolution, and the mean colour; writes down what is prepared."""

    layers = (Layer("conv", 5), Layer("colour", 3))
    detail = SIDE
    input_shape = (3, SIDE, SIDE)

    def __init__(self, seed: int, seen: list[bytes]) -> None:
        super().__init__()
        self.seen = seen
        self.conv = nn.Conv2d(3, 5, 3)
        generator = torch.Generator().manual_seed(seed)
        for parameter in self.conv.parameters():
            parameter.data.copy_(torch.randn(parameter.shape, generator=generator))
        self.requires_grad_(False)

    def prepare(self, raw: Image.Image) -> torch.Tensor:
        self.seen.append(raw.tobytes())
        pixels = np.asarray(raw.resize((SIDE, SIDE)), np.float32) / 255
        return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()

    def forward(self, batch: torch.Tensor) -> dict[str, torch.Tensor]:
        places = torch.relu(self.conv(batch)).flatten(2).transpose(1, 2)
        return {"conv": places, "colour": batch.mean((2, 3))[:, None]}


class ToySource(Source):
    """A source that can't be stored: the estimators must not ask for it."""

    facts = Facts("image", "toy")
    edition = 1

    def __init__(self, name: str, seen: list[bytes]) -> None:
        self.uri = f"toy:{name}"
        self.seen = seen

    @property
    def fingerprint(self) -> str:
        return hash_json([self.uri, self.edition])

    def load(self) -> Encoder:
        return ToyEncoder(sum(map(ord, self.uri)), self.seen).eval()

    def random(self, seed: int = 0) -> Source:
        raise SourceError("none")

    def save(self, folder: Path) -> None:
        raise AssertionError("nobody may store it")


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[bytes]]:
    """What went through each of the encoders `toy:a` and `toy:b`, which are known meanwhile."""
    load_schemes()
    found: dict[str, list[bytes]] = {"a": [], "b": []}
    monkeypatch.setitem(RESOLVERS, "toy", lambda name: ToySource(name, found[name]))
    return found


@pytest.fixture
def toy(seen: dict[str, list[bytes]]) -> dict[str, str]:
    """Parameters that name the source `toy:a`."""
    return {"source": "toy:a", "engine": "eager", "device": "cpu"}


def reddish(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Noisy pictures (n, 10, 10, 3) uint8 and how red they are, 0 to 1."""
    rng = np.random.default_rng(seed)
    red = rng.uniform(0, 1, count)
    pictures = rng.uniform(60, 100, (count, 10, 10, 3))
    pictures[..., 0] += 120 * red[:, None, None]
    return pictures.astype(np.uint8), red


def classes_of(red: np.ndarray) -> np.ndarray:
    return np.where(red > 0.5, "red", "dull")


def saved(pictures: np.ndarray, folder: Path) -> list[Path]:
    paths = [folder / f"{i:03}.png" for i in range(len(pictures))]
    for path, picture in zip(paths, pictures, strict=True):
        Image.fromarray(picture).save(path)
    return paths


# The contract of parameters.


@pytest.mark.parametrize("kind", ALL)
def test_init_keeps_its_arguments_and_does_nothing_else(kind: type[BaseEstimator]) -> None:
    names = list(inspect.signature(kind).parameters)
    things = {name: object() for name in names}
    made = kind(**things)
    assert vars(made) == things
    assert made.get_params() == things


@pytest.mark.parametrize("kind", ALL)
def test_parameters_are_cloned_and_set(kind: type[BaseEstimator]) -> None:
    made = kind(source="toy:a", layer="conv", pooling="mean+max")
    twin = clone(made)
    assert twin is not made
    assert twin.get_params() == made.get_params()
    assert twin.set_params(layer="last") is twin
    assert (twin.layer, made.layer) == ("last", "conv")
    with pytest.raises(ValueError, match="nonsense"):
        made.set_params(nonsense=1)


def test_scikit_learn_takes_them_for_what_they_are() -> None:
    assert is_classifier(TransferClassifier())
    assert is_regressor(TransferRegressor())
    assert not TransferClassifier().__sklearn_tags__().input_tags.two_d_array
    assert repr(TransferClassifier(layer="last")) == "TransferClassifier(layer='last')"


@pytest.mark.parametrize(
    ("kind", "wrong", "told"),
    [
        (TransferClassifier, {"pooling": "tokens"}, "pooling"),
        (TransferClassifier, {"folds": 1}, "folds"),
        (TransferClassifier, {"class_weight": {"a": 1}}, "class_weight"),
        (TransferClassifier, {"method": "forest"}, "forest"),
        (TransferClassifier, {"layer": "attic"}, "attic"),
        (TransferClassifier, {"source": "toys:a"}, "toys"),
        (TransferClassifier, {"random_state": -1}, "seed"),
        (TransferRegressor, {"method": "prototype"}, "regression"),
        (FeatureExtractor, {"layer": "attic"}, "attic"),
        (FeatureExtractor, {"engine": "steam"}, "engine"),
    ],
)
def test_wrong_parameters_are_refused_by_fit(
    kind: type[BaseEstimator], wrong: dict[str, Any], told: str, toy: dict[str, str]
) -> None:
    pictures, red = reddish(6)
    made = kind(**{**toy, **wrong})
    with pytest.raises(UsageError, match=told):
        made.fit(pictures, red > 0.5)


@pytest.mark.parametrize("kind", ALL)
def test_nothing_comes_out_before_fit(kind: type[BaseEstimator], toy: dict[str, str]) -> None:
    made = kind(**toy)
    with pytest.raises(NotFittedError):
        (made.transform if kind is FeatureExtractor else made.predict)(reddish(2)[0])


@pytest.mark.parametrize("kind", ALL)
def test_fit_leaves_parameters_alone_and_ends_its_attributes_in_an_underscore(
    kind: type[BaseEstimator], toy: dict[str, str]
) -> None:
    pictures, red = reddish(12)
    made = kind(**toy)
    before = made.get_params()
    assert made.fit(pictures, red > 0.5) is made
    assert made.get_params() == before
    learned = set(vars(made)) - set(before)
    assert learned
    assert all(name.endswith("_") and not name.startswith("_") for name in learned)


# Classifier.


@pytest.mark.parametrize(
    "names",
    [["dull", "red"], [3, 7], [False, True], np.array(["dull", "red"], dtype=object)],
    ids=["text", "numbers", "truth", "objects"],
)
def test_classes_come_out_as_they_went_in(names: Any, toy: dict[str, str]) -> None:
    pictures, red = reddish(40)
    y = np.asarray(names)[(red > 0.5).astype(int)]
    model = TransferClassifier(**toy).fit(pictures[:30], y[:30])
    predicted = model.predict(pictures[30:])
    assert model.classes_.dtype == y.dtype
    assert model.classes_.tolist() == sorted(set(y.tolist()))
    assert set(predicted.tolist()) <= set(y.tolist())
    assert model.score(pictures[30:], y[30:]) == accuracy_score(y[30:], predicted) > 0.7


def test_probabilities_are_the_head_on_the_features_by_hand(toy: dict[str, str]) -> None:
    pictures, red = reddish(40)
    y = np.digitize(red, [0.3, 0.6])
    model = TransferClassifier(**toy).fit(pictures[:30], y[:30])
    x = FeatureExtractor(**toy, layer="all").fit(pictures[:30]).transform(pictures[30:])
    (member,) = model.model_.members
    for row, given in zip(x, model.predict_proba(pictures[30:]), strict=True):
        scaled = (row - member.scale.centre) * member.scale.factor
        logits = (member.head.weight @ scaled + member.head.bias) / member.temperature
        by_hand = np.exp(logits) / np.exp(logits).sum()
        assert np.allclose(given, by_hand, atol=1e-5)
        assert np.isclose(given.sum(), 1.0)


def test_strength_is_the_best_out_of_fold(
    toy: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures, red = reddish(40)
    held: list[Any] = []
    real = estimators.attempt
    monkeypatch.setattr(estimators, "attempt", lambda e, c: held.append((e, c)) or real(e, c))
    model = TransferClassifier(**toy, folds=4, layer="colour").fit(pictures, classes_of(red))
    ((evidence, candidate),) = held
    method, labels, folds = candidate.method, evidence.labels, evidence.folds
    x = evidence.features["toy:a"].layer("colour").astype(np.float64)
    x = (x - x.mean(0)) / x.std(0) / np.sqrt(x.shape[1])
    losses = []
    for setting in method.settings(labels):
        z = np.empty((40, 2))
        for fold in range(4):
            out = folds == fold
            z[out] = method.fit(
                x[~out].astype(np.float32), labels.take(np.flatnonzero(~out)), setting
            ).outputs(x[out])
        margins = (z[:, 1] - z[:, 0]) * np.where(labels.values == 1, 1, -1)
        each = [np.log1p(np.exp(-margins / t)).mean() for t in np.geomspace(0.05, 20, 400)]
        losses.append(min(each))
    best = losses[method.settings(labels).index(model.setting_)]
    assert best <= min(losses) + 1e-3


def test_folds_are_stratified_and_never_divide_equal_pictures(
    toy: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures, red = reddish(20)
    pictures, red = np.concatenate([pictures, pictures]), np.concatenate([red, red])
    y = np.sort(red)[np.argsort(np.argsort(red))] > np.median(red)
    held: list[Any] = []
    real = estimators.attempt
    monkeypatch.setattr(estimators, "attempt", lambda e, c: held.append(e) or real(e, c))
    TransferClassifier(**toy, folds=5).fit(pictures, y)
    folds, values = held[0].folds, held[0].labels.values
    assert np.array_equal(folds[:20], folds[20:])
    for fold in range(5):
        assert np.bincount(values[folds == fold], minlength=2).min() >= 2


def test_the_seed_decides_the_folds(toy: dict[str, str]) -> None:
    pictures, red = reddish(30)
    y = classes_of(red + np.random.default_rng(1).normal(0, 0.3, 30))

    def fitted(state: Any) -> np.ndarray:
        model = TransferClassifier(**toy, random_state=state).fit(pictures, y)
        return model.predict_proba(pictures)

    assert np.array_equal(fitted(0), fitted(0))
    assert np.array_equal(fitted(np.random.RandomState(3)), fitted(np.random.RandomState(3)))
    assert any(not np.array_equal(fitted(0), fitted(seed)) for seed in (1, 2, 3))
    assert np.isfinite(fitted(None)).all()


def test_predicting_draws_nothing_from_a_generator(toy: dict[str, str]) -> None:
    pictures, red = reddish(12)
    state = np.random.RandomState(0)
    model = TransferClassifier(**toy, random_state=state).fit(pictures, classes_of(red))
    before = state.get_state()[2]
    model.predict(pictures)
    assert state.get_state()[2] == before


def test_balanced_classes_change_the_probe(toy: dict[str, str]) -> None:
    pictures, red = reddish(60)
    y = np.where(red > 0.8, "red", "dull")
    plain = TransferClassifier(**toy, layer="conv").fit(pictures, y)
    even = TransferClassifier(**toy, layer="conv", class_weight="balanced").fit(pictures, y)
    assert even.predict_proba(pictures)[:, 1].mean() > plain.predict_proba(pictures)[:, 1].mean()


@pytest.mark.parametrize("method", ["probe", "prototype", "knn"])
def test_every_method_learns(method: str, toy: dict[str, str]) -> None:
    pictures, red = reddish(60)
    model = TransferClassifier(**toy, layer="last", method=method)
    model.fit(pictures[:40], classes_of(red[:40]))
    assert model.score(pictures[40:], classes_of(red[40:])) > 0.8


@pytest.mark.parametrize(
    ("y", "told"),
    [
        (["red"] * 5, "inconsistent"),
        ([[0, 1]] * 6, "1d array"),
        ([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], "continuous"),
        ([0, 1, 0, 1, 0, np.nan], "NaN"),
    ],
    ids=["short", "matrix", "fractions", "missing"],
)
def test_labels_that_are_no_classes_are_refused(y: Any, told: str, toy: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=f"(?i){told}"):
        TransferClassifier(**toy).fit(reddish(6)[0], y)


def test_one_class_and_one_picture_are_refused(toy: dict[str, str]) -> None:
    pictures, _ = reddish(6)
    with pytest.raises(DataError, match="at least two classes"):
        TransferClassifier(**toy).fit(pictures, ["red"] * 6)
    with pytest.raises(DataError, match="the same one"):
        TransferClassifier(**toy).fit([pictures[0]] * 6, ["red", "dull"] * 3)


def test_two_pictures_are_enough(toy: dict[str, str]) -> None:
    pictures = np.stack([np.full((9, 9, 3), 20), np.full((9, 9, 3), 220)]).astype(np.uint8)
    model = TransferClassifier(**toy).fit(pictures, ["dark", "light"])
    assert np.isfinite(model.predict_proba(pictures)).all()


# Regressor.


def test_a_regressor_recovers_values(toy: dict[str, str]) -> None:
    pictures, red = reddish(60)
    model = TransferRegressor(**toy, layer="colour").fit(pictures[:40], red[:40])
    predicted = model.predict(pictures[40:])
    assert predicted.shape == (20,)
    assert model.score(pictures[40:], red[40:]) == r2_score(red[40:], predicted) > 0.95


@pytest.mark.parametrize("y", [[np.nan] * 6, [[0.0, 1.0]] * 6, ["a"] * 6, [1.0] * 5])
def test_targets_that_are_no_numbers_are_refused(y: Any, toy: dict[str, str]) -> None:
    with pytest.raises(ValueError):
        TransferRegressor(**toy).fit(reddish(6)[0], y)


# Transformer.


@pytest.mark.parametrize("pooling", ["mean", "mean+max"])
def test_features_are_those_of_the_encoder(pooling: Any, toy: dict[str, str]) -> None:
    pictures, _ = reddish(21)
    made = FeatureExtractor(**toy, layer="all", pooling=pooling).fit(pictures[:5])
    features = made.transform(pictures)
    encoder = ToySource("a", []).load()
    batch = encoder.collate([encoder.prepare(Image.fromarray(picture)) for picture in pictures])
    expected = encoder.pooled(batch, pooling)
    assert features.dtype == np.float32
    assert np.allclose(features, np.hstack([expected["conv"], expected["colour"]]), atol=1e-5)
    assert np.array_equal(made.fit_transform(pictures), features)


@pytest.mark.parametrize(
    ("layer", "names"),
    [
        ("last", ["colour_0", "colour_1", "colour_2"]),
        ("conv", [f"conv_{i}" for i in range(5)]),
        ("all", [f"conv_{i}" for i in range(5)] + [f"colour_{i}" for i in range(3)]),
        ("colour+conv", [f"colour_{i}" for i in range(3)] + [f"conv_{i}" for i in range(5)]),
    ],
)
def test_columns_have_the_names_of_their_layers(
    layer: str, names: list[str], toy: dict[str, str]
) -> None:
    pictures, _ = reddish(6)
    made = FeatureExtractor(**toy, layer=layer).set_output(transform="pandas")
    frame = made.fit_transform(pictures)
    assert isinstance(frame, pd.DataFrame)
    assert list(frame.columns) == made.get_feature_names_out().tolist() == names
    everything = FeatureExtractor(**toy, layer="all").fit(pictures)
    columns = everything.transform(pictures).T
    whole = dict(zip(everything.get_feature_names_out(), columns, strict=True))
    assert np.array_equal(frame.to_numpy(), np.stack([whole[name] for name in names], axis=1))


# Composition.


def test_a_whole_grid_search_takes_each_picture_through_each_encoder_once(
    seen: dict[str, list[bytes]], toy: dict[str, str], tmp_path: Path
) -> None:
    pictures, red = reddish(24)
    paths = saved(pictures, tmp_path)
    search = GridSearchCV(
        TransferClassifier(**toy, folds=3),
        {"source": ["toy:a", "toy:b"], "layer": ["last", "all", "conv"]},
        cv=StratifiedKFold(3, shuffle=True, random_state=0),
        error_score="raise",
    ).fit(paths, classes_of(red))
    search.predict(paths)
    every = Counter(picture.tobytes() for picture in pictures)
    assert Counter(seen["a"]) == every
    assert Counter(seen["b"]) == every
    assert len(search.cv_results_["params"]) == 6
    assert search.best_score_ > 0.8


def test_a_grid_search_over_a_pipeline_does_so_too(
    seen: dict[str, list[bytes]], toy: dict[str, str]
) -> None:
    pictures, red = reddish(24)
    pipe = make_pipeline(FeatureExtractor(**toy), StandardScaler(), LogisticRegression())
    grid = {
        "featureextractor__layer": ["last", "all"],
        "logisticregression__C": [0.1, 1.0],
    }
    search = GridSearchCV(pipe, grid, cv=3, error_score="raise").fit(pictures, classes_of(red))
    assert search.best_score_ > 0.8
    assert set(Counter(seen["a"]).values()) == {1}
    assert len(seen["a"]) == 24


@pytest.mark.parametrize("kind", [TransferClassifier, TransferRegressor])
def test_cross_validation_scores_each_fold(kind: type[BaseEstimator], toy: dict[str, str]) -> None:
    pictures, red = reddish(45)
    y = classes_of(red) if kind is TransferClassifier else red
    scores = cross_val_score(kind(**toy), list(pictures), y, cv=3, error_score="raise")
    assert scores.shape == (3,)
    assert scores.min() > 0.6


def test_a_fitted_estimator_is_only_arrays_and_text(toy: dict[str, str], tmp_path: Path) -> None:
    pictures, red = reddish(20)
    for made in (
        TransferClassifier(**toy).fit(pictures, classes_of(red)),
        TransferRegressor(**toy).fit(pictures, red),
        FeatureExtractor(**toy).fit(pictures),
    ):
        joblib.dump(made, tmp_path / "model.joblib")
        twin = joblib.load(tmp_path / "model.joblib")
        does = "transform" if isinstance(made, FeatureExtractor) else "predict"
        assert np.array_equal(getattr(twin, does)(pictures), getattr(made, does)(pictures))
        written = pickle.dumps(made)
        assert not any(word in written for word in (b"torch", b"sqlite", b"FeatureStore"))


def test_threads_search_together(toy: dict[str, str]) -> None:
    pictures, red = reddish(24)
    search = GridSearchCV(TransferClassifier(**toy), {"layer": ["last", "all"]}, cv=2, n_jobs=2)
    with joblib.parallel_backend("threading"):
        search.set_params(error_score="raise").fit(pictures, classes_of(red))
    assert search.best_score_ > 0.8


@pytest.mark.slow
def test_processes_search_together() -> None:
    pictures, red = reddish(24)
    model = TransferClassifier(source="pixels:", engine="eager", device="cpu")
    search = GridSearchCV(model, {"method": ["probe", "prototype"]}, cv=2, n_jobs=2)
    search.set_params(error_score="raise").fit(list(pictures), classes_of(red))
    assert search.best_score_ > 0.6


# Inputs.


def test_every_form_of_pictures_gives_the_same(toy: dict[str, str], tmp_path: Path) -> None:
    pictures, red = reddish(16)
    model = TransferClassifier(**toy).fit(pictures, classes_of(red))
    expected = model.predict_proba(pictures)
    paths = saved(pictures, tmp_path)
    texts = [str(path) for path in paths]
    opened = [Image.fromarray(picture) for picture in pictures]
    mixed = np.empty(16, dtype=object)
    mixed[:] = [*paths[:4], *texts[4:8], *opened[8:12], *pictures[12:]]
    for form in (
        paths,
        texts,
        np.array(texts),
        opened,
        list(pictures),
        tuple(opened),
        mixed,
        pictures / np.float32(255),
        torch.from_numpy(pictures),
        pd.Series(texts, index=range(5, 21)),
        pd.DataFrame({"path": texts}),
    ):
        assert np.allclose(model.predict_proba(form), expected, atol=1e-5)


def test_what_is_no_list_is_refused(toy: dict[str, str], tmp_path: Path) -> None:
    pictures, red = reddish(8)
    model = TransferClassifier(**toy).fit(pictures, classes_of(red))
    for single in ("a.png", tmp_path, Image.fromarray(pictures[0]), 3):
        with pytest.raises(DataError, match=f"One {type(single).__name__} was given"):
            model.predict(single)
    with pytest.raises(DataError, match="empty"):
        model.predict([])


@pytest.fixture
def damaged(tmp_path: Path) -> list[Any]:
    """A missing file, an empty one, a cut one, a folder, a text and a number."""
    whole = tmp_path / "whole.png"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(whole)
    (tmp_path / "cut.png").write_bytes(whole.read_bytes()[:900])
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("not a picture")
    names = ["missing.png", "empty.png", "cut.png", "text.png"]
    return [*(tmp_path / name for name in names), tmp_path, None, np.zeros((2, 3, 4, 5))]


def test_fit_leaves_out_and_names_what_it_cant_read(
    damaged: list[Any], toy: dict[str, str]
) -> None:
    pictures, red = reddish(20)
    y = classes_of(red)
    clean = TransferClassifier(**toy).fit(pictures, y)
    order = np.random.default_rng(0).permutation(27)
    X = [[*pictures, *damaged][i] for i in order]
    labels = np.array([*y, *["red"] * 7])[order]
    with pytest.warns(UserWarning, match="7 of 27 inputs can't be read") as told:
        model = TransferClassifier(**toy).fit(X, labels)
    assert told[0].filename == __file__
    text = str(told[0].message)
    assert all(f"{path} " in text for path in damaged[:5])
    assert all(f"row {np.flatnonzero(order == i)[0]} " in text for i in (25, 26))
    assert model.left_out_.tolist() == np.flatnonzero(order >= 20).tolist()
    assert np.allclose(model.predict_proba(pictures), clean.predict_proba(pictures), atol=1e-4)


def test_a_class_that_cant_be_read_is_no_class(damaged: list[Any], toy: dict[str, str]) -> None:
    pictures, red = reddish(10)
    with pytest.warns(UserWarning, match="1 of 11 inputs"):
        model = TransferClassifier(**toy).fit([*pictures, damaged[2]], [*classes_of(red), "zebra"])
    assert model.classes_.tolist() == ["dull", "red"]


def test_an_output_for_each_input_or_none(damaged: list[Any], toy: dict[str, str]) -> None:
    pictures, red = reddish(10)
    model = TransferClassifier(**toy).fit(pictures, classes_of(red))
    extractor = FeatureExtractor(**toy).fit(pictures)
    for does in (model.predict, model.predict_proba, extractor.transform, extractor.fit):
        with pytest.raises(DataError, match="3 of 5 inputs can't be read") as told:
            does([*damaged[:3], *pictures[:2]])
        assert all(str(path) in str(told.value) for path in damaged[:3])
    with pytest.raises(DataError, match="2 of 2 inputs"):
        model.predict(damaged[:2])
    with pytest.raises(DataError, match="7 of 7 inputs"):
        TransferClassifier(**toy).fit(damaged, ["a"] * 7)


def test_only_some_of_many_are_named(toy: dict[str, str]) -> None:
    with pytest.raises(DataError, match=r"row 19 .*; and 5 more"):
        FeatureExtractor(**toy).fit([None] * 25)


# A source that changes.


def test_a_source_that_changed_is_warned_of(
    toy: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures, red = reddish(10)
    model = TransferClassifier(**toy).fit(pictures, classes_of(red))
    extractor = FeatureExtractor(**toy).fit(pictures)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.predict(pictures)
    monkeypatch.setattr(ToySource, "edition", 2)
    with pytest.warns(UserWarning, match="toy:a has other weights"):
        model.predict(pictures)
    monkeypatch.setattr(ToySource, "edition", 3)
    monkeypatch.setattr(ToyEncoder, "layers", (Layer("conv", 5),))
    for does in (model.predict, extractor.transform):
        with (
            pytest.warns(UserWarning, match="Fit it again"),
            pytest.raises(SourceError, match="no layer colour any more"),
        ):
            does(pictures)


# Texts.

GOOD = ["great", "lovely", "superb", "delightful", "wonderful"]
BAD = ["awful", "dreadful", "horrid", "dismal", "terrible"]


def opinions(count: int) -> tuple[list[str], list[str]]:
    """Sentences about things, and whether they praise them."""
    things = ["soup", "film", "chair", "tune", "coat", "walk", "book"]
    y = ["good" if i % 2 else "bad" for i in range(count)]
    words = [(GOOD if label == "good" else BAD)[i % 5] for i, label in enumerate(y)]
    texts = [f"The {things[i % 7]} number {i} was {word}." for i, word in enumerate(words)]
    return texts, y


def test_texts_are_classified_in_every_form_they_come_in() -> None:
    texts, y = opinions(24)
    model = TransferClassifier(layer="last").fit(texts, y)
    assert model.model_.source == "bundled:minilm"
    expected = model.predict_proba(texts)
    for form in (np.array(texts), np.array(texts, dtype=object), pd.Series(texts), tuple(texts)):
        assert np.array_equal(model.predict_proba(form), expected)
    assert model.predict(["What a lovely, superb day.", "A dismal and awful one."]).tolist() == [
        "good",
        "bad",
    ]


def test_texts_go_through_pipelines_and_searches() -> None:
    texts, y = opinions(24)
    pipe = make_pipeline(FeatureExtractor(), StandardScaler(), LogisticRegression())
    assert cross_val_score(pipe, texts, y, cv=3).mean() > 0.7
    search = GridSearchCV(TransferClassifier(), {"layer": ["last", "hidden_states.3"]}, cv=3)
    assert search.fit(texts, y).best_score_ > 0.7
    assert clone(search.best_estimator_).get_params()["source"] is None


def test_pairs_of_texts_and_frames_of_two_columns_are_the_same() -> None:
    first, _ = opinions(16)
    second = [text.replace("The", "This") for text in reversed(first)]
    pairs = list(zip(first, second, strict=True))
    frame = pd.DataFrame({"text": first, "text_b": second})
    made = FeatureExtractor().fit(pairs)
    assert np.array_equal(made.transform(frame), made.transform(pairs))
    assert not np.allclose(made.transform(first), made.transform(pairs))


def test_numbers_are_learned_from_texts() -> None:
    texts, y = opinions(30)
    values = np.array([float(label == "good") for label in y])
    model = TransferRegressor(layer="last").fit(texts[:20], values[:20])
    assert model.score(texts[20:], values[20:]) > 0.3


def test_texts_without_anything_are_warned_of_and_named() -> None:
    texts, y = opinions(12)
    with pytest.warns(UserWarning, match=r"row 3 holds no text"):
        model = TransferClassifier(layer="last").fit([*texts[:3], " ", *texts[4:]], y)
    assert model.left_out_.tolist() == [3]
    with pytest.raises(DataError, match="row 0 holds no text"):
        model.predict([""])
    with pytest.raises(DataError, match="Give a list"):
        model.predict("A lovely day.")
