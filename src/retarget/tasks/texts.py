"""Texts: one, a pair of two, or one with its words; as strings or in files of any usual encoding.

A reference is a `str`, a pair `(str, str)`, a `Worded`, or the `Path` of a file: `.json` holds what
`keep_text` wrote, every other file is one text.
"""

import codecs
import json
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retarget.core.errors import UnreadableInput
from retarget.core.hashing import hash_bytes
from retarget.core.text import count, printable
from retarget.tasks.words import Worded, worded

Text = str | tuple[str, str] | Worded

MOST_CHARACTERS = 1_000_000
"""Most characters of one text that is read; a novel has about as many."""
SUFFIXES = frozenset({".txt", ".text"})
"""Endings, in lower case, of the files that are taken for texts."""

_MOST_BYTES = 4 * MOST_CHARACTERS + 4
_REPLACED = "\ufffd"
_BYTE_ORDER = "\ufeff"
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_UTF32 = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)
_LOOKED_AT = 1 << 16  # bytes, an even number
_FEWEST_UNITS, _FEWEST_LINES = 4, 3
_SURROGATES = dict.fromkeys(range(55296, 57344), _REPLACED)


@dataclass(frozen=True)
class Decoded:
    """Bytes as text. `bad` are the lines, counted from 1, whose bytes were not in `encoding`."""

    text: str
    encoding: str = "UTF-8"
    bad: tuple[int, ...] = ()


def decode(data: bytes) -> Decoded:
    """Return bytes as text: UTF-16 or UTF-32 where `wide_codec` says so, else UTF-8.

    A line that is not UTF-8 is read as Windows-1252, line by line, so that a few bad bytes don't
    spoil the rest; what neither knows becomes U+FFFD. What is bad in UTF-16 and UTF-32 does so
    too.
    """
    if codec := wide_codec(data):
        name = codec[:6].upper()
        try:
            return Decoded(data.decode(codec), name)
        except UnicodeDecodeError:
            text = data.decode(codec, "replace")
            lines = text.split("\n")
            bad = tuple(i for i, line in enumerate(lines, start=1) if _REPLACED in line)
            return Decoded(text, name, bad)
    data = data.removeprefix(codecs.BOM_UTF8)
    try:
        return Decoded(data.decode("utf-8"))
    except UnicodeDecodeError:
        return _line_by_line(data)


def wide_codec(data: bytes) -> str | None:
    """Return the codec of bytes that are UTF-16 or UTF-32, `None` for all others.

    They begin with its mark, and that of UTF-32 may begin with that of UTF-16. Or they are UTF-16
    without it: there are NULs in three quarters of the first pairs of bytes, all on the same side,
    as of Latin letters; or at least three ends of lines are pairs with a NUL, and as many as all
    other bytes of their number.
    """
    if data.startswith(_UTF32):
        return "utf-32"
    if data.startswith(_UTF16):
        return "utf-16"
    head = data[:_LOOKED_AT]
    units = len(head) // 2
    if len(head) % 2 or units < _FEWEST_UNITS or b"\0" not in head:
        return None
    first, second = head[::2], head[1::2]
    for codec, high, low in (("utf-16-le", second, first), ("utf-16-be", first, second)):
        nul = high.count(0)
        if 4 * nul >= 3 * units and not low.count(0):
            return codec
        ends = sum(pair == (0, 10) for pair in zip(high, low, strict=True))
        if ends >= _FEWEST_LINES and 2 * ends >= head.count(10):
            return codec
    return None


def _line_by_line(data: bytes) -> Decoded:
    lines, bad = [], []
    for number, line in enumerate(data.split(b"\n"), start=1):
        try:
            lines.append(line.decode("utf-8"))
        except UnicodeDecodeError:
            lines.append(line.decode("cp1252", "replace"))
            bad.append(number)
    return Decoded("\n".join(lines), bad=tuple(bad))


def told_encoding(name: str, decoded: Decoded) -> str:
    """Return the sentence that names the lines of a file that were not in its encoding."""
    shown = ", ".join(f"line {line:,}" for line in decoded.bad[:3])
    more = ", …" if len(decoded.bad) > 3 else ""
    verb = "is" if len(decoded.bad) == 1 else "are"
    instead = (
        "read as Windows-1252"
        if decoded.encoding == "UTF-8"
        else "read with � in the place of what is damaged"
    )
    return (
        f"{count(len(decoded.bad), 'line')} of {printable(name)} {verb} not {decoded.encoding}"
        f" ({shown}{more}), {instead}. Check letters with accents, or save it as UTF-8."
    )


def read_text_file(path: Path) -> Decoded:
    """Return what a file holds as text. Raises `UnreadableInput` with the reason."""
    try:
        facts = path.stat()
        if not stat.S_ISREG(facts.st_mode):
            raise UnreadableInput("is not a regular file")
        if facts.st_size > _MOST_BYTES:
            raise UnreadableInput(
                f"has {facts.st_size:,} bytes; texts of at most {MOST_CHARACTERS:,} characters"
                " are read"
            )
        return decode(path.read_bytes())
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


def text_of_line(line: str) -> Any:
    """Return the text, or the pair, that one line of standard input holds.

    A tab between two texts makes them a pair. A JSON object with `text`, and perhaps `text_b`, is
    what it says, so that texts of several lines fit on one. Bytes that were not UTF-8 are read
    as Windows-1252.
    """
    line = decode(line.encode("utf-8", "surrogateescape")).text
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
