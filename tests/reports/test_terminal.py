import io
import re
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
from rich.console import Console

from retarget.core.text import printable
from retarget.reports import numbers, trials
from retarget.reports.denominators import short_name
from retarget.reports.terminal import next_command, show_run
from retarget.runs.schema import RunRecord


def _shown(record: RunRecord, width: int = 200, terminal: bool = False, **given: Path) -> str:
    stream = io.StringIO()
    colours: Literal["standard"] | None = "standard" if terminal else None
    console = Console(file=stream, width=width, force_terminal=terminal, color_system=colours)
    show_run(record, console, **given)
    return stream.getvalue()


def test_run_is_shown_in_short(record: RunRecord) -> None:
    shown = _shown(record, folder=Path("runs/fruit"))
    for source in {trial.source for trial in record.trials}:
        assert len(re.findall(rf"(?m)^.  {re.escape(source)} ", shown)) == 1
    for name, gain in record.gain.items():
        assert re.search(
            re.escape(short_name(name)) + r".*baseline.*" + numbers.score(gain.denominator_score),
            shown,
        )
    assert numbers.estimate(record.test.metrics["accuracy"]) in shown
    assert numbers.gain(record.gain[record.verdict.against]) in shown
    assert record.verdict.sentence in shown
    assert "71 pictures left out" in shown
    assert "duplicates (64)" in shown
    assert "runs/fruit/report.html" in shown
    assert len(shown.splitlines()) < 25


def test_what_was_handed_over_is_shown_and_why(record: RunRecord) -> None:
    plain = record.trials[0].model_copy(
        update={"source": "a", "score": 0.987, "loss": 0.1, "chosen": False}
    )
    handed_over = plain.model_copy(update={"score": 0.981, "loss": 0.2, "chosen": True})
    chosen = record.chosen.model_copy(update={"source": "a", "members": (handed_over,)})
    shown = _shown(record.model_copy(update={"trials": (plain, handed_over), "chosen": chosen}))
    assert re.search(r"▸  a .* 0\.981 ", shown)
    assert "0.987" not in shown
    assert re.search(rf"Chosen: a, {handed_over.method} on .*{re.escape(chosen.why)}", shown)


def test_eighty_columns_cut_no_name(record: RunRecord) -> None:
    for trial in trials.best_by_source(record):
        line = rf"(?m)^.  {re.escape(trial.source)} .* {numbers.score(trial.score)} "
        assert re.search(line, _shown(record, width=80))


def test_chosen_source_is_marked(record: RunRecord) -> None:
    (line,) = [line for line in _shown(record).splitlines() if line.startswith("▸")]
    assert record.chosen.source in line


@pytest.mark.parametrize(
    ("kind", "command"),
    [
        ("classification", "retarget predict 'my run' INPUT…"),
        (
            "multilabel",
            "label more, then retarget fit 'fruit drawings/' --column label=diagnosis --domains "
            "--split-from 'my run'",
        ),
        ("regression", "retarget sources"),
    ],
)
def test_next_command_fits_the_verdict(
    records: dict[str, RunRecord], kind: str, command: str
) -> None:
    assert next_command(records[kind], "my run") == command
    assert command in _shown(records[kind], folder=Path("my run"))


def test_run_without_a_directory_names_none(record: RunRecord) -> None:
    config = record.config.model_copy(update={"out": None})
    assert "report.html" not in _shown(record.model_copy(update={"config": config}))


def test_bare_run_is_shown(records: dict[str, RunRecord]) -> None:
    shown = _shown(records["bare"])
    assert records["bare"].verdict.sentence in shown
    assert "Data problems" not in shown


@pytest.mark.parametrize("terminal", [False, True])
def test_hostile_names_neither_style_nor_link_nor_drive_the_terminal(
    records: dict[str, RunRecord], terminal: bool
) -> None:
    hostile = records["hostile"]
    names = (
        "[bold red]markup[/] [link=http://evil.example]x[/link]",
        "\x1b[31mred\x1b]8;;http://e\x07",
    )
    trial = hostile.trials[0]
    tried = tuple(trial.model_copy(update={"source": n, "layers": (n,)}) for n in names)
    shown = _shown(hostile.model_copy(update={"trials": tried}), terminal=terminal)
    assert "\x1b]8" not in shown
    plain = re.sub(r"\x1b\[[\d;]*m", "", shown)
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", plain)
    assert plain.count("[bold red]markup[/]") >= 2
    assert printable(names[1]) in plain
    assert ("\x1b" in shown) == terminal


def test_narrow_terminal_loses_no_score(record: RunRecord) -> None:
    shown = _shown(record, width=60)
    best = min((t for t in record.trials if t.chosen), key=lambda t: t.loss)
    assert numbers.score(best.score) in shown


def test_signs_are_ascii_where_nothing_else_can_be_written(record: RunRecord) -> None:
    written = io.BytesIO()
    stream = io.TextIOWrapper(written, encoding="ascii", errors="replace")
    show_run(record, Console(file=stream, width=120))
    stream.flush()
    assert f"+ {record.verdict.sentence}" in written.getvalue().decode("ascii")


def test_trainings_are_rows_with_what_they_took(records: dict[str, RunRecord]) -> None:
    shown = _shown(records["tuned"], width=80)
    assert re.search(r"(?m)^  bundled:efficientnet-lite0  probe, blocks\.6 +0\.870 ", shown)
    assert re.search(r"(?m)^  bundled:\S+ +finetune +0\.902  3\.4M \(100%\)  4 min 05 s", shown)
    assert re.search(r"(?m)^  bundled:\S+ +lora +0\.887    148k \(4%\) ", shown)
    assert re.search(r"(?m)^▸ bundled:\S+ +mean +0\.911 ", shown)
    assert all(len(line) <= 80 for line in shown.split("\nChosen")[0].splitlines())


def test_methods_are_shown_on_judging_examples(records: dict[str, RunRecord]) -> None:
    tuned = records["tuned"]
    shown = _shown(tuned, width=80)
    for method in tuned.methods:
        assert method.robustness is not None
        gain = numbers.gain(method.gain) if method.gain else ""
        line = f"{numbers.estimate(method.score)}  {gain}".strip()
        (found,) = [one for one in shown.splitlines() if line in one and "kept" not in one
                    and numbers.kept(method.robustness.kept) in one]  # fmt: skip
        assert found.startswith(("frozen", "finetune", "lora", "scratch", "mean of all"))
    assert "at 75%: 75% trained weights" in shown


def test_methods_without_corruption_have_no_such_column(records: dict[str, RunRecord]) -> None:
    tuned = records["tuned"]
    calm = tuple(m.model_copy(update={"robustness": None}) for m in tuned.methods if m.test)
    shown = _shown(tuned.model_copy(update={"methods": calm}))
    assert "Kept" not in shown
    assert "at 75%" not in shown
    assert "Gain over" in shown


def test_frozen_run_says_nothing_of_trainings(record: RunRecord) -> None:
    shown = _shown(record)
    assert not re.search("Trained|Gain over|Kept", shown)


def test_training_that_was_chosen_is_named_without_a_layer(records: dict[str, RunRecord]) -> None:
    tuned = records["tuned"]
    one = next(m for m in tuned.chosen.members if m.method == "lora")
    chosen = tuned.chosen.model_copy(update={"members": (one,)})
    assert re.search("Chosen: bundled:efficientnet-lite0, lora –", _shown(
        tuned.model_copy(update={"chosen": chosen})))  # fmt: skip


def test_hostile_names_of_methods_are_shown_as_text(records: dict[str, RunRecord]) -> None:
    shown = _shown(records["hostile"])
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", shown)
    assert "<script>alert(1)</script>" in shown


def test_tagging_is_shown_by_type_and_by_what_was_seen(records: dict[str, RunRecord]) -> None:
    shown = _shown(records["tags"], width=100)
    assert re.search(r"(?m)^location +40 +0\.750 \(0\.69 to 0\.81\) +0\.800 +0\.700", shown)
    assert shown.index("location ") < shown.index("work of art ")
    assert re.search(r"(?m)^unseen +54 +0\.400 \(0\.34 to 0\.46\)", shown)
    assert "1,000 sentences, 18,000 words" in shown
    assert "on 300 sentences that chose nothing" in shown
    assert "Entities" not in _shown(records["texts"])


def test_many_types_are_counted(records: dict[str, RunRecord]) -> None:
    tags = records["tags"]
    types = tuple(replace(tags.test.per_class[0], name=f"type {i:02d}") for i in range(20))
    shown = _shown(tags.model_copy(update={"test": replace(tags.test, per_class=types)}))
    assert "type 11" in shown
    assert "type 12" not in shown
    assert "8 more types are in the report" in shown
