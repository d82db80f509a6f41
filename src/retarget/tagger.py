"""`TransferTagger`: spans in texts, or tags of tokens, as a scikit-learn estimator."""

import warnings
from collections.abc import Sequence
from numbers import Integral
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_consistent_length, check_random_state
from sklearn.utils.validation import check_is_fitted

from retarget.api import asked
from retarget.core.config import FitConfig
from retarget.core.errors import DataError, UsageError
from retarget.core.types import IntArray
from retarget.evaluation.metrics import headline
from retarget.features.extract import extract
from retarget.features.store import FeatureStore
from retarget.features.table import Table
from retarget.methods.base import Labels
from retarget.runs.predict import called, predict_readable
from retarget.selection.candidates import candidates, methods_for
from retarget.selection.select import attempt, refit
from retarget.selection.trials import Evidence
from retarget.sources.registry import resolve
from retarget.tasks.memory import names_of, rows_to_tag
from retarget.tasks.readers import Asked
from retarget.tasks.rows import build_task
from retarget.tasks.splits import assign_folds
from retarget.tasks.tags import Scheme, detect_scheme, to_tags
from retarget.tasks.task import Task
from retarget.tasks.unfold import Unfolded, unfold
from retarget.tasks.words import Span


class TransferTagger(BaseEstimator):  # type: ignore[misc]  # scikit-learn is not typed
    """A tagger on the features of a pretrained model's words.

    `X` is a list of texts and `y` a list of spans for each, `(start, end, label)` in characters;
    or `X` is a list of lists of tokens and `y` a list of tags for each, in IOB1, IOB2, BIOES or
    one label a token. Predictions have the form of `y`.

    Args:
        source: URI of the model: bundled:…, hf:…, file:….
        layer: a layer's name, several joined by `+`, `last` for the deepest, or `all` together.
        method: probe, prototype or crf.
        folds: 2 to 20, in which the method's strength is chosen. Words of a text, and of equal
            texts, are never divided by a fold.
        engine: how the encoder is run: auto, eager, onnx or compiled.
        device: where: auto, cpu, cuda, cuda:N or mps.
        random_state: of the folds.

    Attributes after `fit`: `types_` of spans, sorted; `scheme_` of the tags it was given; `model_`,
    the heads; `setting_`, the strength chosen; `fingerprint_` of the encoder; `left_out_`, rows of
    `X` that could not be read.
    """

    def __init__(
        self,
        source: str = "bundled:minilm",
        layer: str = "all",
        method: str = "probe",
        folds: int = 5,
        engine: str = "auto",
        device: str = "auto",
        random_state: Any = 0,
    ) -> None:
        self.source = source
        self.layer = layer
        self.method = method
        self.folds = folds
        self.engine = engine
        self.device = device
        self.random_state = random_state

    def fit(self, X: Any, y: Any) -> Self:
        """Fit on n texts and their spans, or lists of tokens and their tags.

        A text with `None` for its spans is left out; one that can't be read is warned of.

        Raises:
            ValueError: `y` is not one list for each text, or not one tag for each token.
            DataError: nothing can be read, or no text has a span. UsageError: parameters.
            SourceError: no such model.
        """
        config = self._config()
        methods = methods_for("tagging", config.methods)
        source = resolve(config.sources[0])
        texts, targets = _plain(X), _plain(y)
        check_consistent_length(texts, targets)
        task = _task(texts, targets)
        made = extract(
            task,
            [source],
            store=FeatureStore(),
            pooling="words",
            engine=self.engine,
            device=self.device,
        )
        kept, _ = made.readable(task)
        kept = kept[task.labelled[kept]]
        known = task.take(kept)
        if not known.classes or not any(known.examples.targets):
            raise DataError("No text that can be read has a span. Give some that have.")
        self._warn_of(task, known, texts, targets)
        words = unfold(known)
        table = Table.read(
            made.features[source.uri].take(made.rows.rows(kept)), np.arange(len(words.sentences))
        )
        evidence = _evidence(known, words, table, _folds(known, config))
        (candidate,) = candidates((table,), methods, config.layers)
        trial = attempt(evidence, candidate)
        self.model_ = refit(evidence, trial, words.task.classes, "words")
        self.setting_ = trial.settings[0]
        self.fingerprint_ = source.fingerprint
        self.types_ = np.array(known.classes)
        self.scheme_ = _scheme(texts, targets)
        return self

    def predict(self, X: Any) -> list[list[Any]]:
        """Return a list of `Span` for each text, or of tags for each list of tokens.

        Raises `DataError` naming inputs that can't be read: there is a list for each input.
        """
        check_is_fitted(self)
        texts = _plain(X)
        found = self._spans(texts, _task(texts, [None] * len(texts)))
        return [
            _tags(text, spans, self.scheme_) if _is_tokens(text) else list(spans)
            for text, spans in zip(texts, found, strict=True)
        ]

    def score(self, X: Any, y: Any) -> float:
        """Return the F1 of whole entities: same words, same type (seqeval's, over all types).

        0 where there is none, true or found.
        """
        check_is_fitted(self)
        texts, targets = _plain(X), _plain(y)
        check_consistent_length(texts, targets)
        task = _task(texts, targets)
        found = self._spans(texts, task)
        right = given = 0
        for true, told in zip(task.examples.targets, found, strict=True):
            if true is not None:
                right += len(set(true) & set(told))
                given += len(true) + len(told)
        return 2 * right / given if given else 0.0

    def _config(self) -> FitConfig:
        """Return the parameters, checked. Raises `UsageError`."""
        several = {"sources": (self.source,), "layers": (self.layer,), "methods": (self.method,)}
        one = {"folds": self.folds, "engine": self.engine, "device": self.device}
        return asked("", None, {**several, **one, "seed": seed_of(self.random_state)})

    def _spans(self, texts: Sequence[Any], task: Task) -> list[tuple[Span, ...]]:
        if len(task) < len(texts):
            lost = [p.what for p in task.problems if p.left_out]
            raise DataError(
                f"{' '.join(lost)} Each input needs an output here: mend them or take them out."
            )
        source = resolve(self.model_.source)
        if source.fingerprint != self.fingerprint_:
            warnings.warn(
                f"{source.uri} has other weights or was loaded by other library versions than "
                "when this TransferTagger was fitted, so its output may be wrong. Fit it again.",
                stacklevel=3,
            )
        found = predict_readable(
            self.model_,
            [source],
            task,
            store=FeatureStore(),
            engine=self.engine,
            device=self.device,
        )
        spans = called(found, self.model_.classes)
        return [tuple(Span(s.start, s.end, s.label) for s in one) for one in spans]

    def _warn_of(
        self, task: Task, known: Task, texts: Sequence[Any], targets: Sequence[Any]
    ) -> None:
        """Keep which rows could not be read, and warn of them and of spans that don't fit."""
        given = {i for i, target in enumerate(targets) if target is not None}
        names = names_of(texts)
        read = set(known.examples.names)
        self.left_out_ = np.array([i for i in sorted(given) if names[i] not in read], np.int64)
        if told := [problem.what for problem in task.problems]:
            warnings.warn(" ".join(told), stacklevel=3)


def seed_of(random_state: Any) -> Any:
    """Return a whole number as it is; draw one from `None` or a generator, as scikit-learn does."""
    if isinstance(random_state, Integral):
        return int(random_state)
    return int(check_random_state(random_state).randint(2**31 - 1))


def _plain(values: Any) -> list[Any]:
    """Return a list, tuple, array or series as a list, as are arrays in it."""
    if isinstance(values, str) or not hasattr(values, "__len__"):
        raise UsageError(
            f"One {type(values).__name__} was given. Give lists of texts and of spans, or of "
            "tokens and of tags, also for a single one."
        )
    if hasattr(values, "to_numpy"):
        values = values.to_numpy()
    return [one.tolist() if isinstance(one, np.ndarray) else one for one in values]


def _is_tokens(text: Any) -> bool:
    return isinstance(text, list | tuple)


def _task(texts: Sequence[Any], targets: Sequence[Any]) -> Task:
    """Return texts with their words as a task. Raises `ValueError` for tags that don't fit."""
    if not texts:
        raise DataError("The list is empty. Give texts, or lists of tokens.")
    for i, (text, target) in enumerate(zip(texts, targets, strict=True)):
        tags = isinstance(target, list | tuple) and any(isinstance(tag, str) for tag in target)
        if target is not None and _is_tokens(text) and len(text) != len(target):
            raise ValueError(f"Row {i} has {len(text)} tokens and {len(target)} tags.")
        if tags and not _is_tokens(text):
            raise ValueError(f"Row {i} is a text with tags. Give its spans, or tokens.")
    task = build_task(rows_to_tag(texts, targets), Asked(kind="tagging"))
    if bad := [p.what for p in task.problems if p.what.endswith("unlabelled.")]:
        raise ValueError(" ".join(bad))
    return task


def _scheme(texts: Sequence[Any], targets: Sequence[Any]) -> Scheme:
    tags = [
        target
        for text, target in zip(texts, targets, strict=True)
        if _is_tokens(text) and target is not None
    ]
    return detect_scheme(tags) if tags else "IOB2"


def _tags(tokens: Sequence[Any], spans: Sequence[Span], scheme: Scheme) -> list[str]:
    """Return a tag for each token, also for those that don't show; texts put a space between."""
    ends = np.cumsum([len(str(token)) + 1 for token in tokens])
    starts = [0, *ends[:-1].tolist()]
    places = [(a, a + len(str(token))) for a, token in zip(starts, tokens, strict=True)]
    shown = [i for i, token in enumerate(tokens) if str(token).strip()]
    tags = ["O"] * len(tokens)
    written = to_tags([places[i] for i in shown], spans, scheme)
    for i, tag in zip(shown, written, strict=True):
        tags[i] = tag
    return tags


def _folds(task: Task, config: FitConfig) -> IntArray:
    """Return the fold of each text, every type of span in all of them as far as it goes."""
    ids = task.examples.ids
    different = len(np.unique(ids))
    if different < 2:
        raise DataError("All texts are the same one. At least 2 are needed to choose a strength.")
    holds = np.array(
        [[any(s.label == name for s in spans) for name in task.classes]
         for spans in task.examples.targets],
        dtype=np.float64,
    )  # fmt: skip
    alone = np.full(len(ids), "")
    k = min(config.folds, different)
    return assign_folds(holds, alone, ids, k, config.seed, "multilabel")


def _evidence(known: Task, words: Unfolded, table: Table, folds: IntArray) -> Evidence:
    """Return what a choice sees of the words of labelled texts, given the fold of each text."""
    examples, sentences = words.task.examples, words.sentences
    labels = Labels(
        "tagging",
        examples.targets,
        len(words.task.classes),
        examples.weights,
        sequences=sentences,
    )
    _, units = np.unique(known.examples.ids, return_inverse=True)
    return Evidence(
        features={table.uri: table},
        labels=labels,
        folds=folds[sentences],
        units=units.astype(np.int64)[sentences],
        metric=headline("tagging", labels.values),
    )
