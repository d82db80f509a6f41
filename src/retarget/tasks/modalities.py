"""Loaders by modality: how a reference to one example's input becomes the input."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from retarget.core.errors import UsageError
from retarget.core.hashing import hash_bytes, version_of
from retarget.core.text import listed, printable
from retarget.core.types import IntArray, Modality, StrArray
from retarget.tasks.images import identify_image, load_image, measure_image
from retarget.tasks.opened import Opened, left_closed
from retarget.tasks.parts import text_parts
from retarget.tasks.picture_corruptions import PICTURE_CORRUPTIONS
from retarget.tasks.pictures import keep_image, refer_image, small_jpeg
from retarget.tasks.shingles import near_texts
from retarget.tasks.text_corruptions import TEXT_CORRUPTIONS
from retarget.tasks.text_files import read_files
from retarget.tasks.texts import (
    identify_text,
    keep_text,
    line_as_written,
    load_text,
    measure_text,
    no_picture,
    refer_text,
    text_caption,
    text_of_line,
    words_of_text,
)
from retarget.tasks.word_parts import parts_of_words
from retarget.tasks.words import Worded

SEVERITIES = (1, 2, 3)
# Part of the ids of corrupted examples: count up where any corruption comes to do something else.
CORRUPTION_VERSION = 1


@dataclass(frozen=True)
class Loader:
    """How one modality is read. What `load` returns is a reference too, to itself.

    Attributes:
        load: (reference, detail) → the input; raises `UnreadableInput`.
        identify: reference → content hash, 32 hexadecimal digits; raises `UnreadableInput`.
        keep: (reference, destination without suffix) → a file that holds the whole input.
        picture: (reference, side) → JPEG for a report, `None` where there is nothing to see.
        measure: reference → sizes by name and unit; raises `UnreadableInput`.
        corruptions: name → (input, severity from 1 to 3, generator) → the input as it might have
            reached the model in real use; the same kind of thing, also for the strangest input.
        noun: what one input is called.
        version: names what can be read; unreadable inputs are remembered under it.
        refer: value handed in memory → its reference.
        of_line: line of standard input, without its end → the reference that it stands for.
        as_written: the same with every character kept, where places in it are labelled.
        inline: whether such a line is the input itself, not the path of one.
        opened: (references, their names, encoding stated or `None`) → the same, files opened.
        caption: (reference, characters) → what a report shows of it in words.
        near: (n references, their ids) → (p, 2) int64 pairs i < j that are nearly the same and not
            equal; `None` where features must tell (see `neighbours.near_duplicates`).
        parts: input → countable parts by family, such as words; `None` where it has none.
        parts_of_words: input with words → of each word what it looks like and stands beside.
        words: input → the same with its words, or `None` where it is not one text; `None` where
            inputs have no words.
        of_bytes: whether `identify` gives the hash of a file's bytes, which is remembered.
    """

    load: Callable[[Any, int], Any]
    identify: Callable[[Any], str]
    keep: Callable[[Any, Path], Path]
    picture: Callable[[Any, int], bytes | None]
    measure: Callable[[Any], dict[str, float]]
    corruptions: Mapping[str, Callable[[Any, int, np.random.Generator], Any]] = field(
        default_factory=dict
    )
    noun: str = "example"
    version: str = "1"
    refer: Callable[[Any], Any] = lambda value: value
    of_line: Callable[[str], Any] = Path
    as_written: Callable[[str], Any] = Path
    inline: bool = False
    opened: Callable[[Sequence[Any], Sequence[str], str | None], Opened] = left_closed
    caption: Callable[[Any, int], str] = lambda reference, limit: ""
    near: Callable[[Sequence[Any], StrArray], IntArray] | None = None
    parts: Callable[[Any], Mapping[str, list[str]]] | None = None
    parts_of_words: Callable[[Any], list[list[str]]] | None = None
    words: Callable[[Any], Worded | None] | None = None
    of_bytes: bool = False


LOADERS: dict[Modality, Loader] = {
    "image": Loader(
        load_image,
        identify_image,
        keep_image,
        small_jpeg,
        measure_image,
        PICTURE_CORRUPTIONS,
        noun="picture",
        version=f"1-pillow{version_of('pillow')}",
        refer=refer_image,
        of_bytes=True,
    ),
    "text": Loader(
        load_text,
        identify_text,
        keep_text,
        no_picture,
        measure_text,
        TEXT_CORRUPTIONS,
        noun="text",
        refer=refer_text,
        of_line=text_of_line,
        as_written=line_as_written,
        inline=True,
        opened=read_files,
        caption=text_caption,
        near=near_texts,
        parts=text_parts,
        parts_of_words=parts_of_words,
        words=words_of_text,
    ),
}


@dataclass(frozen=True)
class Corrupted:
    """A reference to an input that is corrupted whenever it is loaded, always alike.

    What is random about it follows from the content, the name and the severity alone, so every
    encoder sees the same, whatever detail it asks for.

    Attributes:
        reference: the input as it is; may be corrupted itself.
        name: one of the modality's corruptions.
        severity: 1, 2 or 3.
    """

    reference: Any
    name: str
    severity: int


def load(modality: Modality, reference: Any, detail: int = 0) -> Any:
    """Return the input that `reference` stands for: an RGB `PIL.Image` for images.

    `detail` is the shorter side in pixels below which nothing is lost; 0 loads everything. Very
    large pictures are shrunk before they are corrupted.
    Raises `UnreadableInput` with the reason; `UsageError` for a corruption that isn't there.
    """
    if not isinstance(reference, Corrupted):
        return _loader(modality).load(reference, detail)
    corrupt = corruption(modality, reference.name, reference.severity)
    raw = load(modality, reference.reference, detail)
    seed = int(identify(modality, reference), 16)
    return corrupt(raw, reference.severity, np.random.default_rng(seed))


def identify(modality: Modality, reference: Any) -> str:
    """Return the content hash of what `reference` stands for. Raises `UnreadableInput`."""
    if isinstance(reference, Corrupted):
        content = identify(modality, reference.reference)
        return corrupted_id(content, reference.name, reference.severity)
    return _loader(modality).identify(reference)


def keep(modality: Modality, reference: Any, destination: Path) -> Path:
    """Return a file that holds the whole input, written to `destination` if there is none yet."""
    return _loader(modality).keep(_itself(modality, reference, 0), destination)


def picture(modality: Modality, reference: Any, side: int) -> bytes | None:
    """Return a JPEG of at most `side` pixels a side for a report, `None` for what has no look."""
    return _loader(modality).picture(_itself(modality, reference, side), side)


def caption(modality: Modality, reference: Any, limit: int) -> str:
    """Return what a report shows of an input in words, "" for what has none."""
    return _loader(modality).caption(_itself(modality, reference, 0), limit)


def measure(modality: Modality, reference: Any) -> dict[str, float]:
    """Return the sizes of an input by name and unit; of a corrupted one, those it had before.

    Raises `UnreadableInput`.
    """
    if isinstance(reference, Corrupted):
        return measure(modality, reference.reference)
    return _loader(modality).measure(reference)


def corruption(
    modality: Modality, name: str, severity: int
) -> Callable[[Any, int, np.random.Generator], Any]:
    """Return a corruption by name. Raises `UsageError` where there is none, or not so severe."""
    known = _loader(modality).corruptions
    if name not in known:
        raise UsageError(
            f"Inputs of modality {modality!r} have no corruption {printable(repr(name), 60)}. "
            f"There are: {listed(sorted(known))}."
        )
    if severity not in SEVERITIES:
        raise UsageError(f"A corruption of severity {severity} doesn't exist: give 1, 2 or 3.")
    return known[name]


def corrupted_id(content: str, name: str, severity: int) -> str:
    """Return the id of what has the id `content`, corrupted: 32 hexadecimal digits."""
    what = f"corrupted {CORRUPTION_VERSION} {severity} {name}"
    return hash_bytes(what.encode(), content.encode())


def _itself(modality: Modality, reference: Any, detail: int) -> Any:
    """Return a reference that the modality's loader knows: a corrupted input is its own."""
    return load(modality, reference, detail) if isinstance(reference, Corrupted) else reference


def _loader(modality: Modality) -> Loader:
    if modality not in LOADERS:
        known = ", ".join(sorted(LOADERS))
        raise UsageError(f"Inputs of modality {modality!r} can't be read yet. Readable: {known}.")
    return LOADERS[modality]
