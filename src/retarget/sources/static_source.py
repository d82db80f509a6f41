"""Vectors of words in text files, as GloVe and fastText give them."""

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from retarget.core.errors import SourceError
from retarget.core.hashing import hash_file_once, hash_json
from retarget.core.progress import progress, tell
from retarget.core.text import count, printable
from retarget.core.types import FloatArray
from retarget.sources import saved
from retarget.sources.blueprint import Blueprint
from retarget.sources.model_source import ModelSource
from retarget.sources.source import Facts

if TYPE_CHECKING:
    from torch import Tensor

ENDINGS = (".vec", ".txt")
EDITION = 1  # raised whenever the same file is read as other vectors
MOST_WORDS = 1_000_000
MOST_BYTES = 4_000_000_000  # of vectors in memory
MOST_WIDTH = 4096
LONGEST_LINE = 100_000  # bytes
MEGABYTE = 1_000_000


class VectorFile(ModelSource):
    """A file with a word and its vector on each line; a first line of two numbers is passed over.

    The first million words are read, which are the most frequent ones in the files that are known.
    Lines of another number of columns, words that came before and lines that are not UTF-8 are
    left out, and counted in `left_out`.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.uri = f"file:{file}"

    @property
    def facts(self) -> Facts:
        """What a person wants to know; of a file only its size is known."""
        size = round(self.file.stat().st_size / MEGABYTE, 1)
        return Facts("text", printable(self.file.name), megabytes=size)

    @cached_property
    def fingerprint(self) -> str:
        """Digest of the file, this reader and the versions of libraries."""
        return hash_json(
            {
                "vectors": self.weights_digest(),
                "edition": EDITION,
                "versions": Blueprint("static", "words").versions(),
            }
        )

    @cached_property
    def blueprint(self) -> Blueprint:
        """The words, and how many numbers each has."""
        if saved.is_kept(self.fingerprint):
            try:
                return saved.read(saved.kept(self.fingerprint)).blueprint
            except SourceError:
                saved.discard(self.fingerprint)
        words, vectors, _ = self._read
        arguments = {
            "words": "\n".join(words),
            "rows": len(words),
            "width": vectors.shape[1],
            "normalize": False,
        }
        return Blueprint("static", "words", arguments)

    @property
    def left_out(self) -> int:
        """How many lines were left out."""
        return self._read[2]

    @cached_property
    def _read(self) -> tuple[list[str], FloatArray, int]:
        return read_vectors(self.file)

    def weights_digest(self) -> str:
        """Return the digest of the file."""
        return hash_file_once(self.file)

    def weights(self) -> "Mapping[str, Tensor]":
        """Return the table of vectors, from the converted copy if there is one."""
        if (kept := saved.kept_tensors(self.fingerprint)) is not None:
            return kept
        import torch

        return {"embedding.weight": torch.from_numpy(self._read[1].copy())}


def read_vectors(file: Path) -> tuple[list[str], FloatArray, int]:
    """Return words, their vectors (n, d) float32 and how many lines were left out.

    Raises `SourceError` for a file that holds no vectors, or more than fit `MOST_BYTES`.
    """
    known: dict[str, None] = {}
    rows: list[FloatArray] = []
    bad, width = 0, 0
    with progress("Reading vectors", max(1, file.stat().st_size // MEGABYTE), "MB") as meter:
        for number, line in enumerate(_lines(file, meter)):
            width = width or _width(line, number)
            found = _word(line, width) if width else None
            if found is None or found[0] in known:
                bad += number > 0 or bool(width)
                continue
            known[found[0]] = None
            rows.append(found[1])
            if len(rows) >= MOST_WORDS:
                break
            if len(rows) * width * 4 > MOST_BYTES:
                raise SourceError(
                    f"{printable(str(file))} holds more vectors than fit "
                    f"{MOST_BYTES // 10**9} GB. Keep its first lines, the most frequent words."
                )
    if not rows or bad > len(rows):
        raise SourceError(
            f"{printable(str(file))} is no file of word vectors: {count(len(rows), 'line')} with "
            f"a word and {width or 'several'} numbers, {count(bad, 'other')}. Vectors are lines of "
            "a word and its numbers, separated by spaces, as GloVe and fastText have them."
        )
    if bad:
        tell(f"{printable(file.name)}: {count(bad, 'line')} left out, {len(rows):,} words read.")
    return list(known), np.stack(rows), bad


def _lines(file: Path, meter: Any) -> Iterator[bytes]:
    """Yield lines; of longer ones than `LONGEST_LINE` its parts, which are no good lines."""
    seen = 0
    try:
        with file.open("rb") as stream:
            while line := stream.readline(LONGEST_LINE):
                before = seen // MEGABYTE
                seen += len(line)
                if seen // MEGABYTE > before:
                    meter.advance(seen // MEGABYTE - before)
                yield line
    except OSError as error:
        raise SourceError(f"{printable(str(file))} can't be read ({error.strerror}).") from error


def _width(line: bytes, number: int) -> int:
    """Return how many numbers follow the word; 0 for a line of two numbers at the beginning, and
    for one that has none or too many."""
    parts = line.split()
    if number == 0 and len(parts) == 2 and all(part.isdigit() for part in parts):
        return 0
    numbers = 0
    for part in reversed(parts[1:]):
        if _number(part) is None:
            break
        numbers += 1
    return numbers if numbers <= MOST_WIDTH else 0


def _number(part: bytes) -> float | None:
    try:
        return float(part)
    except ValueError:
        return None


def _word(line: bytes, width: int) -> tuple[str, FloatArray] | None:
    """Return the word of a line and its vector, `None` for a bad line."""
    parts = line.rstrip().rsplit(b" ", width)
    if len(parts) != width + 1 or not parts[0]:
        return None
    try:
        vector = np.array([float(part) for part in parts[1:]], dtype=np.float32)
        word = parts[0].decode("utf-8")
    except (ValueError, OverflowError):
        return None
    # A tab or a further number before the last ones means that it has more columns.
    odd = any(c.isspace() for c in word) and _number(word.split()[-1].encode()) is not None
    return None if odd or not np.isfinite(vector).all() else (word, vector)
