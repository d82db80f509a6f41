"""What happens to pictures on the way to a model: blur, noise, compression, light, obstacles.

Each takes an RGB picture, a severity from 1 (seen at a second look) to 3 (a person still knows
what it is, most times) and a generator, and returns an RGB picture of the same shape. After
Hendrycks & Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and
Perturbations" (2019), but relative to the picture's shorter side: a large photograph is shrunk
before a model sees it, and damage at the scale of its pixels would be gone by then.
"""

from collections.abc import Callable, Mapping
from io import BytesIO
from math import sqrt
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

Corruption = Callable[[Image.Image, int, np.random.Generator], Image.Image]
Pixels = npt.NDArray[np.float32]  # (h, w, channels)

SIDE = 256
"""Shorter side in pixels of the scale at which noise and compression act; about what models see."""
MOST_PIXELS = 1_000_000
"""Larger pictures are shrunk to this first, which bounds memory and is more than models see."""

_BLUR = (0.005, 0.01, 0.02)  # standard deviation, of the shorter side
_NOISE = (15.0, 30.0, 52.0)  # standard deviation, of 255
_QUALITY = (30, 15, 8)
_EXPOSURE = (1.4, 1.9, 2.6)  # times as bright, or as dark
_CONTRAST = (0.6, 0.4, 0.25)  # what is left
_OBSTACLE = (0.2, 0.35, 0.5)  # side, of the shorter side
_GREY = (128, 128, 128)


def blur(picture: Image.Image, severity: int, random: np.random.Generator) -> Image.Image:
    """Put the picture out of focus."""
    picture = _bounded(picture)
    return picture.filter(ImageFilter.GaussianBlur(_BLUR[severity - 1] * min(picture.size)))


def noise(picture: Image.Image, severity: int, random: np.random.Generator) -> Image.Image:
    """Add what a sensor adds in the dark: normal noise, of one colour for grey pictures."""
    picture = _bounded(picture)
    pixels = _pixels(picture)
    width, height = _at_scale(picture.size)
    grey = bool((pixels[:, :, :1] == pixels).all())
    shape = (height, width, 1 if grey else 3)
    grain = random.standard_normal(shape, np.float32) * np.float32(_NOISE[severity - 1])
    return _picture(pixels + _enlarged(grain, picture.size))


def jpeg(picture: Image.Image, severity: int, random: np.random.Generator) -> Image.Image:
    """Compress as if the picture had been sent as a thumbnail, and add the errors this makes."""
    picture = _bounded(picture)
    thumbnail = picture.resize(_at_scale(picture.size), Image.Resampling.BOX)
    stream = BytesIO()
    thumbnail.save(stream, "JPEG", quality=_QUALITY[severity - 1])
    with Image.open(stream, formats=["JPEG"]) as decoded:
        error = _pixels(decoded) - _pixels(thumbnail)
    return _picture(_pixels(picture) + _enlarged(error, picture.size))


def brightness(picture: Image.Image, severity: int, random: np.random.Generator) -> Image.Image:
    """Expose the picture too long or too short, as the generator decides.

    Too long: shadows gain the whole factor and highlights run together softly, as on film; cutting
    them off would leave nothing of a bright picture.
    """
    factor, longer = _EXPOSURE[severity - 1], random.random() < 0.5
    table = _levels(
        (lambda level: 255 * (1 - (1 - level / 255) ** factor))
        if longer
        else (lambda level: level / factor)
    )
    return _bounded(picture).point(table)


def contrast(picture: Image.Image, severity: int, random: np.random.Generator) -> Image.Image:
    """Draw all levels towards their mean, as fog does."""
    picture = _bounded(picture)
    middle, left = float(np.asarray(picture).mean()), _CONTRAST[severity - 1]
    return picture.point(_levels(lambda level: middle + left * (level - middle)))


def occlusion(picture: Image.Image, severity: int, random: np.random.Generator) -> Image.Image:
    """Hide a square behind grey, anywhere in the picture."""
    picture = _bounded(picture).copy()
    side = max(1, round(_OBSTACLE[severity - 1] * min(picture.size)))
    left, top = (int(random.integers(0, length - side + 1)) for length in picture.size)
    picture.paste(_GREY, (left, top, left + side, top + side))
    return picture


PICTURE_CORRUPTIONS: Mapping[str, Corruption] = {
    "blur": blur,
    "noise": noise,
    "jpeg": jpeg,
    "brightness": brightness,
    "contrast": contrast,
    "occlusion": occlusion,
}


def _bounded(picture: Image.Image) -> Image.Image:
    """Return the picture with at most `MOST_PIXELS`."""
    share = sqrt(MOST_PIXELS / (picture.width * picture.height))
    return picture if share >= 1 else picture.resize(_scaled(picture.size, share))


def _at_scale(size: tuple[int, int]) -> tuple[int, int]:
    """Return the size at which the shorter side has at most `SIDE` pixels."""
    return _scaled(size, min(1.0, SIDE / min(size)))


def _scaled(size: tuple[int, int], share: float) -> tuple[int, int]:
    width, height = (max(1, round(length * share)) for length in size)
    return width, height


def _enlarged(field: Pixels, size: tuple[int, int]) -> Pixels:
    """Return a field (h, w, c) at the size (width, height) of a picture."""
    height, width, channels = field.shape
    if (width, height) == size:
        return field
    planes = [
        np.asarray(Image.fromarray(field[:, :, c]).resize(size, Image.Resampling.BICUBIC))
        for c in range(channels)
    ]
    return np.stack(planes, axis=2)


def _levels(of: Callable[[float], float]) -> list[int]:
    """Return the new level of each level of three channels."""
    return [min(255, max(0, round(of(level)))) for level in range(256)] * 3


def _pixels(picture: Image.Image) -> Pixels:
    return np.asarray(picture, np.float32)


def _picture(pixels: Pixels) -> Image.Image:
    whole: npt.NDArray[Any] = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
    return Image.fromarray(whole)
