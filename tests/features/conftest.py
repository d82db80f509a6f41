"""The small encoder and its tasks, as fixtures."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from retarget.features.store import FeatureStore


def _load() -> ModuleType:
    path = Path(__file__).parent / "tiny.py"
    spec = importlib.util.spec_from_file_location("retarget_tests_tiny", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["retarget_tests_tiny"] = module
    spec.loader.exec_module(module)
    return module


_TINY = _load()


@pytest.fixture(scope="session")
def tiny() -> ModuleType:
    """The module `tiny`: `TinySource`, `pictures`, `make_task`."""
    return _TINY


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    """An empty store."""
    return FeatureStore(tmp_path / "features")
