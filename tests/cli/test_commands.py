"""Every command, as a person types it and as a machine reads it."""

import csv
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import retarget
from retarget.cli.app import run
from retarget.cli.standard_input import standard_input
from retarget.core.errors import UsageError
from retarget.runs.predict import predict_readable

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


def test_predict_csv_holds_no_formula_in_names_of_classes(
    capsys: pytest.CaptureFixture[str], small_run: Path, pictures: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(small_run, folder)
    path = folder / "model" / "model.json"
    model = json.loads(path.read_text(encoding="utf-8"))
    picture = pictures / "test" / "dark" / "2-0.png"
    for names in (
        ["=1+1", "+cmd|x!A1"],
        ["-2+3", "@SUM(1)"],
        ["\t=1+1", "\r=1+1"],
        ["a\r=1+1", "b\n=1+1"],
    ):
        path.write_text(json.dumps({**model, "classes": names}), encoding="utf-8")
        code, out, err = call(capsys, "predict", folder, picture, "--format", "csv", "--top", 2)
        assert code == 0, err
        header, row = csv.reader(io.StringIO(out, newline=""))
        cells = dict(zip(header, row, strict=True))
        told = [cells[column] for column in ("class_1", "class_2")]
        # An apostrophe, which spreadsheets take for "this is text", and the name as it is.
        marks = ["" if name[0] in "ab" else "'" for name in names]
        assert sorted(told) == sorted(map("".join, zip(marks, names, strict=True)))
        assert cells["prediction"] == told[0]
        numbers = [float(cells[column]) for column in ("probability_1", "probability_2")]
        assert sum(numbers) == pytest.approx(1.0, abs=1e-5)


def test_evaluate_prints_intervals(
    capsys: pytest.CaptureFixture[str], small_run: Path, pictures: Path
) -> None:
    found = told(capsys, "evaluate", small_run, pictures / "test")
    assert found["metrics"]["accuracy"]["low"] <= found["metrics"]["accuracy"]["value"]
    code, out, _ = call(capsys, "evaluate", small_run, pictures / "test")
    assert code == 0
    assert "95% interval" in out


def test_evaluate_runs_the_encoder_as_it_is_told(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    small_run: Path,
    pictures: Path,
) -> None:
    asked = []

    def readable(*given: object, engine: str, device: str, **how: object) -> object:
        asked.append((engine, device))
        return predict_readable(*given, engine=engine, device=device, **how)  # type: ignore[arg-type]

    for option, said in (("--engine", "steam"), ("--device", "moon")):
        code, _, err = call(capsys, "evaluate", small_run, pictures / "test", option, said)
        assert code == 2
        assert said in err
    monkeypatch.setattr("retarget.run.predict_readable", readable)
    told(capsys, "evaluate", small_run, pictures / "test")
    told(capsys, "evaluate", small_run, pictures / "test", "--engine", "eager", "--device", "cpu")
    assert asked == [("auto", "auto"), ("eager", "cpu")]


@pytest.mark.parametrize("command", ["fit", "evaluate", "predict", "predict -"])
@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--device moon", "'moon' is no device"),
        ("--device cuda:99", "device cuda:99 is not here"),
        ("--engine steam", "steam"),
    ],
)
def test_a_place_that_is_not_here_is_refused_before_anything_is_read(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    small_run: Path,
    command: str,
    option: str,
    said: str,
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("/nowhere.png\n"))
    run_ = [] if command == "fit" else [small_run]
    data = [] if command == "predict -" else ["/nowhere"]
    name, *rest = command.split()
    code, out, err = call(capsys, name, *run_, *rest, *data, *option.split())
    assert code == 2
    assert said in err
    assert "nowhere" not in err
    assert not out


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
    assert len((tmp_path / "onnx" / "example.py").read_text().splitlines()) <= 30


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


@pytest.fixture(scope="module")
def text_runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return small runs on texts, on pairs of them, and on spans in them."""
    patch = pytest.MonkeyPatch()
    patch.setenv("RETARGET_CACHE", str(tmp_path_factory.mktemp("text-cache")))
    good, bad = ("great", "lovely", "superb"), ("awful", "dismal", "dreadful")
    people, places = ("Anna Berg", "Tom", "Lena Voss"), ("Oslo", "New Haven", "Graz")
    texts, pairs, labels, told, spans = [], [], [], [], []
    for i in range(18):
        word = (good if i % 2 else bad)[i // 2 % 3]
        labels.append("good" if i % 2 else "bad")
        texts.append(f"Visit {i} to the café was {word}.")
        pairs.append((f"How was visit {i}?", f"It was {word}."))
        person, place = people[i % 3], places[i // 3 % 3]
        text = f"{person} came to {place} on day {i}."
        told.append(text)
        at = text.index(place)
        spans.append([(0, len(person), "person"), (at, at + len(place), "place")])
    data = {"text": (texts, labels), "pair": (pairs, labels), "span": (told, spans)}
    folder = tmp_path_factory.mktemp("text-runs")
    try:
        for name, (inputs, targets) in data.items():
            retarget.fit(
                retarget.open_task(inputs, targets),
                sources=["bundled:minilm"],
                layer="last",
                method="probe",
                baselines=["majority"],
                learning_curve=False,
                folds=2,
                out=str(folder / name),
                engine="eager",
            )
    finally:
        patch.undo()
    return {name: folder / name for name in data}


def as_standard_input(data: bytes) -> io.TextIOWrapper:
    """Return a stream of bytes as standard input is one."""
    return io.TextIOWrapper(io.BufferedReader(io.BytesIO(data)), encoding="utf-8")  # type: ignore[arg-type]


def lines_in(monkeypatch: pytest.MonkeyPatch, lines: bytes) -> None:
    """Let standard input hold these bytes."""
    monkeypatch.setattr(sys, "stdin", as_standard_input(lines))


def test_predict_takes_a_text_a_line(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    text_runs: dict[str, Path],
) -> None:
    lines_in(
        monkeypatch, b'It was lovely.\n\n{"text": "A dismal\\nday."}\nThe caf\xe9 was great.\nx\0\n'
    )
    code, out, err = call(capsys, "predict", text_runs["text"], "-")
    assert code == 0, err
    assert "1 line with bytes that are not UTF-8, read as Windows-1252" in err
    assert "(line 4)" in err
    *read, broken = [json.loads(line) for line in out.splitlines()]
    assert [r["input"] for r in read] == ["line 1", "line 3", "line 4"]
    assert [r["label"] for r in read] == ["good", "bad", "good"]
    assert broken["input"] == "line 5"
    assert "NUL" in broken["error"]


@pytest.mark.parametrize("codec", ["utf-16", "utf-32", "utf-8-sig", "shift_jis"])
@pytest.mark.parametrize("kind", ["text", "span"])
def test_predict_reads_lines_and_files_of_any_encoding(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    text_runs: dict[str, Path],
    tmp_path: Path,
    codec: str,
    kind: str,
) -> None:
    texts = ["Anna Berg came to 東京 on day 4.", "It was great."]
    stated = ["--encoding", codec] if codec == "shift_jis" else []
    lines_in(monkeypatch, "\n".join(texts).encode())
    expected = told(capsys, "predict", text_runs[kind], "-")["predictions"]
    lines_in(monkeypatch, "\n".join(texts).encode(codec))
    assert told(capsys, "predict", text_runs[kind], "-", *stated)["predictions"] == expected
    paths = [tmp_path / f"line {i}" for i in (1, 2)]
    for path, text in zip(paths, texts, strict=True):
        path.write_bytes(text.encode(codec))
    found = told(capsys, "predict", text_runs[kind], *paths, *stated)["predictions"]
    assert [{**one, "input": Path(one["input"]).name} for one in found] == expected


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize(
    ("codec", "stated"),
    [
        *((codec, stated) for codec in ("utf-16-le", "utf-16-be") for stated in ("", codec)),
        *((codec, "utf-16") for codec in ("utf-16-le", "utf-16-be")),
        ("utf-32-be", "utf-32-be"),
        ("utf-8", "utf-8"),
    ],
)
def test_standard_input_is_read_with_and_without_a_mark(
    monkeypatch: pytest.MonkeyPatch, codec: str, stated: str, mark: str
) -> None:
    lines = ["Anna Berg came to 東京.\n", "It was gröat.\n", "odd\n"]
    lines_in(monkeypatch, (mark + "".join(lines)).encode(codec))
    assert list(standard_input(stated or None, inline=True)) == lines


@pytest.mark.parametrize("codec", ["utf-16", "utf-32"])
def test_standard_input_whose_order_of_bytes_nothing_tells_is_refused(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    text_runs: dict[str, Path],
    codec: str,
) -> None:
    lines_in(monkeypatch, "Ж\n".encode(f"{codec}-le"))
    code, out, err = call(capsys, "predict", text_runs["text"], "-", "--encoding", codec)
    assert (code, out) == (2, "")
    assert "--encoding utf-16-le or utf-16-be" in err
    lines_in(monkeypatch, b"")
    assert list(standard_input(codec, inline=True)) == []


def test_predict_says_which_bytes_of_standard_input_and_files_it_could_not_read(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    text_runs: dict[str, Path],
    tmp_path: Path,
) -> None:
    lines_in(monkeypatch, "fine\n良い".encode("shift_jis") + b"\x81\n")
    code, _, err = call(capsys, "predict", text_runs["text"], "-", "--encoding", "shift_jis")
    assert code == 0
    assert "1 line with bytes that are not SHIFT-JIS, read with � in their place (line 2)" in err
    (tmp_path / "one.txt").write_bytes(b"The caf\xe9 was great.")
    code, _, err = call(capsys, "predict", text_runs["text"], tmp_path / "one.txt")
    assert code == 0
    assert "one.txt) is not UTF-8 and was read as Windows-1252, which is a guess" in err
    code, _, err = call(capsys, "predict", text_runs["text"], "-", "--encoding", "klingon")
    assert code == 2
    assert "There is no text encoding 'klingon'" in err


def test_what_is_wrong_with_a_table_is_said_once_however_long_it_is(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    text_runs: dict[str, Path],
    tmp_path: Path,
) -> None:
    monkeypatch.setattr("retarget.runs.predict.CHUNK", 2)
    path = tmp_path / "t.csv"
    path.write_bytes(b"text\n" + b"It was caf\xe9.\n" * 5 + b"a,b\n")
    code, out, err = call(capsys, "predict", text_runs["text"], path)
    assert code == 0
    assert [json.loads(line)["input"] for line in out.splitlines()].count("line 7") == 1
    assert err.count("which is a guess") == 1
    assert "1 input could not be read" in err


def test_predict_takes_texts_from_files_folders_and_tables(
    capsys: pytest.CaptureFixture[str], text_runs: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("It was lovely.")
    (tmp_path / "one.txt").write_text("A dismal visit.")
    (tmp_path / "t.csv").write_text("text\nIt was superb.\nIt was awful.\n")
    inputs = [tmp_path / name for name in ("texts", "one.txt", "t.csv")]
    found = told(capsys, "predict", text_runs["text"], *inputs)["predictions"]
    labels = {Path(r["input"]).name: r["label"] for r in found}
    assert labels == {"a.txt": "good", "one.txt": "bad", "line 2": "good", "line 3": "bad"}


def test_predict_takes_pairs_with_a_tab_between_them(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    text_runs: dict[str, Path],
) -> None:
    lines_in(monkeypatch, b"How was visit 3?\tIt was great.\n")
    (record,) = told(capsys, "predict", text_runs["pair"], "-")["predictions"]
    run_ = retarget.load_run(text_runs["pair"])
    made = run_.predict([("How was visit 3?", "It was great.")])
    alone = run_.predict(["How was visit 3? It was great."])
    rest = record["top"][1]["probability"]
    assert rest == pytest.approx(made.values.min(), rel=1e-2)
    assert rest != pytest.approx(alone.values.min(), rel=1e-1)


def test_predict_gives_spans_in_characters(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    text_runs: dict[str, Path],
) -> None:
    lines = "Tom came to 🇳🇴 Oslo on day 4.\nNothing at all.\n"
    lines_in(monkeypatch, lines.encode())
    first, _ = told(capsys, "predict", text_runs["span"], "-")["predictions"]
    assert first["text"] == lines.splitlines()[0]
    assert {"person", "place"} >= {span["label"] for span in first["spans"]}
    assert "Tom" in [span["text"] for span in first["spans"]]
    for span in first["spans"]:
        assert first["text"][span["start"] : span["end"]] == span["text"]
        assert 0 < span["probability"] <= 1
    lines_in(monkeypatch, b"Tom came to Oslo on day 4.\n=Anna Berg came to Graz on day 2.\nx\0\n")
    code, out, _ = call(capsys, "predict", text_runs["span"], "-", "--format", "csv")
    assert code == 0
    rows = list(csv.reader(io.StringIO(out)))
    assert rows[0] == ["input", "start", "end", "label", "text", "probability", "error"]
    assert [row[0] for row in rows[1:] if not row[-1]].count("line 1") >= 1
    assert "NUL" in rows[-1][-1]


def test_rows_are_numbered_over_the_whole_stream(
    monkeypatch: pytest.MonkeyPatch, text_runs: dict[str, Path]
) -> None:
    monkeypatch.setattr("retarget.runs.predict.CHUNK", 2)
    run_ = retarget.load_run(text_runs["text"])
    made = run_.predict([f"Visit {i} was great." for i in range(5)], engine="eager")
    assert made.names == tuple(f"row {i}" for i in range(5))
    parts = list(run_.stream_lines((f"Visit {i}\n" for i in range(5)), engine="eager"))
    assert [part.names for part in parts] == [
        ("line 1", "line 2"),
        ("line 3", "line 4"),
        ("line 5",),
    ]


def test_the_demo_on_texts_names_both_runs(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    text_runs: dict[str, Path],
    tmp_path: Path,
) -> None:
    asked: list[tuple[str, str]] = []

    def fit(data: str, **options: object) -> retarget.Run:
        task = retarget.open_task(data)
        assert len(task) == {"sentiment": 160, "entities": 60}[task.name]
        assert not [p for p in task.problems if p.left_out]
        asked.append((task.name, str(options["out"])))
        return retarget.load_run(text_runs["text"])

    monkeypatch.setattr("retarget.api.fit", fit)
    out = tmp_path / "out"
    assert len(told(capsys, "demo", "text", "--out", out)["runs"]) == 2
    assert asked == [(name, str(out / name)) for name in ("sentiment", "entities")]
    code, shown, _ = call(capsys, "demo", "text", "--out", out)
    assert code == 0
    assert "160 short reviews" in shown
    code, _, err = call(capsys, "demo", "sounds")
    assert code == 2
    assert "pictures or text" in err
