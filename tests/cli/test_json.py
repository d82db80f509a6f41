"""What `--json` prints: one document of the command's own type, whatever happens."""

import io
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from pydantic import TypeAdapter

import retarget as rt
from retarget.cli.app import app, run
from retarget.cli.documents import DOCUMENTS
from retarget.cli.output import Failed, say_json
from retarget.core.errors import UsageError
from retarget.methods.tuning import Epoch, TrainingCost
from retarget.reports.predictions import Unread, Valued
from retarget.runs.schema import TrainingRecord

ROOT = Path(__file__).resolve().parents[2]
FIT = "--source random:resnet10t --layer last --method probe --baseline majority --folds 2"


def commands(group: Any = None, before: str = "") -> Iterator[str]:
    """Give every command of the command line, those of groups with their group."""
    for name, command in (group or typer.main.get_command(app)).commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{before}{name} ")
        else:
            yield f"{before}{name}"


def checked(text: str, kind: Any) -> Any:
    """Return the one document in `text`, which is of a type, with nothing more and nothing less."""
    document = json.loads(text)
    adapter = TypeAdapter(kind)
    whole = adapter.dump_json(adapter.validate_python(document), by_alias=True)
    assert json.loads(whole) == document
    return document


@pytest.fixture
def words(
    small_run: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], list[str]]:
    """Give what to type after each command so that it works; demos find a run that is there."""
    one, broken = pictures / "test" / "dark" / "2-0.png", pictures / "train" / "dark" / "broken.jpg"
    told = {
        "fit": f"{pictures} --out {tmp_path / 'run'} --engine eager --no-learning-curve {FIT}",
        "inspect": pictures,
        "evaluate": f"{small_run} {pictures / 'test'}",
        "predict": f"{small_run} {one} {broken}",
        "report": f"{small_run} --out {tmp_path / 'out'}",
        "compare": f"{small_run} {small_run}",
        "export": f"{small_run} --out {tmp_path / 'onnx'}",
    }

    def typed(command: str) -> list[str]:
        if command == "demo":
            monkeypatch.setattr("retarget.tasks.openmoji.draw_openmoji", lambda _: pictures)
            monkeypatch.setattr("retarget.api.fit", lambda *_, **__: rt.load_run(small_run))
        return [*command.split(), *str(told.get(command, "")).split(), "--json"]

    return typed


def test_every_command_has_a_type_and_its_schema_is_in_the_docs() -> None:
    assert set(DOCUMENTS) == set(commands())
    table = (ROOT / "docs" / "json.md").read_text(encoding="utf-8")
    for command in DOCUMENTS:
        schema = f"schemas/{command.replace(' ', '-')}.schema.json"
        assert (ROOT / "docs" / schema).is_file()
        assert f"({schema})" in table, command


@pytest.mark.parametrize("command", sorted(DOCUMENTS))
def test_json_is_one_document_of_the_commands_type(
    capfd: pytest.CaptureFixture[str], words: Callable[[str], list[str]], command: str
) -> None:
    assert run(words(command)) == 0
    checked(capfd.readouterr().out, DOCUMENTS[command])


@pytest.mark.parametrize("command", sorted(DOCUMENTS))
def test_a_mistake_is_one_document_that_says_so(
    capfd: pytest.CaptureFixture[str], command: str
) -> None:
    assert run([*command.split(), "--nonsense", "--json"]) == 2
    told = capfd.readouterr()
    assert "--nonsense" in checked(told.out, Failed)["error"]
    assert "--nonsense" in told.err


def test_a_fault_of_ours_is_one_document_too(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise ZeroDivisionError("by nothing")

    monkeypatch.setattr("retarget.api.cache_info", broken)
    assert run(["cache", "info", "--json"]) == 1
    told = capfd.readouterr()
    assert "ZeroDivisionError: by nothing" in checked(told.out, Failed)["error"]
    assert "Traceback" in told.err
    with pytest.raises(ZeroDivisionError):
        run(["cache", "info"])


def test_demo_on_texts_is_one_document_of_both_runs(
    capfd: pytest.CaptureFixture[str], words: Callable[[str], list[str]], small_run: Path
) -> None:
    typed = words("demo")
    assert run([*typed, "text"]) == 0
    document = checked(capfd.readouterr().out, DOCUMENTS["demo"])
    assert [one["run"] for one in document["runs"]] == [str(small_run)] * 2


def test_predict_says_what_it_could_not_read_or_stops_in_the_middle_in_one_document(
    capfd: pytest.CaptureFixture[str],
    words: Callable[[str], list[str]],
    small_run: Path,
    pictures: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert run(words("predict")) == 0
    good, bad = checked(capfd.readouterr().out, DOCUMENTS["predict"])["predictions"]
    assert good["top"][0]["class"] == good["label"]
    assert set(bad) == {"input", "error"}
    broken = str(pictures / "train" / "dark" / "broken.jpg")
    assert run(["predict", str(small_run), broken, "--json"]) == 2
    assert len(checked(capfd.readouterr().out, DOCUMENTS["predict"])["predictions"]) == 1

    def stops(*_: object, **__: object) -> Iterator[object]:
        yield from rt.load_run(small_run).stream([pictures / "test" / "dark" / "2-0.png"])
        raise UsageError("gone")

    monkeypatch.setattr("retarget.cli.running._predicted", stops)
    assert run(["predict", str(small_run), "x", "--json"]) == 2
    assert checked(capfd.readouterr().out, Failed) == {"error": "gone"}


def test_a_line_of_predict_is_an_item_of_its_document(
    capfd: pytest.CaptureFixture[str], words: Callable[[str], list[str]]
) -> None:
    assert run(words("predict")) == 0
    items = json.loads(capfd.readouterr().out)["predictions"]
    assert run(words("predict")[:-1]) == 0
    assert [json.loads(line) for line in capfd.readouterr().out.splitlines()] == items


def test_what_json_has_no_way_to_say_is_null_or_escaped(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for value in (float("nan"), float("inf"), float("-inf")):
        say_json(Valued("x", value))
        assert json.loads(capsys.readouterr().out) == {"input": "x", "value": None}
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    monkeypatch.setattr(sys, "stdout", stream)
    say_json(Unread("caf\udce9.png", "naïve"))
    stream.seek(0)
    assert json.loads(stream.read()) == {"input": "caf\udce9.png", "error": "naïve"}


def test_figures_that_were_not_measured_are_null_as_the_schema_says(
    capsys: pytest.CaptureFixture[str],
) -> None:
    none = float("nan")
    record = TrainingRecord(
        cost=TrainingCost(9, 3, 1.0, 0.1, 2.0, 0.0),
        epochs=(Epoch(0, none, 0.7, 0.5, 0.1, 1.0),),
        taken=0,
        why="",
        gap=(none, none, none),
    )
    say_json(record)
    told = checked(capsys.readouterr().out, TrainingRecord)
    assert told["epochs"][0]["loss"] is None
    assert told["gap"] == [None] * 3
    schema = TypeAdapter(TrainingRecord).json_schema()
    may_be_null = ["number", "null"]
    assert schema["$defs"]["Epoch"]["properties"]["loss"]["type"] == may_be_null
    assert [one["type"] for one in schema["properties"]["gap"]["prefixItems"]] == [may_be_null] * 3
    assert schema["$defs"]["TrainingCost"]["properties"]["seconds"]["type"] == "number"
