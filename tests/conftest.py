"""Fixtures for every room: a cache of one's own, and the shared data where it is."""

import os
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
