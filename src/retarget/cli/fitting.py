"""`retarget fit`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from retarget.cli import options
from retarget.cli.output import console, say_json, shown_progress
from retarget.core.errors import UsageError
from retarget.core.processes import is_main

if TYPE_CHECKING:
    from retarget.run import Run

Listed = list[str] | None


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(fit)


def fit(
    data: Annotated[str | None, typer.Argument(metavar="DATA", help="Folder or table.")] = None,
    config: Annotated[
        str | None, typer.Option("--config", help="YAML with any of these options.")
    ] = None,
    source: Annotated[
        Listed, typer.Option("--source", help="Pretrained model, by URI; repeatable.")
    ] = None,
    layer: Annotated[
        Listed, typer.Option("--layer", help="Layer by name, 'last', 'all', or a+b; repeatable.")
    ] = None,
    method: Annotated[
        Listed,
        typer.Option(
            "--method",
            help="probe, prototype, knn, crf; contrastive, finetune, lora, dora, ia3, bitfit, "
            "norms, scratch, small-cnn; repeatable, or with commas.",
        ),
    ] = None,
    baseline: Annotated[
        Listed,
        typer.Option(
            "--baseline",
            help="majority, pixels, tfidf, crf, random, scratch, small-cnn; repeatable; 'none' for "
            "none.",
        ),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option("--metric", help="Headline metric, such as balanced_accuracy."),
    ] = None,
    pooling: Annotated[
        str | None,
        typer.Option("--pooling", help="mean, cls, mean+max, max, last or first+last."),
    ] = None,
    class_weight: Annotated[
        str | None, typer.Option("--class-weight", help="'balanced' weighs classes equally.")
    ] = None,
    out: Annotated[
        str | None,
        typer.Option("--out", help="Run directory to write; a new retarget-run if not said."),
    ] = None,
    force: Annotated[bool | None, typer.Option("--force", help="Replace a run there.")] = None,
    split_from: Annotated[
        str | None,
        typer.Option("--split-from", help="Run whose examples judge again, as they did."),
    ] = None,
    keep_leaks: Annotated[
        bool | None,
        typer.Option(
            "--keep-leaks",
            help="Learn from near-copies of test examples, and from their groups.",
        ),
    ] = None,
    folds: Annotated[
        int | None, typer.Option("--folds", help="Folds of cross-fitting, 2 to 20; 5 if not said.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", help="Decides all that is random; 0 if not said.")
    ] = None,
    kind: options.KindOf = None,
    column: options.Columns = None,
    domains: options.Domains = None,
    strict: options.Strict = None,
    follow_links: options.Links = None,
    encoding: options.Encoding = None,
    engine: options.Engine = None,
    device: options.Device = None,
    epochs: Annotated[
        int | None, typer.Option("--epochs", help="Of training, at most; by the data if not said.")
    ] = None,
    lr: Annotated[
        str | None, typer.Option("--lr", help="Learning rate of training, or 'auto' to find it.")
    ] = None,
    from_layer: Annotated[
        str | None,
        typer.Option("--from", help="First layer to fine-tune, how many of the last, or 'all'."),
    ] = None,
    time: Annotated[
        str | None, typer.Option("--time", help="For all training together: 90s, 5m, 1h.")
    ] = None,
    track: Annotated[
        str | None, typer.Option("--track", help="Log trainings: tensorboard or mlflow.")
    ] = None,
    robustness: Annotated[
        bool | None,
        typer.Option(help="Judge under corruption too; with training if not said."),
    ] = None,
    learning_curve: Annotated[
        bool | None, typer.Option(help="Measure what more labels would bring; done if not said.")
    ] = None,
    json: options.AsJson = False,
) -> None:
    """Find out what to transfer and how, prove it, and keep the model."""
    told: dict[str, Any] = {
        "data": data,
        "sources": source,
        "layers": layer,
        "methods": _parted(method),
        "baselines": [b for b in _parted(baseline) or [] if b != "none"] if baseline else None,
        "metric": metric,
        "pooling": pooling,
        "class_weight": class_weight,
        "out": out,
        "force": force,
        "split_from": split_from,
        "keep_leaks": keep_leaks,
        "folds": folds,
        "seed": seed,
        "engine": engine,
        "device": device,
        "learning_curve": learning_curve,
        "epochs": epochs,
        "lr": lr,
        "from_layer": from_layer,
        "time": time,
        "track": track,
        "robustness": robustness,
    }
    told |= options.reading_options(kind, column, domains, strict, follow_links, encoding)
    given = {name: value for name, value in told.items() if value is not None}
    fit_and_show({**(_read_config(Path(config)) if config else {}), **given}, json)


def _parted(told: Listed) -> Listed:
    """Return options that were given several times, or with commas, one by one."""
    return [name.strip() for one in told for name in one.split(",")] if told else None


def fit_and_show(told: dict[str, Any], as_json: bool) -> None:
    """Fit what is told, data included, and print the run; of several processes one prints."""
    run = fit_told(told)
    if not is_main():
        return
    if as_json:
        from retarget.cli.documents import fitted

        say_json(fitted(run))
    else:
        show(run)


def fit_told(told: dict[str, Any]) -> "Run":
    """Fit what is told, data included. Raises `UsageError` where that is missing."""
    from retarget import api

    told = dict(told)
    data = told.pop("data", None)
    if not data:
        raise UsageError("Name the data: retarget fit DATA, or data: in the configuration.")
    with shown_progress():
        return api.fit(data, **told)


def show(run: "Run") -> None:
    """Print what a run found."""
    from retarget.reports.terminal import show_run

    show_run(run.record, console(), run.folder)


def _read_config(path: Path) -> dict[str, Any]:
    import yaml

    try:
        told = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path} can't be read ({error.strerror}).") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not YAML: {error}") from error
    if not isinstance(told, dict) or not all(isinstance(name, str) for name in told):
        raise UsageError(f"{path} must hold options by name, such as seed: 1.")
    return told
