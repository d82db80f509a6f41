"""The tasks on which the rule for choosing among frozen features is settled.

None of them is used by `benchmarks/medical.py`, which judges what was settled. Several tasks share
pictures: what helps depends on the question as much as on the pictures.
"""

import csv
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from data import real_data
from retarget.core.paths import cache_dir
from retarget.tasks.open import open_task
from retarget.tasks.openmoji import draw_openmoji
from retarget.tasks.task import Task

DIGITS = 1000
CELLS_A_CLASS = 300
Corners = tuple[int, int, int, int]
SIDES = ("xmin", "ymin", "xmax", "ymax")
GROWN = ("animal-bird", "animal-mammal", "drink", "food-fruit", "food-prepared")


def photos() -> Task | None:
    """Ants or bees."""
    folder = real_data("ants-bees")
    return open_task(folder) if folder else None


def drawings() -> Task | None:
    """One style of drawings, 12 classes."""
    folder = real_data("drawn-styles/google")
    return open_task(folder) if folder else None


def chest_views() -> Task | None:
    """From front or back, where that is known."""
    return _chest("view")


def chest_sites() -> Task | None:
    """Which of three collections a chest X-ray is from."""
    return _chest("domain")


def cells() -> Task | None:
    """Which of three kinds of blood cell is in a box."""
    folder = real_data("blood-cells")
    if folder is None:
        return None
    boxes = [box for path in sorted(folder.glob("annotations/*.xml")) for box in _boxes(path)]
    rng = np.random.default_rng(0)
    kept: list[tuple[Path, str, Corners]] = []
    for name in sorted({name for _, name, _ in boxes}):
        own = [box for box in boxes if box[1] == name]
        kept += [own[i] for i in sorted(rng.permutation(len(own))[:CELLS_A_CLASS])]
    return open_task(
        [Image.open(path).crop(corners) for path, _, corners in kept],
        [name for _, name, _ in kept],
        groups=[path.stem for path, _, _ in kept],
        kind="classification",
    )


def digits() -> Task:
    """Ten handwritten digits of 8 × 8 pixels."""
    pictures, values = _digits()
    return open_task(pictures, values, kind="classification")


def odd_digits() -> Task:
    """Whether a handwritten digit is odd: classes of several looks each."""
    pictures, values = _digits()
    odd = ["odd" if int(value) % 2 else "even" for value in values]
    return open_task(pictures, odd, kind="classification")


def emoji() -> Task:
    """The demo's drawings, 12 classes."""
    paths = _emoji()
    return open_task(paths, [path.parent.name for path in paths], kind="classification")


def grown_emoji() -> Task:
    """Whether an emoji shows what grew, or is eaten, or what was made."""
    paths = _emoji()
    labels = ["grown" if path.parent.name in GROWN else "made" for path in paths]
    return open_task(paths, labels, kind="classification")


TASKS: dict[str, Callable[[], Task | None]] = {
    "photos": photos,
    "drawings": drawings,
    "chest views": chest_views,
    "chest sites": chest_sites,
    "cells": cells,
    "digits": digits,
    "odd digits": odd_digits,
    "emoji": emoji,
    "grown emoji": grown_emoji,
}


def _chest(column: str) -> Task | None:
    folder = real_data("medical/cxr-covid-sites")
    if folder is None:
        return None
    with (folder / "manifest.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row[column]]
    return open_task(
        [folder / row["image"] for row in rows],
        [row[column] for row in rows],
        groups=[row["group"] for row in rows],
        kind="classification",
    )


def _boxes(path: Path) -> list[tuple[Path, str, Corners]]:
    """Return (picture, class, corners) of the boxes of one VOC file that hold anything."""
    picture = path.parents[1] / "images" / f"{path.stem}.jpg"
    found = []
    for box in ElementTree.parse(path).getroot().iter("object") if picture.exists() else ():
        x0, y0, x1, y1 = (
            int(box.findtext(f"bndbox/{k}", "0")) for k in ("xmin", "ymin", "xmax", "ymax")
        )
        if x1 - x0 > 4 and y1 - y0 > 4:
            found.append((picture, box.findtext("name", ""), (x0, y0, x1, y1)))
    return found


def _digits() -> tuple[np.ndarray, list[str]]:
    pictures, values = load_digits(return_X_y=True)
    grey = (pictures[:DIGITS].reshape(-1, 8, 8) * 15.9).astype(np.uint8)
    return grey, [str(value) for value in values[:DIGITS]]


def _emoji() -> list[Path]:
    return sorted(draw_openmoji(cache_dir() / "openmoji").glob("*/*/*.png"))
