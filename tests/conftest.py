"""Fixtures for every room: a cache of one's own, and the shared data where it is."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

# Where a red run would block others, examples are the same every time; elsewhere they are new.
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")

TINY = "random:resnet10t"


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Point the cache at an empty folder, and keep hubs out of reach."""
    cache = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("RETARGET_CACHE", str(cache))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return cache


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data for tests: `RETARGET_DATA`, else `../shared/data`."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("RETARGET_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}: set RETARGET_DATA")
    return folder


@pytest.fixture(scope="session")
def draw_pictures() -> Callable[..., Path]:
    """Give a maker of picture folders: two classes that differ in brightness and texture."""

    def draw(folder: Path, split: str = "", each: int = 14, seed: int = 0) -> Path:
        from PIL import Image

        generator = np.random.default_rng(seed)
        for label, level in (("dark", 70), ("light & <b>bold<b>", 170)):
            place = folder / split / label
            place.mkdir(parents=True, exist_ok=True)
            for i in range(each):
                noise = generator.normal(level, 45, size=(40, 48, 3))
                pixels = np.clip(noise + generator.normal(0, 25), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(place / f"{seed}-{i}.png")
        return folder

    return draw


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory, draw_pictures: Callable[..., Path]) -> Path:
    """Return a folder with train and test pictures of two classes, one of them broken."""
    folder = tmp_path_factory.mktemp("data") / "pictures"
    draw_pictures(folder, "train", 14, seed=1)
    draw_pictures(folder, "test", 8, seed=2)
    (folder / "train" / "dark" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 not a picture")
    return folder


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory, pictures: Path) -> Path:
    """Return the directory of one small run, made once for all tests that only read it."""
    from retarget import api

    patch = pytest.MonkeyPatch()
    patch.setenv("RETARGET_CACHE", str(tmp_path_factory.mktemp("run-cache")))
    try:
        folder = tmp_path_factory.mktemp("runs") / "run"
        api.fit(pictures, sources=[TINY], out=str(folder), engine="eager")
        return folder
    finally:
        patch.undo()


@pytest.fixture
def together(tmp_path: Path) -> Callable[[str], list[dict[str, object]]]:
    """Give a runner of code in two processes of one run, on the CPU.

    The code puts what it found into the dictionary `found`; the runner returns both dictionaries,
    with the exit status under `status` and the text of errors under `errors`.
    """

    def run(code: str) -> list[dict[str, object]]:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = str(probe.getsockname()[1])
        started = []
        for rank in ("0", "1"):
            told = tmp_path / f"told-{rank}.json"
            whole = f"import json\nfound = {{}}\n{code}\njson.dump(found, open({str(told)!r}, 'w'))"
            place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
            meet = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
            process = subprocess.Popen(
                [sys.executable, "-c", whole],
                env={**os.environ, **place, **meet, "ACCELERATE_USE_CPU": "true"},
                stderr=subprocess.PIPE,
                text=True,
            )
            started.append((process, told))
        results = []
        for process, told in started:
            errors = process.communicate(timeout=120)[1]
            found = json.loads(told.read_text()) if told.is_file() else {}
            results.append({**found, "status": process.returncode, "errors": errors})
        return results

    return run
