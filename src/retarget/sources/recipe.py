"""`Recipe`: how a picture becomes a model's input: resize, crop, normalise, in PIL and NumPy."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from retarget.core.errors import SourceError
from retarget.core.types import FloatArray

if TYPE_CHECKING:
    from PIL import Image

Resize = Literal["shorter", "cover", "contain", "exact"]
Offset = Literal["round", "floor"]
Interpolation = Literal["nearest", "bilinear", "bicubic", "box", "hamming", "lanczos"]

MAX_SIDE = 8192
DETAIL = 640

# Augmentation at strength 1: the least share of a view, its aspect, and the change of colours.
LEAST_SHARE = 0.35
ASPECT = 4 / 3
JITTER = 0.3
GREY = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class Recipe:
    """Evaluation preprocessing of pictures, exact to the pixel.

    For an RGB picture of height H and width W:

    1. Resize with PIL's `Image.resize` under `interpolation`, to (height, width) =
       - `shorter`: the shorter side becomes s = `to[0]`, the longer int(s · longer / shorter);
       - `cover`: round(H / r), round(W / r) with r = min(H / to[0], W / to[1]);
       - `contain`: the same with r = max(…);
       - `exact`: `to`.
    2. Where a side is shorter than `size`, pad with `fill`: ⌊d / 2⌋ before and ⌊(d + 1) / 2⌋ after,
       d being what is missing.
    3. Cut `size` from the middle. The first row kept is e / 2 with e the rows too many, rounded to
       the nearest even for `round`, down for `floor`; likewise for columns.
    4. (value / 255 − mean) / std per channel, channels first, float32.

    Attributes:
        size: (h, w) of the result.
        resize: how step 1 chooses its size.
        to: (h, w) of step 1.
        offset: how step 3 rounds.
        fill: (r, g, b), 0 to 255, of step 2.
        interpolation: PIL's resampling filter.
        mean: (3,) of 0 to 1.
        std: (3,) of 0 to 1, above zero.
    """

    size: tuple[int, int]
    resize: Resize
    to: tuple[int, int]
    interpolation: Interpolation
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    offset: Offset = "round"
    fill: tuple[int, int, int] = (0, 0, 0)

    def apply(self, picture: "Image.Image") -> FloatArray:
        """Return an RGB picture as (3, h, w) float32."""
        from PIL import Image

        if picture.mode != "RGB":
            picture = picture.convert("RGB")
        height, width = self.resized(picture.height, picture.width)
        if (width, height) != picture.size:
            method = Image.Resampling[self.interpolation.upper()]
            picture = picture.resize((width, height), method)
        return self._normalised(_middle(picture, self.size, self.offset, self.fill))

    def augment(
        self, picture: "Image.Image", random: np.random.Generator, strength: float
    ) -> FloatArray:
        """Return an RGB picture as (3, h, w) float32, changed at random as for training.

        A part of the picture, of 1 − 0.65 · strength to all of the area that `apply` keeps and of
        an aspect within 3/4 to 4/3 of its, is resized to the input's size; flipped left to right
        half of the time; its brightness, contrast and saturation change by up to 30% · strength.
        `strength` is from 0, which is `apply`, to 1. Takes eight numbers from `random`.
        """
        from PIL import Image

        drawn = random.random(8)
        if not strength:
            return self.apply(picture)
        if picture.mode != "RGB":
            picture = picture.convert("RGB")
        box = self._part(picture.height, picture.width, drawn[:4], strength)
        method = Image.Resampling[self.interpolation.upper()]
        if self.resize == "contain":
            part = picture.crop((int(box[0]), int(box[1]), math.ceil(box[2]), math.ceil(box[3])))
            height, width = self.resized(part.height, part.width)
            view = part.resize((width, height), method)
        else:
            view = picture.resize((self.size[1], self.size[0]), method, box=box)
        if drawn[4] < 0.5:
            view = view.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        view = _recoloured(view, 1 + JITTER * strength * (2 * drawn[5:] - 1))
        return self._normalised(_middle(view, self.size, self.offset, self.fill))

    def _part(
        self, height: int, width: int, drawn: FloatArray, strength: float
    ) -> tuple[float, float, float, float]:
        """Return the box (left, top, right, bottom) of a view, from four numbers of 0 to 1."""
        high, wide = float(height), float(width)
        if self.resize in ("shorter", "cover"):  # which keep the middle, of the input's aspect
            shape = self.size[1] / self.size[0]
            high, wide = min(high, wide / shape), min(wide, high * shape)
        share = 1 - (1 - LEAST_SHARE) * strength * float(drawn[0])
        aspect = ASPECT ** (strength * (2 * float(drawn[1]) - 1))
        high = min(float(height), max(1.0, high * math.sqrt(share / aspect)))
        wide = min(float(width), max(1.0, wide * math.sqrt(share * aspect)))
        left, top = (width - wide) * float(drawn[2]), (height - high) * float(drawn[3])
        return left, top, min(left + wide, float(width)), min(top + high, float(height))

    def scaled(self, side: int) -> "Recipe":
        """Return the recipe for inputs whose longer side is `side`, all else in proportion."""
        factor = side / max(self.size)
        size, to = (
            (max(1, round(pair[0] * factor)), max(1, round(pair[1] * factor)))
            for pair in (self.size, self.to)
        )
        return replace(self, size=size, to=to)

    def _normalised(self, picture: "Image.Image") -> FloatArray:
        pixels = np.asarray(picture)
        table = self._table()
        return np.stack([table[c].take(pixels[:, :, c]) for c in range(3)])

    def resized(self, height: int, width: int) -> tuple[int, int]:
        """Return (height, width) after step 1, at least one pixel each."""
        if self.resize == "exact":
            return self.to
        if self.resize == "shorter":
            long = int(self.to[0] * max(height, width) / min(height, width))
            return (self.to[0], long) if height <= width else (long, self.to[0])
        ratios = (height / self.to[0], width / self.to[1])
        ratio = min(ratios) if self.resize == "cover" else max(ratios)
        return max(1, round(height / ratio)), max(1, round(width / ratio))

    def _table(self) -> FloatArray:
        """Return (3, 256) float32: what each value of each channel becomes."""
        values = np.arange(256, dtype=np.float32) / np.float32(255)
        mean = np.array(self.mean, dtype=np.float32)[:, None]
        std = np.array(self.std, dtype=np.float32)[:, None]
        return np.asarray((values - mean) / std)

    @property
    def detail(self) -> int:
        """Pixels of the shorter side worth decoding: twice the input, rounded up to 640 · 2^k,
        so that encoders of like size share one decoding."""
        wanted = 2 * max(self.size)
        return int(DETAIL * 2 ** max(0, math.ceil(math.log2(wanted / DETAIL))))

    def record(self) -> dict[str, Any]:
        """Return the recipe, JSON-able."""
        return {
            "size": list(self.size),
            "resize": {"how": self.resize, "to": list(self.to)},
            "crop": {"offset": self.offset, "fill": list(self.fill)},
            "interpolation": self.interpolation,
            "mean": list(self.mean),
            "std": list(self.std),
        }

    @classmethod
    def from_record(cls, record: Any) -> "Recipe":
        """Return the recipe that `record()` described. Raises `SourceError`."""
        try:
            return _read(record)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise SourceError(
                f"The preprocessing recorded for a source is not valid ({error})."
            ) from error


def _middle(
    picture: "Image.Image", size: tuple[int, int], offset: Offset, fill: tuple[int, int, int]
) -> "Image.Image":
    """Pad and cut the middle of `size` (h, w) out of a picture (steps 2 and 3)."""
    from PIL import Image

    height, width = size
    missing = (max(0, height - picture.height), max(0, width - picture.width))
    if any(missing):
        wide = (picture.width + missing[1], picture.height + missing[0])
        padded = Image.new("RGB", wide, fill)
        padded.paste(picture, (missing[1] // 2, missing[0] // 2))
        picture = padded
    down, right = picture.height - height, picture.width - width
    if not down and not right:
        return picture
    top, left = (
        (round(down / 2), round(right / 2)) if offset == "round" else (down // 2, right // 2)
    )
    return picture.crop((left, top, left + width, top + height))


def _recoloured(picture: "Image.Image", factors: FloatArray) -> "Image.Image":
    """Scale a picture's brightness, contrast (about its mean grey) and saturation, in one pass."""
    brightness, contrast, saturation = (float(factor) for factor in factors)
    mean = float(np.asarray(picture).mean(axis=(0, 1)) @ GREY)
    offset = brightness * (1 - contrast) * mean
    matrix: list[float] = []
    for channel in range(3):
        row = [(1 - saturation) * grey for grey in GREY]
        row[channel] += saturation
        matrix += [brightness * contrast * value for value in row] + [offset]
    return picture.convert("RGB", tuple(matrix))


def _read(record: Mapping[str, Any]) -> Recipe:
    expected = {"size", "resize", "crop", "interpolation", "mean", "std"}
    if not isinstance(record, dict) or set(record) != expected:
        raise ValueError(f"expected the fields {', '.join(sorted(expected))}")
    resize, crop = record["resize"], record["crop"]
    if set(resize) != {"how", "to"} or set(crop) != {"offset", "fill"}:
        raise ValueError("unknown fields in resize or crop")
    std = _numbers(record["std"], 3, 1e-6, 1e6)
    mean = _numbers(record["mean"], 3, -1e6, 1e6)
    size, to = _integers(record["size"], 2, 1, MAX_SIDE), _integers(resize["to"], 2, 1, MAX_SIDE)
    fill = _integers(crop["fill"], 3, 0, 255)
    return Recipe(
        size=(size[0], size[1]),
        resize=_one_of(resize["how"], Resize),
        to=(to[0], to[1]),
        interpolation=_one_of(record["interpolation"], Interpolation),
        mean=(mean[0], mean[1], mean[2]),
        std=(std[0], std[1], std[2]),
        offset=_one_of(crop["offset"], Offset),
        fill=(fill[0], fill[1], fill[2]),
    )


def _one_of(value: Any, choices: Any) -> Any:
    if value not in get_args(choices):
        raise ValueError(f"{value!r} is none of {', '.join(get_args(choices))}")
    return value


def _integers(values: Any, length: int, low: int, high: int) -> list[int]:
    whole = isinstance(values, list) and all(type(v) is int for v in values)
    if not whole or len(values) != length or not all(low <= v <= high for v in values):
        raise ValueError(f"{values!r} is not {length} whole numbers from {low} to {high}")
    return list(values)


def _numbers(values: Any, length: int, low: float, high: float) -> list[float]:
    real = isinstance(values, list) and all(type(v) in (int, float) for v in values)
    if not real or len(values) != length or not all(low <= v <= high for v in values):
        raise ValueError(f"{values!r} is not {length} numbers from {low} to {high}")
    return [float(v) for v in values]
