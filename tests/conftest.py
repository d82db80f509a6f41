"""Fixtures for every room: a cache of one's own, and the shared data where it is."""

import os
from pathlib import Path

import pytest


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
