"""`Run`: a run directory in the hand: its record, its model, its report."""

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from retarget.core.errors import DataError
from retarget.core.text import count
from retarget.core.types import BoolArray, ExportFormat
from retarget.evaluation.evaluate import evaluate
from retarget.evaluation.results import Evaluation
from retarget.features.plan import check_means
from retarget.features.store import FeatureStore
from retarget.methods.model import TransferModel, load_model
from retarget.runs.breakdown import known_entities, sizes_of
from retarget.runs.directory import MODEL, REPORT, encoder_uris, read_record
from retarget.runs.predict import (
    Found,
    Predictions,
    predict_inputs,
    predict_lines,
    predict_readable,
)
from retarget.runs.schema import RunRecord
from retarget.sources.registry import resolve
from retarget.sources.source import Source
from retarget.tasks.align import align_targets
from retarget.tasks.encodings import codec_of
from retarget.tasks.open import open_task
from retarget.tasks.task import Problem, Task

if TYPE_CHECKING:
    from retarget.runs.exported import Exported


class Run:
    """What a fit left: opens a run directory, reads nothing until it is asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def record(self) -> RunRecord:
        """Everything the run found. Raises `StoreError` for a damaged directory."""
        return read_record(self.folder)

    @cached_property
    def model(self) -> TransferModel:
        """The heads. Raises `SourceError` for a damaged directory."""
        return load_model(self.folder / MODEL)

    @cached_property
    def encoders(self) -> tuple[Source, ...]:
        """The encoders that belong to the heads, from the run directory itself."""
        return tuple(map(resolve, encoder_uris(self.folder / MODEL, self.model)))

    def predict(
        self,
        inputs: Any,
        *,
        engine: str = "auto",
        device: str = "auto",
        encoding: str | None = None,
    ) -> Predictions:
        """Predict files, folders, tables, pictures, arrays or texts.

        Args:
            inputs: a folder, a table, a file, or a sequence of paths, PIL images or arrays, or
                of texts or pairs of texts: where a run is on texts, a string is one.
            engine: how the encoder is run.
            device: where.
            encoding: of files of text; told by their bytes if not said.

        Returns:
            Predictions of what could be read, with the problems of what could not, of which
            it warns: outputs are fewer than inputs then.

        Raises:
            DataError: nothing to predict. UsageError: an engine or a device that is not here.
        """
        parts = list(self.stream(inputs, engine=engine, device=device, encoding=encoding))
        if not parts:
            raise DataError("There is nothing to predict: no inputs were given.")
        if not any(part.names for part in parts):
            raise DataError(f"Nothing could be predicted. {parts[0].problems[-1].what}")
        problems = tuple(problem for part in parts for problem in part.problems)
        lost = [problem.what for problem in problems if problem.left_out]
        if lost:
            warnings.warn(
                f"Some inputs have no output: {lost[0]} See .names and .problems.", stacklevel=2
            )
        return Predictions(
            names=tuple(name for part in parts for name in part.names),
            values=np.concatenate([part.values for part in parts]),
            classes=self.model.classes,
            kind=self.model.kind,
            problems=problems,
            spans=tuple(spans for part in parts for spans in part.spans),
            texts=tuple(text for part in parts for text in part.texts),
        )

    def stream(
        self,
        inputs: Any,
        *,
        engine: str = "auto",
        device: str = "auto",
        encoding: str | None = None,
    ) -> Iterator[Predictions]:
        """Predict as `predict` does, a thousand inputs at a time."""
        check_means(engine, device)
        return predict_inputs(
            self.model,
            self.encoders,
            inputs,
            store=FeatureStore(),
            engine=engine,
            device=device,
            encoding=None if encoding is None else codec_of(encoding),
        )

    def stream_lines(
        self, lines: Iterable[str], *, engine: str = "auto", device: str = "auto"
    ) -> Iterator[Predictions]:
        """Predict lines, a thousand at a time: each the path of a picture, or a text.

        A tab between two texts makes them a pair; a JSON object is its `text` and `text_b`. Lines
        without anything are passed over.
        """
        check_means(engine, device)
        return predict_lines(
            self.model, self.encoders, lines, store=FeatureStore(), engine=engine, device=device
        )

    def evaluate(
        self, data: Any, *, engine: str = "auto", device: str = "auto", **options: Any
    ) -> Evaluation:
        """Judge the model on labelled data it has not seen: another hospital, another month.

        Args:
            data: a `Task`, or whatever `open_task` takes, with targets by the same names.
            engine: how the encoder is run.
            device: where.
            options: of `open_task`.

        Examples that the model learned from can't judge it: they are left out, and counted in the
        evaluation's notes, as are classes that it does not know and files that can't be read.
        Of tagging `per_novelty` is the recall of entities written as some that the model learned
        from, and of others; () for runs from before that was kept.

        Raises:
            DataError: no labelled example that it has not learned from, of a class that it knows.
            UsageError: an engine or a device that is not here.
        """
        check_means(engine, device)
        options.setdefault("kind", self.model.kind)
        task = data if isinstance(data, Task) else open_task(data, **options)
        model = self.model
        known = align_targets(task, model.kind, self.record.task.classes)
        if not len(known):
            raise DataError(
                f"{task.name} has {count(len(task), 'example')}, none labelled with a class "
                f"that the model knows ({', '.join(self.record.task.classes[:10])})."
            )
        unseen = self._unseen(known)
        judged = predict_readable(
            model, self.encoders, unseen, store=FeatureStore(), engine=engine, device=device
        )
        if not len(judged.task):
            raise DataError(f"None of the {len(unseen):,} labelled examples can be read.")
        left_out = tuple(
            f"{count(len(p.where), 'example')} left out: {p.what}"
            for p in judged.task.problems
            if p.left_out
        )
        return replace(self._evaluation(judged), notes=left_out)

    def _evaluation(self, judged: Found) -> Evaluation:
        kept = judged.rows.examples
        owners = np.arange(len(judged.task)) if judged.owners is None else judged.owners
        return evaluate(
            kind=self.model.kind,
            classes=self.model.classes,
            targets=kept.targets,
            predictions=judged.values,
            metric=self.record.test.metric,
            groups=kept.groups,
            domains=kept.domains,
            weights=kept.weights,
            sequences=judged.owners,
            seen=self._seen(judged),
            sizes=sizes_of(judged.task, owners),
        )

    def _seen(self, judged: Found) -> BoolArray | None:
        """Return which true entities the model learned from, `None` where that was not kept."""
        learned = self.record.protocol.learned_entities
        if judged.owners is None or learned is None:
            return None
        return known_entities(judged, learned)

    def _unseen(self, task: Task) -> Task:
        """Leave out what the model learned from."""
        learned = np.isin(task.examples.ids, self.record.protocol.learned_ids)
        if learned.all():
            raise DataError(
                f"The model learned from all {len(task):,} examples of {task.name}: they can't "
                f"judge it. What it is worth is in {self.folder / REPORT}; evaluate it on others."
            )
        if not learned.any():
            return task
        names = tuple(task.examples.names[i] for i in np.flatnonzero(learned))
        problem = Problem("leak", names, "the model learned from them.", left_out=True)
        return task.take(np.flatnonzero(~learned)).with_problems(problem)

    def report(self, destination: str | Path | None = None) -> Path:
        """Write the report: into the run directory, or to a file or folder named. Returns it."""
        from retarget.reports.html import write

        target = Path(destination) if destination is not None else self.folder / REPORT
        if destination is not None and target.suffix.lower() not in (".html", ".htm"):
            target = target / REPORT
        return write(self.record, self.folder, target)

    def export(
        self, destination: str | Path | None = None, format: ExportFormat = "onnx"
    ) -> "Exported":
        """Write encoder and heads as one ONNX graph with what is needed to run it, or as a folder
        that Hugging Face's pipelines open.

        Returns what was written and how closely it agrees. Raises `StoreError` where it doesn't,
        `UsageError` where the format can't hold the model.
        """
        from retarget.runs.export import export_model

        usual = self.folder / ("export" if format == "onnx" else format)
        target = Path(destination) if destination is not None else usual
        return export_model(self.model, self.encoders, target, format)

    def __repr__(self) -> str:
        return f"<Run {self.folder}: {self.record.verdict.sentence}>"

    def _repr_html_(self) -> str:
        from retarget.reports.numbers import estimate

        record = self.record
        rows = "".join(
            f"<tr><td>{escape(name)}</td><td>{escape(estimate(measured))}</td></tr>"
            for name, measured in record.test.metrics.items()
        )
        return (
            f"<p><b>{escape(record.verdict.sentence)}</b></p>"
            f"<table><thead><tr><th>metric</th><th>value (95% interval)</th></tr></thead>"
            f"<tbody>{rows}</tbody></table><p>{escape(str(self.folder / REPORT))}</p>"
        )
