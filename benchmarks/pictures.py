"""Pictures to measure on, made once below a folder: small drawings in 12 classes, large photos."""

import os
import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageEnhance

from retarget.tasks.openmoji import draw_openmoji

SMALL = 256
LARGE = (4000, 3000)
QUALITY = 90
TRAINING_SHARE = 0.75
SENSOR_NOISE = 8.0  # of 255: makes files of 3 MB, as cameras do


@dataclass(frozen=True)
class Made:
    """One picture to make: from what, where to, and the seed of its variation."""

    source: Path
    target: Path
    seed: int


def made_pictures() -> Path:
    """Return the folder where pictures are made and kept (2 GB), below the temporary one."""
    folder = Path(tempfile.gettempdir()) / "retarget-benchmarks"
    folder.mkdir(exist_ok=True)
    return folder


def small_drawings(folder: Path, count: int) -> Path:
    """Return `count` varied drawings of 256 pixels, train and test, from different drawings.

    Each is turned, cropped, recoloured, on a noisy ground of a random colour, as JPEG.
    """
    drawings = sorted(draw_openmoji(folder).glob("t*/*/*.png"))
    order = np.random.default_rng(0).permutation(len(drawings))
    cut = round(TRAINING_SHARE * len(drawings))
    parts = {
        "train": [drawings[i] for i in order[:cut]],
        "test": [drawings[i] for i in order[cut:]],
    }
    return _made(folder / f"drawings-{count}", parts, count, vary)


def large_photos(folder: Path, photos: Path, count: int) -> Path:
    """Return `count` photos of 12 megapixels, from those in `photos`/train and val, as JPEG."""
    parts = {name: sorted((photos / name).glob("*/*.jpg")) for name in ("train", "val")}
    return _made(folder / f"photos-{count}", parts, count, enlarge)


def _made(
    folder: Path, parts: dict[str, list[Path]], count: int, make: Callable[[Made], None]
) -> Path:
    """Make `count` pictures in the parts' proportion, unless they are there."""
    if folder.is_dir():
        return folder
    print(f"  making {folder}", flush=True)
    work = folder.with_suffix(".part")
    shutil.rmtree(work, ignore_errors=True)
    wanted = planned(work, parts, count)
    for place in {item.target.parent for item in wanted}:
        place.mkdir(parents=True)
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for _ in pool.map(make, wanted, chunksize=8):
            pass
    work.replace(folder)
    return folder


def planned(folder: Path, parts: dict[str, list[Path]], count: int) -> list[Made]:
    """Return what is to be made: `folder`/PART/CLASS/N.jpg, sources of a part taken in turn."""
    total = sum(map(len, parts.values()))
    made: list[Made] = []
    for number, (name, sources) in enumerate(parts.items()):
        last = number == len(parts) - 1
        due = count - len(made) if last else round(count * len(sources) / total)
        spread = np.random.default_rng(number).permutation(len(sources)).tolist()
        for i in range(due):
            source = sources[spread[i % len(sources)]]
            target = folder / name / source.parent.name / f"{len(made):05d}.jpg"
            made.append(Made(source, target, len(made)))
    return made


def vary(item: Made) -> None:
    """Make one small drawing."""
    rng = np.random.default_rng(item.seed)
    with Image.open(item.source) as opened:
        drawing = opened.convert("RGB")
    turned = drawing.rotate(rng.uniform(-25, 25), Image.Resampling.BILINEAR, fillcolor="white")
    side = round(SMALL * rng.uniform(0.7, 1.0))
    left, top = rng.integers(0, SMALL - side + 1, size=2).tolist()
    cropped = turned.crop((left, top, left + side, top + side)).resize((SMALL, SMALL))
    coloured = ImageEnhance.Color(cropped).enhance(rng.uniform(0.2, 1.4))
    pixels = np.asarray(coloured, np.float32) * rng.uniform(0.5, 1.0, size=3)
    noisy = pixels + rng.normal(0, 14, size=pixels.shape)
    _save(noisy, item.target)


def enlarge(item: Made) -> None:
    """Make one large photo: a crop of a real one, turned over by chance, with a camera's noise."""
    rng = np.random.default_rng(item.seed)
    with Image.open(item.source) as opened:
        photo = opened.convert("RGB")
    if rng.random() < 0.5:
        photo = photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    width, height = (round(side * rng.uniform(0.9, 1.0)) for side in photo.size)
    left = int(rng.integers(0, photo.width - width + 1))
    top = int(rng.integers(0, photo.height - height + 1))
    photo = photo.crop((left, top, left + width, top + height))
    large = np.asarray(photo.resize(LARGE, Image.Resampling.BICUBIC), np.int16)
    noise = np.roll(_noise(), tuple(rng.integers(0, 2000, size=2)), axis=(0, 1))
    _save(large + noise, item.target)


@cache
def _noise() -> npt.NDArray[np.int16]:
    shape = (LARGE[1], LARGE[0], 3)
    drawn = np.random.default_rng(0).standard_normal(shape, np.float32)
    return (SENSOR_NOISE * drawn).round().astype(np.int16)


def _save(pixels: npt.NDArray[np.generic], target: Path) -> None:
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(target, quality=QUALITY)
