"""Numbers as 8-bit pixels: which range of a picture's numbers is black to white."""

from typing import Any

import numpy as np
from PIL import Image

from retarget.core.errors import UnreadableInput

_DEPTHS = (8, 10, 12, 14, 16)
_CHANNELS = (1, 3, 4)

AnyArray = np.ndarray[Any, Any]


def wide_to_bytes(array: AnyArray) -> AnyArray:
    """Return numbers of any type as uint8, by the range they use.

    Whole numbers without a sign: the smallest of 8, 10, 12, 14 and 16 bits that holds the
    largest is the range, so that a 12-bit camera's picture in a 16-bit file is not dark.
    Fractions from 0 to 1: times 255. Fractions from 0 to 255: as they are. Anything else, negative
    numbers among it: from its least to its greatest finite number. What is not finite is black.
    """
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * np.uint8(255)
    low, high = value_range(array)
    return scale_to_bytes(array, low, high)


def value_range(array: AnyArray) -> tuple[float, float]:
    """Return the numbers that become black and white, as `wide_to_bytes` says."""
    if array.dtype.kind not in "iuf":
        raise UnreadableInput(f"holds {array.dtype} and not numbers that could be pixels")
    if array.dtype.kind == "f":
        finite = array[np.isfinite(array)]
        if not finite.size:
            return 0.0, 1.0
        least, most = float(finite.min()), float(finite.max())
        if least >= 0 and most <= 255:
            return 0.0, 1.0 if most <= 1 else 255.0
        return least, most
    least, most = float(array.min()), float(array.max())
    if least < 0 or most >= 2**16:
        return least, most
    return 0.0, float(next(2**depth - 1 for depth in _DEPTHS if most < 2**depth))


def scale_to_bytes(array: AnyArray, low: float, high: float) -> AnyArray:
    """Return uint8 with `low` at 0 and `high` at 255, rounded, cut off outside."""
    scaled = (array.astype(np.float64) - low) * (255.0 / max(high - low, 1e-300))
    scaled = np.nan_to_num(scaled, nan=0.0, posinf=0.0, neginf=0.0)
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)


def channels_last(array: AnyArray) -> AnyArray:
    """Return (h, w) or (h, w, 1|3|4), given that or (1|3|4, h, w).

    Where both could be meant, the channels are taken to be last.
    """
    if array.ndim == 2:
        return array
    if array.ndim == 3 and array.shape[2] in _CHANNELS:
        return array
    if array.ndim == 3 and array.shape[0] in _CHANNELS:
        return np.moveaxis(array, 0, 2)
    raise UnreadableInput(
        f"has shape {array.shape}; a picture is (h, w), (h, w, 1|3|4) or (1|3|4, h, w)"
    )


def array_to_image(array: AnyArray) -> Image.Image:
    """Return an array in any layout and range as an RGB image; alpha is laid on white."""
    if not array.size:
        raise UnreadableInput(f"has shape {array.shape} and so no pixels")
    pixels = np.ascontiguousarray(wide_to_bytes(channels_last(array)))
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    image = Image.fromarray(pixels)
    if image.mode != "RGBA":
        return image.convert("RGB")
    white = Image.new("RGBA", image.size, "white")
    white.alpha_composite(image)
    return white.convert("RGB")
