"""`report.html`: one self-contained page, readable anywhere, drawn from the record alone."""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup, escape

from retarget.core.paths import written_whole
from retarget.core.text import count, printable
from retarget.reports import (
    carrying,
    confusion,
    denominators,
    drift,
    feature_map,
    marked,
    methods,
    nouns,
    numbers,
    parts,
    pictures,
    plots,
    problems,
    reproduce,
    robust,
    trainings,
    trials,
)
from retarget.runs.schema import Mistake, RunRecord

SHOWN_ROWS = 20
MOST_ROWS = 600
SHOWN_MISTAKES = 24
SHOWN_PAIRS = 30


@dataclass(frozen=True)
class Banner:
    """How a verdict looks: its colours by `css`, and the same in words and in a sign."""

    css: str
    sign: str
    words: str


BANNERS = {
    "helps": Banner("good", "✓", "Transfer helps"),
    "cannot be told apart": Banner("unsure", "≈", "Can't be told apart"),
    "hurts": Banner("bad", "✗", "Transfer hurts"),
}


@dataclass(frozen=True)
class ShownMistake:
    """A mistake, the `data:` address of its picture, where it has one, and its text, marked."""

    mistake: Mistake
    address: Markup | None
    text: Markup


def render(record: RunRecord, run_folder: Path | None = None) -> str:
    """Return the page. `run_folder` is where the record's pictures lie; without it, none show."""
    shown, rest = trials.shown_first(record, SHOWN_ROWS)
    method_rows = methods.rows(record)
    return _template().render(
        record=record,
        banner=BANNERS[record.verdict.word],
        metric=numbers.metric_name(record.test.metric),
        shown_trials=shown,
        rest_trials=rest[: MOST_ROWS - SHOWN_ROWS],
        method_rows=method_rows,
        stressed=robust.stressed(method_rows),
        trained=trainings.shown(record),
        series=trials.by_layer(record),
        tables=parts.tables(record.test, record.task.kind),
        marks=feature_map.marks(record.map, record.task.kind),
        words=carrying.by_class(record),
        mistakes=_mistakes(record, run_folder),
        problem_groups=problems.grouped(record.task.problems),
        one=nouns.example(record.task),
        unit=nouns.example(record.task) + "s",
        row=nouns.row(record.task),
        command=Markup(escape(reproduce.command(record.config))),
        yaml=Markup(escape(reproduce.as_yaml(record.config))),
    )


def write(record: RunRecord, folder: Path | None, destination: Path) -> Path:
    """Write the page to `destination`, whole or not at all, and return where it is.

    `destination` may be a folder that exists: then the page is its `report.html`. Raises `OSError`.
    """
    page = render(record, folder)
    if destination.is_dir():
        destination = destination / "report.html"
    with written_whole(destination) as part:
        part.write_text(page, encoding="utf-8", errors="backslashreplace")
    return destination


def _mistakes(record: RunRecord, folder: Path | None) -> tuple[ShownMistake, ...]:
    shown = []
    for mistake in record.mistakes[:SHOWN_MISTAKES]:
        address = pictures.embedded(folder, mistake.picture) if folder and mistake.picture else None
        text = marked.marked(mistake.text, mistake.spans)
        shown.append(ShownMistake(mistake, Markup(address) if address else None, text))
    return tuple(shown)


def breakable(text: str) -> Markup:
    """Return `text` with places where a line may break after `:`, `/`, `.` and `_`."""
    pieces = re.split(r"(?<=[:/._])", printable(text))
    return Markup("<wbr>").join(pieces)


def _clean(value: Any) -> Any:
    """Pass markup and numbers, show control characters of all other text as escapes."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return printable(value, 2000)
    return value


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("retarget.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_clean,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        breakable=breakable,
        capital=numbers.capital,
        ends=numbers.ends,
        estimate=numbers.estimate,
        gain=numbers.gain,
        kept=numbers.kept,
        layers=trials.layer_names,
        megabytes=numbers.megabytes,
        metric=numbers.metric_name,
        middle=numbers.middle,
        operations=numbers.operations,
        score=numbers.score,
        seconds=numbers.seconds,
        share=numbers.share,
    )
    environment.globals.update(
        SHOWN_PAIRS=SHOWN_PAIRS,
        carrying=carrying,
        confusion=confusion,
        count=count,
        denominator=denominators.long_name,
        drift=drift,
        feature_map=feature_map,
        is_chosen=trials.is_chosen,
        marked=marked,
        methods=methods,
        nouns=nouns,
        part_of=numbers.part_of,
        plots=plots,
        rate=numbers.rate,
        robust=robust,
        trainings=trainings,
        with_error=numbers.with_error,
    )
    css = environment.loader.get_source(environment, "report.css")[0] if environment.loader else ""
    environment.globals["css"] = Markup(css)
    return environment.get_template("report.html.j2")
