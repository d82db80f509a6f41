"""Loaders by modality: how a reference to one example's input becomes the input."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from retarget.core.errors import UsageError
from retarget.core.types import Modality
from retarget.tasks.images import identify_image, load_image


@dataclass(frozen=True)
class Loader:
    """How one modality is read.

    Attributes:
        load: (reference, detail) → the input; raises `UnreadableInput`.
        identify: reference → content hash, 32 hexadecimal digits; raises `UnreadableInput`.
    """

    load: Callable[[Any, int], Any]
    identify: Callable[[Any], str]


LOADERS: dict[Modality, Loader] = {"image": Loader(load_image, identify_image)}


def load(modality: Modality, reference: Any, detail: int = 0) -> Any:
    """Return the input that `reference` stands for: an RGB `PIL.Image` for images.

    `detail` is the shorter side in pixels below which nothing is lost; 0 loads everything.
    Raises `UnreadableInput` with the reason.
    """
    return _loader(modality).load(reference, detail)


def identify(modality: Modality, reference: Any) -> str:
    """Return the content hash of what `reference` stands for. Raises `UnreadableInput`."""
    return _loader(modality).identify(reference)


def _loader(modality: Modality) -> Loader:
    if modality not in LOADERS:
        known = ", ".join(sorted(LOADERS))
        raise UsageError(f"Inputs of modality {modality!r} can't be read yet. Readable: {known}.")
    return LOADERS[modality]
