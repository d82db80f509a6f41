"""Predictions of a saved model for new inputs."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from retarget.core.errors import DataError, SourceError
from retarget.core.notebook import shown
from retarget.core.text import count, printable
from retarget.core.types import FloatArray, IntArray, Kind, Modality
from retarget.evaluation.decoding import allowed, decode
from retarget.features.extract import extract
from retarget.features.features import Features
from retarget.features.store import FeatureStore
from retarget.methods.model import TransferModel
from retarget.sources.source import Source
from retarget.tasks.memory import names_of, references_of
from retarget.tasks.modalities import LOADERS
from retarget.tasks.open import holds_examples, open_task
from retarget.tasks.readers import Asked, Rows
from retarget.tasks.rows import build_task
from retarget.tasks.tags import to_spans
from retarget.tasks.task import Problem, Task
from retarget.tasks.tree import readable as readable_name
from retarget.tasks.unfold import unfold
from retarget.tasks.words import Worded, worded

# Inputs are predicted by the thousand, so that a stream of millions starts at once and fits.
CHUNK = 1_024
TINY = 1e-300


@dataclass(frozen=True)
class Called:
    """A span that a model found: characters from `start` up to `end`, what it is, its text, and
    how probable it is: the mean of what its words' tags have."""

    start: int
    end: int
    label: str
    text: str
    probability: float


@dataclass(frozen=True)
class Predictions:
    """Predictions for inputs that could be read, in their order.

    Attributes:
        names: as in `Examples`.
        values: (n, K) probabilities or (n,) numbers; of tagging a row for each word.
        classes: names of the columns.
        kind: what is predicted.
        problems: the inputs that were left out, with reasons.
        spans: of tagging, what was found in each input.
        texts: of tagging, what each input says; spans count its characters.
    """

    names: tuple[str, ...]
    values: FloatArray
    classes: tuple[str, ...]
    kind: Kind
    problems: tuple[Problem, ...] = ()
    spans: tuple[tuple[Called, ...], ...] = ()
    texts: tuple[str, ...] = ()

    def _repr_html_(self) -> str:
        first = range(min(len(self.names), 50))
        rows = [(self.names[i], self._told(i)) for i in first]
        sentence = f"Predictions of {count(len(self.names), 'input')}."
        return shown(sentence, ("input", "predicted"), rows)

    def _told(self, i: int) -> str:
        """Return what was predicted for an input: of several labels those above one half."""
        if self.kind == "tagging":
            return ", ".join(f"{span.text}: {span.label}" for span in self.spans[i])
        if self.kind == "regression":
            return f"{self.values[i]:.4g}"
        likely = self.values[i] > 0.5
        if self.kind == "classification":
            likely = np.arange(len(self.classes)) == np.argmax(self.values[i])
        told = [f"{self.classes[k]} ({self.values[i, k]:.2f})" for k in np.flatnonzero(likely)]
        return ", ".join(told)

    @property
    def labels(self) -> tuple[str, ...]:
        """The most probable class of each example (classification)."""
        return tuple(self.classes[i] for i in np.argmax(self.values, axis=1))


@dataclass(frozen=True)
class Found:
    """What a model says of the readable examples of a task.

    Attributes:
        task: these examples, problems added.
        rows: what was predicted row by row: the examples, or their words.
        owners: (n rows,) the example that each word is of; `None` where rows are examples.
        values: (n rows, K) probabilities or (n,) numbers.
    """

    task: Task
    rows: Task
    owners: IntArray | None
    values: FloatArray


def predict_task(
    model: TransferModel,
    encoders: Sequence[Source],
    task: Task,
    *,
    store: FeatureStore,
    engine: str = "auto",
    device: str = "auto",
) -> Predictions:
    """Predict every readable example of a task."""
    found = predict_readable(model, encoders, task, store=store, engine=engine, device=device)
    examples, problems = found.task.examples, found.task.problems
    spans = called(found, model.classes)
    texts = tuple(text.text for text in _texts(found)) if found.owners is not None else ()
    return Predictions(
        examples.names, found.values, model.classes, model.kind, problems, spans, texts
    )


def predict_readable(
    model: TransferModel,
    encoders: Sequence[Source],
    task: Task,
    *,
    store: FeatureStore,
    engine: str = "auto",
    device: str = "auto",
) -> Found:
    """Predict what can be read of a task."""
    made = extract(task, encoders, store=store, pooling=model.pooling, engine=engine, device=device)
    kept, unreadable = made.readable(task)
    rows = made.rows.rows(kept)
    features = [made.features[encoder.uri].take(rows) for encoder in encoders]
    _check_fits(model, features)
    readable = task.take(kept).with_problems(*unreadable)
    words = unfold(readable) if model.kind == "tagging" else None
    owners = words.sentences if words else None
    layers = [f.layer for f in features]
    values = model.predict(layers, owners) if len(rows) else _nothing(model)
    return Found(readable, words.task if words else readable, owners, values)


def called(found: Found, classes: Sequence[str]) -> tuple[tuple[Called, ...], ...]:
    """Return the spans that a tagging model found in each example; () for other models."""
    if found.owners is None:
        return ()
    tags = decode(np.log(np.maximum(found.values, TINY)), found.owners, allowed(classes))
    starts = np.searchsorted(found.owners, np.arange(len(found.task) + 1))
    return tuple(
        _spans(text, tags[a:b], found.values[a:b], classes)
        for text, a, b in zip(_texts(found), starts[:-1], starts[1:], strict=True)
    )


def _texts(found: Found) -> list[Worded]:
    ((_, references),) = found.task.examples.inputs.items()
    return [worded(reference) for reference in references]


def _spans(
    text: Worded, tags: IntArray, values: FloatArray, classes: Sequence[str]
) -> tuple[Called, ...]:
    sure = values[np.arange(len(tags)), tags]
    begins = {start: k for k, (start, _) in enumerate(text.words)}
    ends = {end: k + 1 for k, (_, end) in enumerate(text.words)}
    return tuple(
        Called(
            *span,
            text.text[span.start : span.end],
            float(sure[begins[span.start] : ends[span.end]].mean()),
        )
        for span in to_spans(text.words, [classes[tag] for tag in tags])
    )


def predict_inputs(
    model: TransferModel,
    encoders: Sequence[Source],
    inputs: Any,
    *,
    store: FeatureStore,
    engine: str = "auto",
    device: str = "auto",
    encoding: str | None = None,
) -> Iterator[Predictions]:
    """Predict a folder, a table, or files, arrays, pictures or texts, a thousand at a time.

    A string in a list is what the encoders' loader takes it for: the path of a picture, or a
    text. One that stands alone is a path where it names something. Of inputs none of which can be
    read the problems are yielded: a stream goes on.
    """
    told: dict[str, Any] = {"store": store, "engine": engine, "device": device}
    path = _existing(inputs)
    if path is not None and holds_examples(path):
        task = open_task(path, kind=_kind(model), encoding=encoding)
        for i in range(0, len(task), CHUNK):
            rows = np.arange(i, min(i + CHUNK, len(task)))
            part = task.take(rows)
            # What is wrong with all of it is said once.
            part = part if i == 0 else replace(part, problems=())
            yield predict_task(model, encoders, part, **told)
        return
    several = isinstance(inputs, Iterable) and not isinstance(inputs, str | Path)
    listed = inputs if several else [inputs if path is None else path]
    modality = encoders[0].facts.modality
    references = references_of(modality, listed)
    named = zip(references, names_of(references), strict=True)
    yield from _predict_named(model, encoders, modality, named, told, encoding)


def predict_lines(
    model: TransferModel,
    encoders: Sequence[Source],
    lines: Iterable[str],
    *,
    store: FeatureStore,
    engine: str = "auto",
    device: str = "auto",
) -> Iterator[Predictions]:
    """Predict what lines of standard input stand for, a thousand at a time; see `Loader.of_line`.

    Lines without anything are passed over. Of tagging every line is one text as it stands.
    """
    told: dict[str, Any] = {"store": store, "engine": engine, "device": device}
    modality = encoders[0].facts.modality
    loader = LOADERS[modality]
    read = loader.as_written if model.kind == "tagging" else loader.of_line
    asked = (
        (read(line.rstrip("\r\n")), number)
        for number, line in enumerate(lines, start=1)
        if line.strip()
    )
    named = (
        (one, readable_name(str(one)) if isinstance(one, Path) else f"line {number}")
        for one, number in asked
    )
    yield from _predict_named(model, encoders, modality, named, told)


def _predict_named(
    model: TransferModel,
    encoders: Sequence[Source],
    modality: Modality,
    named: Iterable[tuple[Any, str]],
    told: dict[str, Any],
    encoding: str | None = None,
) -> Iterator[Predictions]:
    """Predict references with their names, a thousand at a time."""
    waiting = iter(named)
    while part := list(islice(waiting, CHUNK)):
        names = tuple(name for _, name in part)
        references = [reference for reference, _ in part]
        opened = LOADERS[modality].opened(references, names, encoding)
        rows = Rows(
            name="what was given",
            names=names,
            inputs={modality: opened.inputs},
            modalities={modality: modality},
            labels=[None] * len(part),
            problems=opened.problems,
            read_as=opened.read_as,
        )
        try:
            task = build_task(rows, Asked(kind=_kind(model)))
        except DataError as error:
            problem = Problem("unreadable", names, str(error), left_out=True)
            yield Predictions((), _nothing(model), model.classes, model.kind, (problem,))
        else:
            yield predict_task(model, encoders, task, **told)


def _kind(model: TransferModel) -> Kind | None:
    """Return the kind that a task without targets needs to be told."""
    return "tagging" if model.kind == "tagging" else None


def _existing(inputs: Any) -> Path | None:
    """Return the path that one string or path is, where there is something."""
    if not isinstance(inputs, str | Path):
        return None
    path = Path(inputs).expanduser()
    try:
        return path if path.exists() else None
    except (OSError, ValueError):  # too long, or with a NUL: a text
        return None


def _nothing(model: TransferModel) -> FloatArray:
    return np.empty(0 if model.kind == "regression" else (0, len(model.classes)))


def _check_fits(model: TransferModel, features: Sequence[Features]) -> None:
    """Check that the heads were learned on layers that their encoders have."""
    for member in model.members:
        own = features[member.source]
        sizes = {layer.name: layer.size for layer in own.space.layers}
        unknown = sorted(set(member.layers) - set(sizes))
        width = sum(sizes.get(name, 0) for name in member.layers)
        if unknown or width != len(member.scale.centre):
            raise SourceError(
                f"The heads don't belong to the encoder {own.uri}: they take "
                f"{len(member.scale.centre):,} numbers of {printable('+'.join(member.layers))}, "
                f"it gives {width:,}. The model was damaged or changed; fit again, or restore it."
            )
