"""What the terminal shows of data, sources, evaluations and comparisons."""

import shlex
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from retarget.core.config import DataConfig
from retarget.core.text import count, printable
from retarget.evaluation.results import Evaluation, Part
from retarget.reports import numbers, reproduce
from retarget.reports.problems import grouped
from retarget.runs.compare import Comparison
from retarget.runs.inspection import InspectionRecord
from retarget.runs.schema import ProblemRecord
from retarget.runs.sources import SourceList, SourceRecord
from retarget.tasks.modalities import LOADERS

MOST_ROWS = 20


def show_inspection(record: InspectionRecord, read: DataConfig, console: Console) -> None:
    """Print how data was read, its counts, its problems and the protocol of a fit.

    `read` is how the data were asked to be read, for the command that fits on them.
    """
    task = record.task
    _say(console, f"{task.name}: {count(task.examples, 'example')}, {task.kind}")
    _say(console, f"Read as: {task.layout} ({task.why})")
    counts = [
        count(task.labelled, "labelled", "labelled"),
        count(task.unlabelled, "unlabelled", "unlabelled"),
        f"{task.quarantined:,} left out",
    ]
    if task.groups:
        counts.append(count(task.groups, "group"))
    if task.domains:
        counts.append(f"domains: {', '.join(task.domains[:8])}")
    _say(console, "; ".join(counts))
    if record.splits.keys() == {"not given"}:
        _say(console, "Splits: none given")
    else:
        _say(console, "Splits: " + ", ".join(f"{k} {n:,}" for k, n in record.splits.items()))
    for size in record.sizes:
        spread = f"{size.smallest:,.0f} to {size.largest:,.0f}, median {size.median:,.0f}"
        _say(console, f"{size.name}: {spread}")
    if task.class_counts:
        console.print(_counts(task.class_counts))
    _show_problems(task.problems, console)
    if record.protocol is None:
        _say(console, f"A fit is not possible: {record.cannot_fit}", "bold red")
        return
    _say(console, f"A fit would judge by {record.protocol.mode}: {record.protocol.why}", "bold")
    if record.protocol.leaks:
        _say(console, f"Leaks between training and test data: {record.protocol.leaks}", "yellow")
    _say(console, f"Next: {shlex.join(reproduce.reading(read))}")


def show_sources(found: SourceList, console: Console) -> None:
    """Print the sources that are here, and some that could be fetched."""
    records = [*found.here, *found.fetchable]
    for modality in dict.fromkeys(record.facts.modality for record in records):
        for title, some in (("Here", found.here), ("Can be fetched", found.fetchable)):
            own = [record for record in some if record.facts.modality == modality]
            if own:
                _show_some(f"{title}, for {LOADERS[modality].noun}s", own, console)
    if not found.here:
        _say(console, 'Nothing is here. Next: pip install "retarget[bundled]"')
    else:
        _say(console, f"Next: retarget fit DATA --source {found.here[0].uri}")


def _show_some(title: str, some: Sequence[SourceRecord], console: Console) -> None:
    table = _table(title, "Source", "Weights", "Trained on", "Licence")
    for record in some:
        table.add_row(*_source(record))
    # URIs are there to be copied: where there is room, the training data wrap instead.
    longest = max(len(record.uri) for record in some)
    for column in (*table.columns[:2], table.columns[3]):
        column.no_wrap = longest <= console.width - 38
    console.print(table)


def show_evaluation(found: Evaluation, run: str, console: Console) -> None:
    """Print all metrics with their intervals, and by domain, group, size and whether entities were
    seen before, where there are any."""
    table = _table(f"{run} on {count(found.examples, 'example')}", "Metric", "Value (95% interval)")
    for name, estimate in found.metrics.items():
        style = "bold" if name == found.metric else ""
        row = (numbers.capital(numbers.metric_name(name)), numbers.estimate(estimate))
        table.add_row(*map(_text, row), style=style)
    console.print(table)
    for note in found.notes:
        _say(console, note, "yellow")
    sorts = (("Domain", found.per_domain), ("Group", found.per_group), ("Size", found.per_size))
    for title, parts in sorts:
        if parts:
            console.print(_parts(title, parts, found.metric))
    if found.per_novelty:
        console.print(_parts("Entity", found.per_novelty, "recall", "Entities"))
        _say(console, "seen: written as an entity that the model learned from", "dim")
    _say(console, f"Next: retarget predict {shlex.quote(run)} INPUT…")


def show_comparison(found: Comparison, console: Console) -> None:
    """Print every run's score on the common examples, and its difference from the first."""
    metric = numbers.capital(numbers.metric_name(found.metric))
    title = f"{count(found.examples, 'example')} judged every run"
    table = _table(title, "Run", f"{metric}\n(95% interval)", "Gain over the first\n(95% interval)")
    for run in found.runs:
        difference = "–" if run.gain is None else numbers.gain(run.gain)
        name = _text(run.run).append("\n").append(printable(run.source), style="dim")
        table.add_row(name, *map(_text, (numbers.estimate(run.score), difference)))
    console.print(table)
    _say(console, "A gain whose interval holds zero may be chance.", "dim")


def _show_problems(problems: Sequence[ProblemRecord], console: Console) -> None:
    left = MOST_ROWS
    for group in grouped(problems):
        _say(console, f"{group.title} ({group.examples:,})", "yellow")
        for problem in group.problems[:left]:
            named = ", ".join(problem.where[:3])
            more = "" if problem.examples <= 3 else f" and {problem.examples - 3:,} more"
            _say(console, f"  {named}{more}: {problem.what}")
        left = max(0, left - len(group.problems))
    if len(problems) > MOST_ROWS:
        _say(console, f"  … {len(problems) - MOST_ROWS:,} more: see --json")


def _counts(class_counts: dict[str, int]) -> Table:
    table = _table("", "Class", "Labels")
    largest = sorted(class_counts.items(), key=lambda item: -item[1])
    for name, number in largest[:MOST_ROWS]:
        table.add_row(_text(name), f"{number:,}")
    if len(largest) > MOST_ROWS:
        table.add_row(f"… {len(largest) - MOST_ROWS} more", "")
    return table


def _parts(title: str, parts: Sequence[Part], metric: str, counted: str = "Examples") -> Table:
    name = numbers.capital(numbers.metric_name(metric))
    table = _table("", title, counted, name)
    for part in parts[:MOST_ROWS]:
        measured = part.metrics.get(metric)
        shown = numbers.estimate(measured) if measured else "–"
        table.add_row(_text(part.name), f"{part.examples:,}", shown)
    return table


def _source(record: SourceRecord) -> tuple[Text, ...]:
    facts = record.facts
    known = [] if facts.parameters is None else [numbers.quantity(facts.parameters)]
    known += [] if facts.megabytes is None else [f"{facts.megabytes:,.0f} MB"]
    row = (record.uri, " ".join(known) or "–", facts.trained_on or "–", facts.licence or "–")
    return tuple(map(_text, row))


def _table(title: str, *columns: str) -> Table:
    table = Table(
        title=Text(printable(title), style="bold"),
        title_justify="left",
        box=None,
        pad_edge=False,
        padding=(0, 2, 0, 0),
        header_style="dim",
    )
    for column in columns:
        table.add_column(column)
    return table


def _text(words: str) -> Text:
    return Text(printable(words), overflow="fold")


def _say(console: Console, words: str, style: str = "") -> None:
    console.print(Text(printable(words, 1_000), style=style), soft_wrap=True)
