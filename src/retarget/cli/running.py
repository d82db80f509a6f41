"""What is done with a run: `predict`, `evaluate`, `report`, `compare`, `export`."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast, get_args

import typer

from retarget.cli import options
from retarget.cli.output import console, say, say_json, shown_progress, warn
from retarget.cli.standard_input import standard_input
from retarget.core.errors import UsageError
from retarget.core.text import count
from retarget.core.types import ExportFormat

if TYPE_CHECKING:
    from retarget.reports.predictions import Prediction
    from retarget.run import Run
    from retarget.runs.predict import Predictions


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (predict, evaluate, report, compare, export):
        app.command()(command)


def predict(
    run: options.RunFolder,
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT",
            help="Files, folders or tables; - for stdin, a file's path or a text a line.",
        ),
    ],
    format: Annotated[str, typer.Option("--format", help="jsonl or csv.")] = "jsonl",
    top: Annotated[int, typer.Option("--top", help="How many classes to name.", min=1)] = 3,
    encoding: options.Encoding = None,
    engine: options.Engine = None,
    device: options.Device = None,
    json: options.AsJson = False,
) -> None:
    """Predict new inputs: one line each, as they are done."""
    from retarget import api
    from retarget.reports.predictions import csv_rows, prediction_records

    if format not in ("jsonl", "csv"):
        raise UsageError(f"--format {format!r}: choose jsonl or csv.")
    opened = api.load_run(run)
    parts = _predicted(opened, inputs, encoding, engine=engine or "auto", device=device or "auto")
    documents: list[Prediction] = []
    predicted = failed = 0
    for number, part in enumerate(parts):
        records = prediction_records(part, top)
        predicted += len(part.names)
        failed += sum(len(p.where) for p in part.problems if p.left_out)
        for problem in part.problems:
            if problem.kind == "encoding":
                warn(problem.what)
        if json:
            documents += records
        elif format == "csv":
            sys.stdout.write(csv_rows(records, opened.model.kind, top, header=number == 0))
        else:
            for record in records:
                say_json(record)
        sys.stdout.flush()
    if json:
        from retarget.cli.documents import PredictedInputs

        say_json(PredictedInputs(run, tuple(documents)))
    if failed:
        warn(f"{count(failed, 'input')} could not be read; see what is said of each.")
    if failed and not predicted:
        raise typer.Exit(2)


def evaluate(
    run: options.RunFolder,
    data: options.Data,
    kind: options.KindOf = None,
    column: options.Columns = None,
    domains: options.Domains = None,
    strict: options.Strict = None,
    follow_links: options.Links = None,
    encoding: options.Encoding = None,
    engine: options.Engine = None,
    device: options.Device = None,
    json: options.AsJson = False,
) -> None:
    """Judge a run's model on labelled data it has not seen."""
    from retarget import api

    told = options.reading_options(kind, column, domains, strict, follow_links, encoding)
    with shown_progress():
        found = api.evaluate(run, data, engine=engine or "auto", device=device or "auto", **told)
    if json:
        say_json(found)
        return
    from retarget.reports.tables import show_evaluation

    show_evaluation(found, run, console())


def report(
    run: options.RunFolder,
    out: Annotated[
        str | None, typer.Option("--out", help="File or folder; in the run if not said.")
    ] = None,
    json: options.AsJson = False,
) -> None:
    """Draw the report of a run."""
    from retarget import api

    written = api.load_run(run).report(out)
    if json:
        from retarget.cli.documents import WrittenReport

        say_json(WrittenReport(str(written)))
    else:
        say(f"Report: {written}")


def compare(
    runs: Annotated[
        list[str],
        typer.Argument(metavar="RUN", help="Run directories; the first is the base."),
    ],
    json: options.AsJson = False,
) -> None:
    """Compare runs on the examples that judged all of them."""
    from retarget import api

    found = api.compare(runs)
    if json:
        say_json(found)
        return
    from retarget.reports.tables import show_comparison

    show_comparison(found, console())


def export(
    run: options.RunFolder,
    format: Annotated[str, typer.Option("--format", help="onnx or huggingface.")] = "onnx",
    out: Annotated[
        str | None, typer.Option("--out", help="Folder; in the run if not said.")
    ] = None,
    json: options.AsJson = False,
) -> None:
    """Write the model as ONNX or as a Hugging Face folder, checked."""
    from retarget import api

    if format not in get_args(ExportFormat):
        raise UsageError(f"--format {format!r}: choose onnx or huggingface.")
    made = api.load_run(run).export(out, cast(ExportFormat, format))
    if json:
        from retarget.cli.documents import ExportedModel

        say_json(ExportedModel(str(made.folder), made.difference))
        return
    say(f"Exported to {made.folder}: {', '.join(made.files)}.")
    largest = f"{made.difference:.1e} (at most 1e-4 is accepted)"
    say(f"Largest difference from the model's predictions: {largest}, on {made.compared}.")
    for note in made.notes:
        say(note)
    say(f"Next: {made.usage}")


def _predicted(
    run: "Run", inputs: list[str], encoding: str | None, **how: str
) -> "Iterator[Predictions]":
    """Yield predictions of folders and tables one by one, files together, and standard input."""
    from retarget.tasks.modalities import LOADERS
    from retarget.tasks.open import holds_examples

    files: list[Path] = []
    for name in inputs:
        if name == "-":
            inline = any(LOADERS[s.facts.modality].inline for s in run.encoders)
            yield from run.stream_lines(standard_input(encoding, inline), **how)
        elif holds_examples(Path(name)):
            yield from run.stream(Path(name), encoding=encoding, **how)
        else:
            files.append(Path(name))
    if files:
        yield from run.stream(files, encoding=encoding, **how)
