"""The small encoder and its tasks, as fixtures."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from retarget.features.store import FeatureStore


def _load(name: str) -> ModuleType:
    path = Path(__file__).parent / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"retarget_tests_{name}", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[f"retarget_tests_{name}"] = module
    spec.loader.exec_module(module)
    return module


_TINY = _load("tiny")


@pytest.fixture(scope="session")
def tiny() -> ModuleType:
    """The module `tiny`: `TinySource`, `pictures`, `make_task`."""
    return _TINY


@pytest.fixture(scope="session")
def halves() -> ModuleType:
    """The module `halves`: an encoder that can be cut, `inputs_of`, `activations`."""
    return _load("halves")


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    """An empty store."""
    return FeatureStore(tmp_path / "features")
