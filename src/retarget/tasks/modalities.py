"""Loaders by modality: how a reference to one example's input becomes the input."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retarget.core.errors import UsageError
from retarget.core.types import Modality
from retarget.tasks.images import identify_image, load_image, measure_image
from retarget.tasks.pictures import keep_image, small_jpeg


@dataclass(frozen=True)
class Loader:
    """How one modality is read.

    Attributes:
        load: (reference, detail) → the input; raises `UnreadableInput`.
        identify: reference → content hash, 32 hexadecimal digits; raises `UnreadableInput`.
        keep: (reference, destination without suffix) → a file that holds the whole input.
        picture: (reference, side) → JPEG for a report, `None` where there is nothing to see.
        measure: reference → sizes by name and unit; raises `UnreadableInput`.
    """

    load: Callable[[Any, int], Any]
    identify: Callable[[Any], str]
    keep: Callable[[Any, Path], Path]
    picture: Callable[[Any, int], bytes | None]
    measure: Callable[[Any], dict[str, float]]


LOADERS: dict[Modality, Loader] = {
    "image": Loader(load_image, identify_image, keep_image, small_jpeg, measure_image)
}


def load(modality: Modality, reference: Any, detail: int = 0) -> Any:
    """Return the input that `reference` stands for: an RGB `PIL.Image` for images.

    `detail` is the shorter side in pixels below which nothing is lost; 0 loads everything.
    Raises `UnreadableInput` with the reason.
    """
    return _loader(modality).load(reference, detail)


def identify(modality: Modality, reference: Any) -> str:
    """Return the content hash of what `reference` stands for. Raises `UnreadableInput`."""
    return _loader(modality).identify(reference)


def keep(modality: Modality, reference: Any, destination: Path) -> Path:
    """Return a file that holds the whole input, written to `destination` if there is none yet."""
    return _loader(modality).keep(reference, destination)


def picture(modality: Modality, reference: Any, side: int) -> bytes | None:
    """Return a JPEG of at most `side` pixels a side for a report, `None` for what has no look."""
    return _loader(modality).picture(reference, side)


def measure(modality: Modality, reference: Any) -> dict[str, float]:
    """Return the sizes of an input by name and unit. Raises `UnreadableInput`."""
    return _loader(modality).measure(reference)


def _loader(modality: Modality) -> Loader:
    if modality not in LOADERS:
        known = ", ".join(sorted(LOADERS))
        raise UsageError(f"Inputs of modality {modality!r} can't be read yet. Readable: {known}.")
    return LOADERS[modality]
