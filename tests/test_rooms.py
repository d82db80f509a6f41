"""The rooms are in order, and coming in costs next to nothing."""

import ast
import importlib.util
import json
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from retarget.core.types import Modality

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 0.4
HEAVY = ("torch", "timm", "transformers", "sklearn", "pandas", "scipy", "onnxruntime", "pyarrow")

MODALITIES = get_args(Modality)
# These may know what an input is; `core/types.py` lists what there is, `cli/demo.py` two demos.
MAY_ASK = ("tasks/", "sources/", "reports/", "core/types.py", "cli/demo.py")
# Files of a room that are about one modality.
OF_ONE = {
    "sources": {
        *("text_intake", "text_example", "text_encoder", "text_folder", "text_pooling"),
        *("hf_text", "hf_folder", "hf_heads", "static_encoder", "tokenizing", "windows"),
        *("picture_intake", "pixel_encoder", "pixels", "recipe"),
    },
    # Any table or list of paths has an encoding, and words are what tagging predicts for.
    "tasks": {
        *("texts", "text_corruptions", "text_files", "text_folder", "text_tables"),
        *("shingles", "parts", "word_parts"),
        *("images", "pictures", "picture_corruptions", "pixels", "folder", "openmoji"),
    },
}
NAMED = ("text", "picture", "pixel", "image", "shingle")

needs_command_line = pytest.mark.skipif(
    importlib.util.find_spec("retarget.cli") is None, reason="there is no command line yet"
)


def cpu_seconds(*arguments: str) -> float:
    """The least CPU time of three runs of Python: the machine's noise only ever adds."""
    return min(_once(arguments) for _ in range(3))


def _once(arguments: tuple[str, ...]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True, timeout=300)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime - before.ru_utime) + (after.ru_stime - before.ru_stime)


def heavy_after(code: str) -> list[str]:
    """Which heavy packages a fresh process holds after running `code`."""
    told = f"{code}\nimport json, sys; sys.stderr.write(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", told], check=True, capture_output=True, text=True, timeout=300
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
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def asks(code: str) -> Iterator[str]:
    """Give where code names a modality, or imports what is of one alone."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Constant) and node.value in MODALITIES:
            yield f"line {node.lineno}: {node.value!r}"
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names = [one.name for one in node.names]
            module = getattr(node, "module", None)
            for path in [f"{module}.{name}" for name in names] if module else names:
                parts = path.split(".")
                room = parts[1] if parts[0] == "retarget" and len(parts) > 2 else ""
                if parts[0] in ("PIL", "tokenizers") or set(parts[2:]) & OF_ONE.get(room, set()):
                    yield f"line {node.lineno}: import of {path}"


def test_no_room_but_three_asks_what_an_input_is() -> None:
    package = ROOT / "src" / "retarget"
    found = [
        f"{name}, {where}"
        for path in sorted(package.rglob("*.py"))
        if not (name := path.relative_to(package).as_posix()).startswith(MAY_ASK)
        for where in asks(path.read_text(encoding="utf-8"))
    ]
    assert found == []


@pytest.mark.parametrize(
    "code",
    [
        'EXPORTS = {"text": 1}',
        'facts.modality == "image"',
        "from retarget.sources.text_encoder import TextEncoder",
        "from retarget.tasks import images",
        "from retarget.tasks.text_files import read_files",
        "import retarget.tasks.shingles",
        "from PIL import Image",
    ],
)
def test_asking_would_be_noticed(code: str) -> None:
    assert list(asks(code))


def test_files_named_after_a_modality_are_known_to_be_of_it() -> None:
    package = ROOT / "src" / "retarget"
    for room, known in OF_ONE.items():
        names = {path.stem for path in (package / room).glob("*.py")}
        assert known <= names
        assert {name for name in names if name.startswith(NAMED)} <= known


def is_quick(*arguments: str) -> bool:
    """Whether Python takes 400 ms of CPU time, or on a slow machine four times NumPy's import."""
    taken = cpu_seconds(*arguments)
    return taken < SECONDS or taken < 4 * cpu_seconds("-c", "import numpy")


def test_importing_costs_less_than_400_ms() -> None:
    assert is_quick("-c", "import retarget")


@needs_command_line
def test_help_costs_less_than_400_ms() -> None:
    assert is_quick("-m", "retarget", "--help")


def test_importing_loads_nothing_heavy() -> None:
    assert heavy_after("import retarget") == []


@needs_command_line
def test_help_loads_nothing_heavy() -> None:
    assert heavy_after(HELP) == []


def test_heavy_packages_would_be_noticed() -> None:
    assert heavy_after("import pyarrow") == ["pyarrow"]
