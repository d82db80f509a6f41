"""Every command, as a person types it and as a machine reads it."""

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

import retarget
from retarget.cli.app import run
from retarget.core.errors import UsageError

COMMANDS = (
    "demo",
    "sources",
    "inspect",
    "fit",
    "evaluate",
    "predict",
    "report",
    "compare",
    "export",
    "cache",
)


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Run a command in this process: exit code, standard output, standard error."""
    code = run([str(a) for a in arguments])
    told = capsys.readouterr()
    return code, told.out, told.err


def told(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict:  # type: ignore[type-arg]
    """Run a command with --json; its standard output must be one JSON document."""
    code, out, err = call(capsys, *arguments, "--json")
    assert code == 0, err
    return dict(json.loads(out))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(capsys: pytest.CaptureFixture[str], command: str) -> None:
    code, out, _ = call(capsys, command, "--help")
    assert code == 0
    assert "Usage" in out


def test_list_of_commands_cuts_no_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "--help")
    assert code == 0
    assert "..." not in out.partition("Commands:")[2]


def test_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "--version")
    assert code == 0
    assert out == f"retarget {retarget.__version__}\n"


def test_sources_lists_what_is_here(capsys: pytest.CaptureFixture[str]) -> None:
    found = told(capsys, "sources")
    uris = [s["uri"] for s in found["here"]]
    assert "bundled:efficientnet-lite0" in uris
    assert found["fetchable"]
    code, out, _ = call(capsys, "sources")
    assert code == 0
    assert "Next: retarget fit" in out


def test_sources_are_those_of_one_modality_where_that_is_asked(
    capsys: pytest.CaptureFixture[str],
) -> None:
    every = told(capsys, "sources")
    texts = told(capsys, "sources", "--modality", "text")
    pictures = told(capsys, "sources", "--modality", "image")
    assert [s["uri"] for s in texts["here"]] == ["bundled:minilm"]
    for part in ("here", "fetchable"):
        assert every[part] == pictures[part] + texts[part]
        assert {s["facts"]["modality"] for s in texts[part]} == {"text"}
    code, out, _ = call(capsys, "sources", "--modality", "text")
    assert code == 0
    assert "for texts" in out
    assert "efficientnet" not in out
    code, _, err = call(capsys, "sources", "--modality", "smell")
    assert code == 2
    assert "image, text" in err


def test_inspect_says_how_and_names_the_broken_file(
    capsys: pytest.CaptureFixture[str], pictures: Path
) -> None:
    code, out, _ = call(capsys, "inspect", pictures)
    assert code == 0
    assert "broken.jpg" in out
    assert "hold-out" in out
    assert told(capsys, "inspect", pictures)["task"]["quarantined"] == 1


def test_strict_stops_on_the_broken_file(
    capsys: pytest.CaptureFixture[str], pictures: Path
) -> None:
    code, out, err = call(capsys, "inspect", pictures, "--strict")
    assert code == 2
    assert not out
    assert "broken.jpg" in err


def test_predict_writes_a_line_an_input(
    capsys: pytest.CaptureFixture[str], small_run: Path, pictures: Path
) -> None:
    paths = sorted((pictures / "test" / "dark").iterdir())[:3]
    code, out, err = call(capsys, "predict", small_run, *paths, "--engine", "eager")
    assert code == 0, err
    records = [json.loads(line) for line in out.splitlines()]
    assert len(records) == 3
    assert all(r["label"] in ("dark", "light & <b>bold<b>") for r in records)
    assert records[0]["top"][0]["probability"] >= records[0]["top"][1]["probability"]


def test_predict_reads_a_list_and_names_what_it_cannot_read(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    small_run: Path,
    pictures: Path,
) -> None:
    listed = [pictures / "train" / "dark" / "1-0.png", pictures / "train" / "dark" / "broken.jpg"]
    monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{p}\n" for p in listed)))
    code, out, err = call(capsys, "predict", small_run, "-", "--engine", "eager")
    assert code == 0, err
    good, bad = (json.loads(line) for line in out.splitlines())
    assert good["label"] == "dark"
    assert "error" in bad
    assert "broken.jpg" in bad["input"]
    assert "1 input" in err


def test_predict_csv_holds_no_formula(
    capsys: pytest.CaptureFixture[str], small_run: Path, pictures: Path, tmp_path: Path
) -> None:
    import shutil

    evil = tmp_path / "=cmd()"
    evil.mkdir()
    shutil.copy(pictures / "test" / "dark" / "2-0.png", evil / "=1+1.png")
    monkey = pytest.MonkeyPatch()
    monkey.chdir(tmp_path)
    try:
        code, out, err = call(
            capsys, "predict", small_run, "=cmd()/=1+1.png", "--format", "csv", "--top", 2
        )
    finally:
        monkey.undo()
    assert code == 0, err
    rows = list(csv.reader(io.StringIO(out)))
    assert rows[0][:4] == ["input", "prediction", "class_1", "probability_1"]
    assert len(rows) == 2
    assert not any(cell.startswith(("=", "+", "@")) for cell in rows[1])


def test_evaluate_prints_intervals(
    capsys: pytest.CaptureFixture[str], small_run: Path, pictures: Path
) -> None:
    found = told(capsys, "evaluate", small_run, pictures / "test")
    assert found["metrics"]["accuracy"]["low"] <= found["metrics"]["accuracy"]["value"]
    code, out, _ = call(capsys, "evaluate", small_run, pictures / "test")
    assert code == 0
    assert "95% interval" in out


def test_report_and_compare_and_export(
    capsys: pytest.CaptureFixture[str], small_run: Path, tmp_path: Path
) -> None:
    written = told(capsys, "report", small_run, "--out", tmp_path / "out")["report"]
    assert Path(written).read_text(encoding="utf-8").startswith("<!")
    assert told(capsys, "compare", small_run, small_run)["examples"] == 16
    code, out, _ = call(capsys, "compare", small_run, small_run)
    assert code == 0
    assert "Gain over the first" in out
    made = told(capsys, "export", small_run, "--out", tmp_path / "onnx")
    assert made["difference"] <= 1e-4


def test_the_exported_example_runs_alone_and_agrees(
    capsys: pytest.CaptureFixture[str], small_run: Path, pictures: Path, tmp_path: Path
) -> None:
    told(capsys, "export", small_run, "--out", tmp_path / "onnx")
    picture = pictures / "test" / "dark" / "2-1.png"
    done = subprocess.run(
        [sys.executable, "example.py", str(picture)],
        cwd=tmp_path / "onnx",
        capture_output=True,
        text=True,
        check=True,
    )
    shown = done.stdout.split(str(picture))[1].strip()
    (record,) = told(capsys, "predict", small_run, picture)["predictions"]
    for item in record["top"]:
        assert f"'{item['class']}': " in shown
        near = float(shown.split(f"'{item['class']}': ")[1].split(",")[0].rstrip("}"))
        assert near == pytest.approx(item["probability"], abs=2e-3)
    assert len((tmp_path / "onnx" / "example.py").read_text().splitlines()) <= 50


def test_what_the_demo_draws_is_cleared_with_the_cache(
    capsys: pytest.CaptureFixture[str], own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def drawn(folder: Path) -> Path:
        (folder / "drawings").mkdir(parents=True)
        raise UsageError("not here")

    monkeypatch.setattr("retarget.tasks.openmoji.draw_openmoji", drawn)
    assert call(capsys, "demo")[0] == 2
    assert list(own_cache.rglob("drawings"))
    told(capsys, "cache", "clear")
    assert not list(own_cache.rglob("drawings"))


def test_cache_says_where_how_much_and_clears(
    capsys: pytest.CaptureFixture[str], pictures: Path, own_cache: Path
) -> None:
    told(capsys, "inspect", pictures)
    info = told(capsys, "cache", "info")
    assert info["path"] == str(own_cache)
    assert info["rows"] == 44
    code, out, _ = call(capsys, "cache", "path")
    assert (code, out.strip()) == (0, str(own_cache))
    (own_cache / "mine.txt").write_text("not Retarget's")
    told(capsys, "cache", "clear")
    assert told(capsys, "cache", "info")["rows"] == 0
    assert (own_cache / "mine.txt").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["fit"], "retarget fit DATA"),
        (["fit", "/nowhere/at/all"], "/nowhere/at/all"),
        (["inspect", "/nowhere/at/all"], "/nowhere/at/all"),
        (["predict", "/nowhere", "x.png"], "not a run directory"),
        (["compare", "/nowhere"], "at least two"),
        (["fit", "x", "--column", "label"], "ROLE=NAME"),
        (["fit", "x", "--config", "/nowhere.yaml"], "/nowhere.yaml"),
        (["nonsense"], "nonsense"),
        (["fit", "--nonsense"], "nonsense"),
    ],
)
def test_mistakes_end_in_one_sentence_and_a_code(
    capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    code, out, err = call(capsys, *arguments)
    assert code in (1, 2)
    assert said in err
    assert not out
    assert "Traceback" not in err
    code, out, _ = call(capsys, *arguments, "--json")
    assert said in json.loads(out)["error"]


def test_a_configuration_that_executes_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    mark = tmp_path / "executed"
    config = tmp_path / "run.yaml"
    config.write_text(f"data: !!python/object/apply:os.system ['touch {mark}']\n")
    code, _, err = call(capsys, "fit", "--config", config)
    assert code == 2
    assert "not YAML" in err
    assert not mark.exists()


def test_names_that_drive_a_terminal_are_shown_as_text(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, _, err = call(capsys, "inspect", tmp_path / "\x1b]0;owned\x07[bold]x")
    assert code == 2
    assert "\x1b" not in err
    assert "[bold]" in err
