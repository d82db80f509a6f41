"""Small pictures and folders, built in code."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SaveImage = Callable[..., Path]


@pytest.fixture
def save_image(tmp_path: Path) -> SaveImage:
    """Write a random picture below `tmp_path`: `save_image("cats/a.png", seed=1)`."""

    def save(name: str, seed: int = 0, size: tuple[int, int] = (12, 10)) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
        return path

    return save


@pytest.fixture
def two_classes(save_image: SaveImage, tmp_path: Path) -> Path:
    """A folder `cats/` and `dogs/` with three different pictures each."""
    for number, name in enumerate(("cats/a", "cats/b", "cats/c", "dogs/d", "dogs/e", "dogs/f")):
        save_image(f"{name}.png", seed=number)
    return tmp_path


@pytest.fixture(scope="session")
def encoded() -> dict[str, bytes]:
    """A small picture of a gradient with noise, by format, as the bytes of a file."""
    rng = np.random.default_rng(7)
    ramp = np.linspace(0, 255, 40 * 30 * 3).reshape(30, 40, 3)
    pixels = np.clip(ramp + rng.normal(0, 12, ramp.shape), 0, 255).astype(np.uint8)
    image = Image.fromarray(pixels)
    files = {}
    for name in ("JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP", "PPM"):
        stream = io.BytesIO()
        image.save(stream, name)
        files[name] = stream.getvalue()
    stream = io.BytesIO()
    image.save(stream, "JPEG", progressive=True)
    files["JPEG, progressive"] = stream.getvalue()
    stream = io.BytesIO()
    image.save(stream, "TIFF", compression="tiff_lzw")
    files["TIFF, LZW"] = stream.getvalue()
    return files
