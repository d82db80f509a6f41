"""A fresh process tells a good model from a bad one, and imports nothing of the user's."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import retarget as rt
from retarget.core.errors import StoreError
from retarget.run import Run
from retarget.runs.verify import FreshProcess, verify


@pytest.fixture
def references(pictures: Path) -> list[Path]:
    """Return three pictures."""
    return sorted((pictures / "test").rglob("*.png"))[:3]


@pytest.mark.usefixtures("fresh_processes")
def test_a_good_model_is_verified_once(small_run: Path, references: list[Path]) -> None:
    expected = Run(small_run).predict(references, engine="eager").values
    model = small_run / "model"
    with FreshProcess() as fresh:
        fresh.start()
        assert "3 predictions equal" in verify(model, "image", references, expected, fresh)
    with FreshProcess() as fresh:
        assert "before" in verify(model, "image", references, expected, fresh)
        assert fresh._process is None


@pytest.mark.usefixtures("fresh_processes")
def test_a_fit_on_texts_is_verified_in_a_fresh_process(
    quick: dict[str, Any], tmp_path: Path
) -> None:
    texts = [f"{i} {'good' if i % 2 else 'fine'} letters" for i in range(12)]
    run = rt.fit(
        rt.open_task(texts, ["even", "odd"] * 6),
        out=str(tmp_path / "run"),
        **quick,
    )
    assert "a fresh process: 4 predictions equal" in run.record.verified


def test_a_model_that_predicts_otherwise_is_refused(
    small_run: Path, references: list[Path], tmp_path: Path
) -> None:
    expected = Run(small_run).predict(references, engine="eager").values
    model = shutil.copytree(small_run / "model", tmp_path / "model")
    told = json.loads((model / "model.json").read_text())
    told["temperature"] = 40.0
    (model / "model.json").write_text(json.dumps(told))
    with FreshProcess() as fresh, pytest.raises(StoreError, match="does not predict"):
        verify(model, "image", references, expected, fresh)


@pytest.mark.usefixtures("fresh_processes")
def test_a_model_that_cannot_be_read_is_refused(
    small_run: Path, references: list[Path], tmp_path: Path
) -> None:
    model = shutil.copytree(small_run / "model", tmp_path / "model")
    (model / "heads.safetensors").write_bytes(b"nothing")
    with FreshProcess() as fresh, pytest.raises(StoreError, match="can't be read"):
        verify(model, "image", references, np.zeros((3, 2)), fresh)


@pytest.mark.usefixtures("fresh_processes")
def test_modules_in_the_working_folder_are_not_imported(
    small_run: Path, references: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = tmp_path / "executed"
    for name in ("numpy.py", "torch.py", "json.py", "retarget.py"):
        (tmp_path / name).write_text(f"open({str(mark)!r}, 'w')\nraise SystemExit(0)\n")
    monkeypatch.chdir(tmp_path)
    with FreshProcess() as fresh:
        found = fresh.predict(small_run.resolve() / "model", "image", references)
    assert found.shape == (3, 2)
    assert not mark.exists()


def test_it_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    program = (
        "import time; from retarget.runs.verify import FreshProcess; f = FreshProcess(); "
        "f.start(); print(f._process.pid, flush=True); time.sleep(600)"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.send_signal(signal.SIGKILL)
    parent.communicate()
    for _ in range(600):
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            return
        if Path(f"/proc/{child}/stat").is_file():
            state = Path(f"/proc/{child}/stat").read_text().rsplit(")", 1)[1].split()[0]
            if state == "Z":
                return
        time.sleep(0.1)
    pytest.fail("the fresh process outlived its parent")
