"""Pictures that are in memory already: arrays, tensors, and lists of what a loader reads."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from retarget.core.errors import DataError
from retarget.core.text import count
from retarget.tasks.images import is_picture
from retarget.tasks.pixels import scale_to_bytes, value_range
from retarget.tasks.readers import Asked, Reader, Rows, register_reader
from retarget.tasks.tree import readable


@register_reader
class ArrayReader(Reader):
    """A NumPy array or tensor (n, h, w), (n, h, w, 1|3|4) or (n, 1|3|4, h, w).

    Numbers other than uint8 become pixels by the range of the whole array (see
    `pixels.wide_to_bytes`), so that a dark picture stays dark beside a bright one.
    """

    name = "array"
    rank = 20

    def recognises(self, data: Any, asked: Asked) -> str | None:
        """An array, or what turns into one by `detach` and `numpy` as tensors do."""
        return "it is an array" if _is_array(data) else None

    def read(self, data: Any, asked: Asked) -> Rows:
        """Return the pictures as views where the numbers are bytes already."""
        array = data.detach().cpu().numpy() if hasattr(data, "detach") else np.asarray(data)
        if array.ndim not in (3, 4) or not array.size:
            raise DataError(
                f"An array of shape {array.shape} is not pictures. Give (n, h, w), (n, h, w, 1|3|4)"
                " or (n, 1|3|4, h, w)."
            )
        if array.dtype == np.bool_:
            array = array.astype(np.uint8) * np.uint8(255)
        scaled = ""
        if array.dtype != np.uint8:
            if array.dtype.kind not in "iuf":
                raise DataError(f"An array of {array.dtype} is not pictures. Give numbers.")
            low, high = value_range(array)
            array = np.stack([scale_to_bytes(picture, low, high) for picture in array])
            scaled = f", {low:g} read as black and {high:g} as white"
        return _in_memory(list(array), f"An array of {count(len(array), 'picture')}{scaled}")


@register_reader
class ListReader(Reader):
    """A list of paths, PIL images, arrays or tensors; or one picture file."""

    name = "list"
    rank = 30

    def recognises(self, data: Any, asked: Asked) -> str | None:
        """A list or tuple, or the path of a file that is named like a picture."""
        if isinstance(data, Path):
            return "it is one picture" if data.is_file() and is_picture(data) else None
        return "it is a list" if isinstance(data, (list, tuple)) else None

    def read(self, data: Any, asked: Asked) -> Rows:
        """Return the pictures; paths are taken as they are, also through links."""
        if isinstance(data, Path):
            return _in_memory([data], "One picture")
        if not data:
            raise DataError("The list is empty. Give paths, PIL images, arrays or tensors.")
        return _in_memory(data, f"A list of {count(len(data), 'picture')}")


def as_reference(value: Any) -> Any:
    """Return a value as the loader's reference: text is a path, `{"bytes", "path"}` its part."""
    if isinstance(value, dict):
        value = value.get("bytes") or value.get("path")
    return Path(value).expanduser() if isinstance(value, str) else value


def names_of(references: Sequence[Any]) -> list[str]:
    """Return how a person finds each reference: its path, or `row 17` counting from 0."""
    return [
        readable(str(reference)) if isinstance(reference, Path) else f"row {i}"
        for i, reference in enumerate(references)
    ]


def _in_memory(pictures: Sequence[Any], layout: str) -> Rows:
    references = [as_reference(picture) for picture in pictures]
    return Rows(
        name="data",
        names=names_of(references),
        inputs={"image": references},
        modalities={"image": "image"},
        labels=[None] * len(references),
        layout=layout,
        why="",
    )


def _is_array(data: Any) -> bool:
    return isinstance(data, np.ndarray) or (hasattr(data, "detach") and hasattr(data, "numpy"))
