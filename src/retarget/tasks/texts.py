"""Texts: one, a pair of two, or one with its words; as strings or in files of any usual encoding.

A reference is a `str`, a pair `(str, str)`, a `Worded`, or the `Path` of a file: `.json` holds what
`keep_text` wrote, every other file is one text.
"""

import json
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from retarget.core.errors import UnreadableInput
from retarget.core.hashing import hash_bytes
from retarget.core.text import printable
from retarget.tasks.encodings import Decoded, decode, decode_line
from retarget.tasks.words import Worded, worded

Text = str | tuple[str, str] | Worded

MOST_CHARACTERS = 1_000_000
"""Most characters of one text that is read; a novel has about as many."""
SUFFIXES = frozenset({".txt", ".text"})
"""Endings, in lower case, of the files that are taken for texts."""

_MOST_BYTES = 4 * MOST_CHARACTERS + 4
_REPLACED = "\ufffd"
_BYTE_ORDER = "\ufeff"
_SURROGATES = dict.fromkeys(range(55296, 57344), _REPLACED)


def read_text_file(path: Path, encoding: str | None = None) -> Decoded:
    """Return what a file holds as text, in the encoding stated or as `decode` finds it.

    Raises `UnreadableInput` with the reason.
    """
    try:
        facts = path.stat()
        if not stat.S_ISREG(facts.st_mode):
            raise UnreadableInput("is not a regular file")
        if facts.st_size > _MOST_BYTES:
            raise UnreadableInput(
                f"has {facts.st_size:,} bytes; texts of at most {MOST_CHARACTERS:,} characters"
                " are read"
            )
        return decode(path.read_bytes(), encoding)
    except FileNotFoundError:
        raise UnreadableInput("is not there") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise UnreadableInput(f"can't be read ({printable(str(reason).lower())})") from error


def load_text(reference: Any, detail: int = 0) -> Text:
    """Return the text, pair or words that `reference` stands for; `detail` says nothing here.

    Lone surrogates, which no encoder takes, become U+FFFD; the number of characters stays.
    Raises `UnreadableInput`: no text, nothing but white space, a NUL, more than
    `MOST_CHARACTERS`.
    """
    raw = _checked(reference)
    if isinstance(raw, Worded):
        return Worded(_whole(raw.text), raw.words)
    if isinstance(raw, tuple):
        return (_whole(raw[0]), _whole(raw[1]))
    return _whole(raw)


def identify_text(reference: Any) -> str:
    """Return the hash of the characters (of both texts, of text and words), 32 digits.

    A text is the same in a file of any encoding and in a table. Raises `UnreadableInput`.
    """
    raw = _checked(reference)
    if isinstance(raw, Worded):
        return hash_bytes(_bytes(raw.text), repr(raw.words).encode(), b"words")
    return hash_bytes(*(_bytes(text) for text in texts_of(raw)))


def texts_of(text: Text) -> tuple[str, ...]:
    """Return the one or two strings that a text is made of."""
    if isinstance(text, Worded):
        return (text.text,)
    return text if isinstance(text, tuple) else (text,)


def words_of_text(text: Text) -> Worded | None:
    """Return a text with its words; `None` for a pair of texts, which have no one place each."""
    return None if isinstance(text, tuple) else worded(text)


def keep_text(reference: Any, destination: Path) -> Path:
    """Return a file that holds the text: its own, a `.txt` in UTF-8, or a `.json`.

    JSON keeps pairs, words, and the few texts whose characters UTF-8 can't hold or would lose.
    """
    if isinstance(reference, Path):
        return reference
    raw = _checked(reference)
    if isinstance(raw, str) and raw.translate(_SURROGATES) == raw and raw[0] != _BYTE_ORDER:
        path = destination.with_suffix(".txt")
        path.write_bytes(raw.encode())
        return path
    path = destination.with_suffix(".json")
    path.write_text(json.dumps(_written(raw)), encoding="ascii")
    return path


def measure_text(reference: Any) -> dict[str, float]:
    """Return how long a text is, in characters and in words between white space; pairs together.

    Raises `UnreadableInput`.
    """
    raw = _checked(reference)
    texts = texts_of(raw)
    words = len(raw.words) if isinstance(raw, Worded) else sum(len(t.split()) for t in texts)
    return {"length, characters": sum(map(len, texts)), "length, words": words}


def text_caption(reference: Any, limit: int) -> str:
    """Return the beginning of a text on one line, at most `limit` characters; "" if unreadable."""
    try:
        texts = texts_of(load_text(reference))
    except UnreadableInput:
        return ""
    return printable(" / ".join(" ".join(text[: 20 * limit].split()) for text in texts), limit)


def refer_text(value: Any) -> Any:
    """Return a value handed in memory as a reference: a string is a text, never a path.

    Two strings are a pair; so are `text` and `text_b` of a dictionary. What is nothing (`None`,
    NaN) is an empty text, numbers are written out.
    """
    if isinstance(value, dict) and "text" in value:
        second = value.get("text_b")
        value = value["text"] if second is None else (value["text"], second)
    if isinstance(value, (list, tuple)) and len(value) == 2:
        return (as_text(value[0]), as_text(value[1]))
    return as_text(value)


def line_as_written(line: str) -> str:
    """Return a line of standard input; bytes that were not UTF-8 are read as Windows-1252."""
    try:
        return decode_line(line.encode("utf-8", "surrogateescape"))
    except UnicodeEncodeError:  # a surrogate that stands for no byte
        return line


def text_of_line(line: str) -> Any:
    """Return the text, or the pair, that one line of standard input holds.

    A tab between two texts makes them a pair. A JSON object with `text`, and perhaps `text_b`, is
    what it says, so that texts of several lines fit on one. Bytes that were not UTF-8 are read
    as Windows-1252.
    """
    line = line_as_written(line)
    if line.startswith("{"):
        try:
            written = json.loads(line)
        except (ValueError, RecursionError):
            written = None
        if isinstance(written, dict) and isinstance(written.get("text"), str):
            return refer_text(written)
    first, _, second = line.partition("\t")
    return (first, second) if first.strip() and second.strip() else line


def as_text(value: Any) -> Any:
    """Return one cell of a table as text; what can't be one stays what it is."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return ""
    if isinstance(value, float) and value != value:
        return ""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, bytes):
        return decode(value).text
    return str(value) if isinstance(value, str) else value


def no_picture(reference: Any, side: int) -> bytes | None:
    """Return that a text has no look."""
    return None


def _checked(reference: Any) -> Text:
    """Return what a reference stands for, as it was written."""
    if isinstance(reference, Path):
        text = read_text_file(reference).text
        reference = _kept(text) if reference.suffix.lower() == ".json" else text
    elif callable(getattr(reference, "read", None)):
        reference = refer_text(reference.read())
    if isinstance(reference, list) and len(reference) == 2:
        reference = tuple(reference)
    texts = _strings(reference)
    for text in texts:
        if len(text) > MOST_CHARACTERS:
            raise UnreadableInput(
                f"has {len(text):,} characters; at most {MOST_CHARACTERS:,} are read"
            )
        if "\0" in text:
            raise UnreadableInput("holds a NUL character")
        if not text.strip():
            raise UnreadableInput("holds no text" if len(texts) == 1 else "lacks one of two texts")
    return texts[0] if isinstance(reference, str) else reference


def _strings(reference: Any) -> tuple[str, ...]:
    if isinstance(reference, str):
        return (str(reference),)
    if isinstance(reference, Worded):
        return (reference.text,)
    if isinstance(reference, tuple) and len(reference) == 2:
        first, second = reference
        if isinstance(first, str) and isinstance(second, str):
            return (first, second)
    raise UnreadableInput(f"is a {type(reference).__name__}, not a text")


def _whole(text: str) -> str:
    return text if text.isascii() else text.translate(_SURROGATES)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _written(raw: Text) -> dict[str, Any]:
    if isinstance(raw, Worded):
        return {"text": raw.text, "words": raw.words}
    return dict(zip(("text", "text_b"), texts_of(raw), strict=False))


def _kept(text: str) -> Any:
    """Return what `keep_text` wrote as JSON."""
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UnreadableInput("is not JSON") from error
    if not isinstance(record, dict) or "text" not in record:
        raise UnreadableInput('is not JSON with a "text"')
    if "words" not in record:
        return refer_text(record)
    return Worded(str(record["text"]), _words(record["words"], len(record["text"])))


def _words(written: Any, length: int) -> tuple[tuple[int, int], ...]:
    words: list[tuple[int, int]] = []
    last = 0
    for word in written if isinstance(written, Sequence) else ():
        if not (
            isinstance(word, list) and len(word) == 2 and all(isinstance(end, int) for end in word)
        ):
            raise UnreadableInput("has words that are not [start, end]")
        if not last <= word[0] < word[1] <= length:
            raise UnreadableInput("has words that are empty, overlap or lie outside of the text")
        words.append((word[0], word[1]))
        last = word[1]
    return tuple(words)
