"""What the terminal shows of a run. Names are shown as they are, never as markup."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from retarget.core.text import count, printable
from retarget.reports import methods, nouns, numbers, reproduce, trials
from retarget.reports.denominators import long_name, short_name
from retarget.reports.problems import grouped
from retarget.runs.schema import RunRecord, Trial

_STYLES = {
    "helps": ("✓", "bold green"),
    "cannot be told apart": ("≈", "bold yellow"),
    "hurts": ("✗", "bold red"),
}
MOST_TYPES = 12
_ASCII_SIGNS = {"✓": "+", "≈": "~", "✗": "x", "▸": ">"}


def show_run(record: RunRecord, console: Console, folder: Path | None = None) -> None:
    """Print a run in short: the table, the scores, the verdict, problems, and what to do next.

    `folder` is the run directory; without it the configured one is named.
    """
    rows = trials.with_trainings(record)
    console.print(_trained_table(record, rows, console) if rows else _table(record, console))
    console.print()
    if len(record.methods) > 1:
        console.print(_methods_table(record))
        console.print()
    if record.task.kind == "tagging" and record.test.per_class:
        console.print(_types_table(record))
        console.print()
    for line in (_chosen(record), *_scores(record), *_problems(record), _verdict(record, console)):
        console.print(line, soft_wrap=True)
    place = str(folder) if folder else record.config.out
    if place:
        console.print()
        report = str(Path(place) / "report.html")
        console.print(_said("Report: ", report), soft_wrap=True)
        console.print(_said("Next:   ", next_command(record, place)), soft_wrap=True)


def next_command(record: RunRecord, folder: str) -> str:
    """Return the command that is most useful after a run with this verdict."""
    if record.verdict.word == "helps":
        words = ["retarget", "predict", folder, "INPUT…"]
        return " ".join([*map(shlex.quote, words[:3]), words[3]])
    if record.verdict.word == "hurts":
        return "retarget sources"
    again = reproduce.reading(record.config)
    return f"label more, then {shlex.join([*again, '--split-from', folder])}"


def _table(record: RunRecord, console: Console) -> Table:
    # The source takes what room there is: everything else stays whole, on a line of its own.
    table = _empty("", "Source")
    table.add_column("Layer")
    table.add_column("Method", no_wrap=True)
    table.add_column(_metric(record), justify="right", no_wrap=True)
    table.add_column("Per\nexample", justify="right", no_wrap=True)
    for trial in trials.best_by_source(record):
        chosen = trial.source == record.chosen.source
        table.add_row(
            Text(_sign("▸", console) if chosen else " "),
            _name(trial.source),
            _name(_layers(trial)),
            _name(trial.method),
            Text(numbers.score(trial.score)),
            Text(numbers.seconds(trial.seconds_per_example)),
            style="bold" if chosen else "",
        )
    for name, score in _baselines(record):
        table.add_row("", name, Text("baseline"), "", score, "", style="dim")
    return _captioned(table)


def _trained_table(record: RunRecord, rows: Sequence[Trial], console: Console) -> Table:
    """Return what was trained beside the best on frozen features: what it took, what it gave."""
    table = _empty("  Source", "Method")
    for column in (_metric(record, ""), "Trained", "Time"):
        table.add_column(column, justify="right", no_wrap=True)
    for trial in rows:
        mark = _sign("▸", console) if trial.chosen else " "
        cost = trial.training.cost if trial.training else None
        table.add_row(
            _marked(mark, _name(trial.source)),
            _name(_method(trial)),
            Text(numbers.score(trial.score)),
            Text(numbers.part_of(cost.trainable, cost.parameters) if cost else ""),
            Text(numbers.seconds(trial.seconds) if trial.seconds > 0 else ""),
            style="bold" if trial.chosen else "",
        )
    for name, score in _baselines(record):
        table.add_row(_marked(" ", name), Text("baseline"), score, "", "", style="dim")
    return _captioned(table, "trials: on choosing examples; baselines: on judging examples")


def _marked(mark: str, name: Text) -> Table:
    """Return a name that stays beside its mark on all of its lines."""
    cell = Table.grid(padding=(0, 1, 0, 0))
    cell.add_row(Text(mark), name)
    return cell


def _method(trial: Trial) -> str:
    named = trial.training or trial.method == methods.MEAN
    return trial.method if named else f"{trial.method}, {_layers(trial)}"


def _methods_table(record: RunRecord) -> Table:
    """Return every kind of method as it did on judging examples."""
    rows = methods.rows(record)
    stressed = any(row.record.robustness for row in rows)
    table = _empty("Method")
    table.add_column(_metric(record, ""), no_wrap=True)
    table.add_column(Text(f"Gain over\n{printable(rows[0].name, 40)}"), no_wrap=True)
    if stressed:
        table.add_column("Kept under\ncorruption", no_wrap=True)
    for row in rows:
        one = row.record
        cells = [numbers.estimate(one.score), numbers.gain(one.gain) if one.gain else ""]
        if stressed:
            cells.append(numbers.kept(one.robustness.kept if one.robustness else None))
        table.add_row(_name(row.name), *map(Text, cells), style="bold" if row.chosen else "")
    mixed = "; at 75%: 75% trained weights, the rest the source's"
    shown = any(not row.whole for row in rows)
    return _captioned(table, "on judging examples" + mixed * shown)


def _types_table(record: RunRecord) -> Table:
    """Return precision, recall and F1 of the commonest types, and recall of seen entities."""
    table = _empty("Entities")
    for column in ("Number", "F1", "Precision", "Recall"):
        table.add_column(column, justify="right", no_wrap=True)
    types = sorted(record.test.per_class, key=lambda part: -part.examples)
    for part in (*types[:MOST_TYPES], *record.test.per_novelty):
        known = [part.metrics.get(name) for name in ("f1", "precision", "recall")]
        middles = [numbers.middle(one) if one else "" for one in known]
        if known[0]:
            middles[0] = numbers.estimate(known[0])
        elif known[2]:
            middles[2] = numbers.estimate(known[2])
        table.add_row(_name(part.name), f"{part.examples:,}", *middles)
    hidden = len(types) - MOST_TYPES
    more = f"; {hidden:,} more types are in the report" if hidden > 0 else ""
    told = (
        f"on judging examples, of {nouns.how_many(record.task)} in all; seen: among those learned"
    )
    return _captioned(table, told + more)


def _empty(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for column in columns:
        table.add_column(column)
    return table


def _metric(record: RunRecord, sign: str = "*") -> str:
    metric = numbers.capital(printable(numbers.metric_name(record.test.metric)))
    return metric.replace(" ", "\n") + sign


def _captioned(
    table: Table,
    caption: str = "* of trials: on choosing examples; of baselines: on judging examples",
) -> Table:
    table.caption = caption
    table.caption_justify = "left"
    return table


def _baselines(record: RunRecord) -> list[tuple[Text, Text]]:
    return [
        (_name(short_name(name)), Text(numbers.score(gain.denominator_score)))
        for name, gain in record.gain.items()
    ]


def _layers(trial: Trial) -> str:
    several = len(trial.layers) > 1
    return count(len(trial.layers), "layer") if several else trials.layer_names(trial.layers)


def _chosen(record: RunRecord) -> Text:
    members = record.chosen.members
    what = record.chosen.source
    if len(members) == 1:
        what += f", {members[0].method}"
        if not members[0].training:
            what += f" on {trials.layer_names(members[0].layers)}"
    elif members:
        what += f", mean of {count(len(members), 'model')}"
    return _said("Chosen: ", what).append(f" – {printable(record.chosen.why, 500)}", style="dim")


def _scores(record: RunRecord) -> list[Text]:
    metric = numbers.metric_name(record.test.metric)
    lines = []
    measured = record.test.metrics.get(record.test.metric)
    if measured is not None:
        line = _said(f"{numbers.capital(metric)}: ", numbers.estimate(measured))
        noun = nouns.example(record.task)
        chose_nothing = f" on {count(record.test.examples, noun)} that chose nothing"
        lines.append(line.append(chose_nothing, style="dim"))
    gain = record.gain.get(record.verdict.against)
    if gain is not None:
        line = _said("Transfer gain: ", numbers.gain(gain))
        rival = long_name(record.verdict.against, record.test.metric)
        lines.append(line.append(f" over {printable(rival)}", style="dim"))
    return lines


def _problems(record: RunRecord) -> list[Text]:
    groups = grouped(record.task.problems)
    leaks = record.protocol.leaks
    told = [Text("Leaks: ", style="yellow").append(printable(leaks, 500))] if leaks else []
    if not groups:
        return told
    said = ", ".join(f"{group.title.lower()} ({group.examples:,})" for group in groups)
    left_out = f"; {count(record.task.quarantined, nouns.example(record.task))} left out"
    return [*told, Text("Data problems: ", style="yellow").append(printable(said + left_out, 500))]


def _verdict(record: RunRecord, console: Console) -> Text:
    sign, style = _STYLES[record.verdict.word]
    return Text(f"{_sign(sign, console)} {printable(record.verdict.sentence, 500)}", style=style)


def _sign(sign: str, console: Console) -> str:
    return sign if console.encoding.lower().startswith("utf") else _ASCII_SIGNS[sign]


def _said(before: str, words: str) -> Text:
    return Text(printable(before), style="dim").append(printable(words, 1000), style="not dim")


def _name(name: str) -> Text:
    return Text(printable(name, 60), overflow="fold")
