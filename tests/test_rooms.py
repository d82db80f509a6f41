"""The rooms are in order, and coming in costs next to nothing."""

import importlib.util
import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 0.4
HEAVY = ("torch", "timm", "transformers", "sklearn", "pandas", "scipy", "onnxruntime", "pyarrow")

needs_command_line = pytest.mark.skipif(
    importlib.util.find_spec("retarget.cli") is None, reason="there is no command line yet"
)


def cpu_seconds(*arguments: str) -> float:
    """The least CPU time of three runs of Python: the machine's noise only ever adds."""
    return min(_once(arguments) for _ in range(3))


def _once(arguments: tuple[str, ...]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True, timeout=60)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime - before.ru_utime) + (after.ru_stime - before.ru_stime)


def heavy_after(code: str) -> list[str]:
    """Which heavy packages a fresh process holds after running `code`."""
    told = f"{code}\nimport json, sys; sys.stderr.write(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", told], check=True, capture_output=True, text=True, timeout=60
    )
    loaded = json.loads(done.stderr.splitlines()[-1])
    return sorted({name.split(".")[0] for name in loaded} & set(HEAVY))


HELP = """
import runpy, sys
sys.argv = ["retarget", "--help"]
try:
    runpy.run_module("retarget", run_name="__main__")
except SystemExit as done:
    assert not done.code, done.code
"""


@needs_command_line
def test_a_room_imports_only_from_rooms_below_it() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports as run; exit(run())"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_importing_costs_less_than_400_ms() -> None:
    assert cpu_seconds("-c", "import retarget") < SECONDS


@needs_command_line
def test_help_costs_less_than_400_ms() -> None:
    assert cpu_seconds("-m", "retarget", "--help") < SECONDS


def test_importing_loads_nothing_heavy() -> None:
    assert heavy_after("import retarget") == []


@needs_command_line
def test_help_loads_nothing_heavy() -> None:
    assert heavy_after(HELP) == []


def test_heavy_packages_would_be_noticed() -> None:
    assert heavy_after("import pyarrow") == ["pyarrow"]
