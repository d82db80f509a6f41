"""The toy problem and the tiny encoders, as fixtures."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


def _load(name: str) -> ModuleType:
    path = Path(__file__).parent / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"retarget_tests_{name}", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[f"retarget_tests_{name}"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def toy() -> ModuleType:
    """The module `toy.py` beside this file."""
    return _load("toy")


@pytest.fixture(scope="session")
def trainable() -> ModuleType:
    """The module `trainable.py`: tiny encoders that can be trained, and subjects for them."""
    return _load("trainable")
