"""Inputs that are in memory already: arrays, tensors, and lists of what a loader reads."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from retarget.core.errors import DataError
from retarget.core.text import count
from retarget.core.types import Modality
from retarget.tasks.images import SUFFIXES as PICTURES
from retarget.tasks.images import is_picture
from retarget.tasks.modalities import LOADERS
from retarget.tasks.opened import Opened
from retarget.tasks.pixels import scale_to_bytes, value_range
from retarget.tasks.readers import Asked, Reader, Rows, register_reader
from retarget.tasks.text_files import read_files
from retarget.tasks.texts import SUFFIXES as TEXTS
from retarget.tasks.tree import readable
from retarget.tasks.words import Worded

_LOOKED_AT = 1000
_LONGEST_PATH = 4096


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
        return "it is an array" if _is_array(data) and not _is_column(data) else None

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
        layout = f"An array of {count(len(array), 'picture')}{scaled}"
        return _in_memory(list(array), layout, "image")


@register_reader
class ListReader(Reader):
    """A list of paths, PIL images, arrays or tensors, or of texts; or one picture or text file."""

    name = "list"
    rank = 30

    def recognises(self, data: Any, asked: Asked) -> str | None:
        """A list, tuple or series, or the path of a file that is named like a picture or text."""
        if isinstance(data, Path):
            if data.is_file() and data.suffix.lower() in TEXTS:
                return "it is one text"
            return "it is one picture" if data.is_file() and is_picture(data) else None
        if _is_column(data):
            return "it is a list"
        return "it is a list" if isinstance(data, (list, tuple)) else None

    def read(self, data: Any, asked: Asked) -> Rows:
        """Return the inputs; paths are taken as they are, also through links."""
        if isinstance(data, Path):
            modality = modality_of([data])
            noun = LOADERS[modality].noun
            return _in_memory([data], f"One {noun}", modality, asked.encoding)
        values = list(data.tolist() if isinstance(data, np.ndarray) else data)
        if not values:
            raise DataError("The list is empty. Give texts, paths, PIL images, arrays or tensors.")
        modality = modality_of(values)
        if modality == "text" and all(isinstance(value, str) for value in values):
            values = _paths_of_texts(values)
        layout = f"A list of {count(len(values), LOADERS[modality].noun)}"
        return _in_memory(values, layout, modality, asked.encoding)


def modality_of(values: Sequence[Any]) -> Modality:
    """Return what values handed in memory are: "text" or "image".

    Texts are lists of strings (pairs, or the tokens of a sentence), texts with words, `.txt`
    files, and strings, unless most of these name existing files or end like a picture's name:
    then they are paths. The first thousand decide, and a list of several kinds of thing is what
    most of them are.
    """
    looked = values[:_LOOKED_AT]
    return "text" if 2 * sum(map(_is_text, looked)) > len(looked) else "image"


def references_of(modality: Modality, values: Iterable[Any]) -> list[Any]:
    """Return values handed in memory as references of a modality that is known.

    Where texts are read, a string is a text, whatever it names: only a `Path` is opened.
    """
    refer = LOADERS[modality].refer
    return [refer(value) for value in values]


def rows_to_tag(texts: Sequence[Any], targets: Sequence[Any]) -> Rows:
    """Return texts, or lists of tokens, with their spans or tags, as a reader would."""
    return Rows(
        name="what was given",
        names=names_of(texts),
        inputs={"text": list(texts)},
        modalities={"text": "text"},
        labels=list(targets),
        kind="tagging",
    )


def names_of(references: Sequence[Any]) -> list[str]:
    """Return how a person finds each reference: its path, or `row 17` counting from 0."""
    return [
        readable(str(reference)) if isinstance(reference, Path) else f"row {i}"
        for i, reference in enumerate(references)
    ]


def _in_memory(
    values: Sequence[Any], layout: str, modality: Modality, encoding: str | None = None
) -> Rows:
    references = references_of(modality, values)
    names = names_of(references)
    texts = Opened(references)
    if modality == "text":
        texts = read_files(references, names, encoding)
    return Rows(
        name="data",
        names=names,
        inputs={modality: texts.inputs},
        modalities={modality: modality},
        labels=[None] * len(references),
        problems=texts.problems,
        layout=layout,
        why="",
        read_as=texts.read_as,
    )


def _is_text(value: Any) -> bool:
    if isinstance(value, Path):
        return value.suffix.lower() in TEXTS
    if isinstance(value, (list, tuple)):
        return len(value) > 0 and all(isinstance(one, str) for one in value)
    if isinstance(value, str):
        return not _names_picture(value)
    return isinstance(value, Worded)


def _names_picture(text: str) -> bool:
    """Whether a string ends like a picture's name, or names an existing file that is no text."""
    # No path is so long, nor has it lines.
    if len(text) > _LONGEST_PATH or "\n" in text or "\0" in text:
        return False
    ending = os.path.splitext(text)[1].lower()  # noqa: PTH122 - a Path for each of very many costs seconds
    return ending in PICTURES or (ending not in TEXTS and os.path.isfile(text))  # noqa: PTH113 - see above


def _paths_of_texts(values: Sequence[str]) -> list[Any]:
    """Return strings as paths where all of them name files of texts."""
    named = all(
        len(value) <= _LONGEST_PATH and value.lower().endswith(tuple(TEXTS)) and "\0" not in value
        for value in values
    )
    return [Path(value).expanduser() for value in values] if named else list(values)


def _is_column(data: Any) -> bool:
    """Whether data is one column of a frame, or an array of strings."""
    if isinstance(data, np.ndarray):
        return data.dtype.kind in "OU" and (data.ndim == 1 or data.shape[1:] == (2,))
    home = type(data).__module__.partition(".")[0]
    return home in ("pandas", "polars") and not hasattr(data, "columns")


def _is_array(data: Any) -> bool:
    return isinstance(data, np.ndarray) or (hasattr(data, "detach") and hasattr(data, "numpy"))
