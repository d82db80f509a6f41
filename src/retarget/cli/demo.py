"""`retarget demo`: a fit on data that needs no download, of pictures or of text."""

from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

import typer

from retarget.cli import options
from retarget.cli.output import say, say_json, shown_progress
from retarget.core.errors import UsageError
from retarget.core.processes import is_main

TEXTS = {
    "sentiment": "What 160 short reviews say: positive or negative.",
    "entities": "Persons, places and organisations in 60 sentences.",
}
TEXT_SOURCE = "bundled:minilm"
# A CRF of our own on every layer takes minutes; the one that is a denominator takes seconds.
SWIFT: dict[str, dict[str, Any]] = {
    "entities": {"methods": ["probe"], "baselines": ["majority", "crf"]},
}


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(demo)


def demo(
    what: Annotated[str, typer.Argument(metavar="WHAT", help="pictures or text.")] = "pictures",
    out: Annotated[
        str | None,
        typer.Option("--out", help="Run directory to write, of text a folder of two."),
    ] = None,
    json: options.AsJson = False,
) -> None:
    """Fit on drawings or on texts, without a download."""
    if what not in ("pictures", "text"):
        raise UsageError(f"There is no demo {what!r}. Choose pictures or text.")
    if what == "text":
        _show_texts(Path(out or "retarget-demo-text"), json)
        return
    from retarget.cli.fitting import fit_and_show
    from retarget.core.paths import cache_dir
    from retarget.tasks.openmoji import draw_openmoji

    with shown_progress():
        drawings = draw_openmoji(cache_dir() / "openmoji")
    fit_and_show({"data": str(drawings), "out": out or "retarget-demo", "force": True}, json)


def _show_texts(out: Path, as_json: bool) -> None:
    """Fit on reviews and on sentences, in folders of `out` named after the two."""
    from retarget.cli.fitting import fit_told, show

    runs = []
    for name, data in _texts():
        if not as_json and is_main():
            say(TEXTS[name])
        told = {"data": str(data), "sources": [TEXT_SOURCE], "out": str(out / name), "force": True}
        runs.append(fit_told({**told, **SWIFT.get(name, {})}))
        if not as_json and is_main():
            show(runs[-1])
    if as_json and is_main():
        from retarget.cli.documents import FittedTexts, fitted

        say_json(FittedTexts(tuple(map(fitted, runs))))


def _texts() -> Iterator[tuple[str, Path]]:
    """Give the name and the file of each set of texts; written by this package's authors."""
    folder = Path(str(files("retarget"))) / "demo"
    yield "sentiment", folder / "sentiment.csv"
    yield "entities", folder / "entities.jsonl"
