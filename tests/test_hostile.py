"""What hostile or unlucky users do, end to end: one sentence, never a traceback or a loss."""

import errno
import fcntl
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from safetensors import SafetensorError

import retarget as rt
from retarget.cli.app import run
from retarget.core.errors import DataError, SourceError, StoreError, UsageError
from retarget.runs.directory import STAGE, check_place, new_run
from retarget.sources.registry import resolve

TINY = ("--source", "random:resnet10t", "--engine", "eager", "--baseline", "none")


def told_by(*arguments: object, **environment: str) -> "subprocess.CompletedProcess[bytes]":
    """Run the command line in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "retarget", *map(str, arguments)],
        env={**os.environ, **environment},
        capture_output=True,
        check=False,
    )


@pytest.mark.parametrize("json_asked", [(), ("--json",)])
def test_an_ascii_terminal_stops_no_command(small_run: Path, json_asked: tuple[str, ...]) -> None:
    done = told_by("sources", *json_asked, PYTHONIOENCODING="ascii", LC_ALL="C")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.isascii()
    if json_asked:
        json.loads(done.stdout)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("json_asked", ["", " --json"])
@pytest.mark.parametrize("where", ["/dev/full", "&-"])
def test_standard_output_that_takes_nothing_ends_in_at_most_a_sentence(
    where: str, json_asked: str
) -> None:
    command = f"exec {sys.executable} -m retarget cache path{json_asked} >{where}"
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, check=False)
    assert done.returncode == (1 if where == "/dev/full" else 0)
    assert b"Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) <= 1


def test_a_reader_that_leaves_early_gets_no_traceback() -> None:
    command = f"{sys.executable} -m retarget sources | true"
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, check=False)
    assert b"Traceback" not in done.stderr
    assert b"Exception" not in done.stderr


def test_a_full_disk_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full() -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "from.bin", None, "run/model.bin")

    monkeypatch.setattr("retarget.api.cache_info", full)
    assert run(["cache", "info", "--json"]) == 1
    out, err = capsys.readouterr()
    assert err.count("\n") == 1
    assert "run/model.bin can't be read or written (No space left on device)" in err
    assert "No space left" in json.loads(out)["error"]


def test_ctrl_c_with_json_is_one_document(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("retarget.api.cache_info", stopped)
    assert run(["cache", "info", "--json"]) == 130
    assert "stopped" in json.loads(capsys.readouterr().out)["error"]


def test_where_a_run_cannot_go_is_said_before_any_work(
    tmp_path: Path,
    pictures: Path,
    small_run: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def work(*_: object, **__: object) -> None:
        raise AssertionError("the data were read")

    monkeypatch.setattr("retarget.api.read_task", work)
    (tmp_path / "file").write_text("mine")
    for out, why in (
        (small_run, "already holds a run"),
        (tmp_path / "file", "not a run"),
        (tmp_path / "file" / "run", "is a file"),
        (pictures, "not a run"),
        (pictures / "train" / "run", "inside the data"),
    ):
        assert run(["fit", str(pictures), "--out", str(out), *TINY]) == 2
        assert why in capsys.readouterr().err
    monkeypatch.chdir(pictures)
    assert run(["fit", ".", *TINY]) == 2
    assert "inside the data" in capsys.readouterr().err
    assert (tmp_path / "file").read_text() == "mine"


def test_a_link_to_a_folder_takes_the_run(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    link = tmp_path / "run"
    link.symlink_to("disk")
    for text in ("first", "second"):
        with new_run(link, replace=True) as stage:
            (stage / "run.json").write_text(text)
        assert link.is_symlink()
        assert (tmp_path / "disk" / "run.json").read_text() == text
    assert sorted(p.name for p in tmp_path.iterdir()) == ["disk", "run"]


def test_of_two_fits_to_one_folder_the_later_keeps_the_earlier(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="already holds a run"), new_run(tmp_path / "run") as late:
        (late / "run.json").write_text("late")
        with new_run(tmp_path / "run") as early:
            (early / "run.json").write_text("early")
    assert (tmp_path / "run" / "run.json").read_text() == "early"
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_what_a_killed_fit_staged_is_swept_and_what_lives_is_not(tmp_path: Path) -> None:
    stages = [tmp_path / f".run.{name}{STAGE}" for name in ("dead", "alive", "fresh")]
    dead, alive, fresh = stages
    for stage in stages:
        stage.mkdir()
        (stage / "half").write_text("half")
    for stage in (dead, alive):
        os.utime(stage, (0, 0))
    holder = os.open(alive, os.O_RDONLY)
    fcntl.flock(holder, fcntl.LOCK_EX)
    with new_run(tmp_path / "run") as stage:
        (stage / "run.json").write_text("done")
    os.close(holder)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([alive.name, fresh.name, "run"])


def test_a_run_beside_the_data_is_welcome(tmp_path: Path, pictures: Path) -> None:
    check_place(tmp_path / "new" / "run", apart_from=pictures)
    check_place(tmp_path, apart_from=pictures / "labels.csv")


def changed(run_folder: Path, tmp_path: Path, name: str, **fields: object) -> Path:
    """Copy a run and change fields of one of its JSON files."""
    folder = tmp_path / "changed"
    shutil.copytree(run_folder, folder)
    told = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps({**told, **fields}))
    return folder


@pytest.mark.parametrize(
    "members",
    [["nowhere"], ["layer1", "layer2", "layer3", "layer4"], []],
)
def test_heads_that_do_not_fit_the_encoder_are_refused(
    small_run: Path, pictures: Path, tmp_path: Path, members: list[str]
) -> None:
    told = json.loads((small_run / "model" / "model.json").read_text())["members"]
    others = [{**member, "layers": members} for member in told]
    folder = changed(small_run, tmp_path, "model/model.json", members=others)
    with pytest.raises(SourceError, match="don't belong"):
        rt.load_run(folder).predict(pictures / "test", engine="eager")


def test_heads_for_another_number_of_classes_are_refused(small_run: Path, tmp_path: Path) -> None:
    folder = changed(small_run, tmp_path, "model/model.json", classes=["a", "b", "c"])
    with pytest.raises(SourceError, match="2 outputs for 3 classes"):
        _ = rt.load_run(folder).model


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("target", ["a"] * 16),
        ("target", [7] * 16),
        ("target", [-1] * 16),
        ("prediction", [[0.1, 0.2, 0.7]] * 16),
        ("prediction", [[float("nan"), 1.0]] * 16),
        ("prediction", [0.5] * 16),
    ],
)
def test_predictions_of_another_kind_are_not_compared(
    small_run: Path, tmp_path: Path, column: str, values: list[object]
) -> None:
    folder = tmp_path / "changed"
    shutil.copytree(small_run, folder)
    path = folder / "predictions.parquet"
    table = pq.read_table(path)
    place = table.column_names.index(column)
    pq.write_table(table.set_column(place, column, pa.array(values)), path)
    with pytest.raises(StoreError, match="does not fit"):
        rt.compare([small_run, folder])


def test_a_stream_goes_on_past_files_that_are_all_missing(
    small_run: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("retarget.runs.predict.CHUNK", 2)
    good = sorted((pictures / "test").rglob("*.png"))[:2]
    asked = [Path("gone-1.png"), Path("gone-2.png"), *good]
    opened = rt.load_run(small_run)
    parts = list(opened.stream(asked, engine="eager"))
    assert [len(part.names) for part in parts] == [0, 2]
    assert parts[0].problems[0].where == ("gone-1.png", "gone-2.png")
    assert len(opened.predict(asked, engine="eager").values) == 2
    with pytest.raises(DataError, match="Nothing could be predicted"):
        opened.predict(asked[:2], engine="eager")


def test_predicting_nothing_is_one_document_and_code_2(
    small_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["predict", str(small_run), "gone.png", "--json"]) == 2
    (told,) = json.loads(capsys.readouterr().out)["predictions"]
    assert told["input"] == "gone.png"
    assert "not there" in told["error"]


def test_a_cache_that_is_full_loses_no_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise SafetensorError("No space left on device")

    source = resolve("random:resnet10t")
    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(OSError, match="No space left"):
        source.save(tmp_path)
    source.load()


def test_data_in_memory_lie_in_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 255, (16, 20, 20, 3)).astype(np.uint8)
    task = rt.open_task(pixels, ["a", "b"] * 8)
    asked: dict[str, Any] = {"engine": "eager", "baselines": ["majority"], "learning_curve": False}
    fitted = rt.fit(task, sources=["random:resnet10t"], out="run", **asked)
    assert fitted.folder == Path("run")
    one = fitted.predict(Image.fromarray(pixels[0]), engine="eager")
    np.testing.assert_allclose(one.values, fitted.predict(pixels[:1], engine="eager").values)
    for nothing in (None, 3):
        with pytest.raises(DataError, match=r"path, picture|a picture is"):
            fitted.predict(nothing)
    with pytest.raises(DataError, match="labelled"):
        rt.fit(pixels, sources=["random:resnet10t"], **asked)
    with pytest.raises(DataError, match="NoneType can't be read"):
        rt.fit(None)


def test_a_seed_that_no_generator_takes_is_refused(pictures: Path) -> None:
    with pytest.raises(UsageError, match="seed"):
        rt.fit(pictures, seed=2**63)
