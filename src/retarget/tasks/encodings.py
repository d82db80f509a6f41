"""Which encoding bytes are text in: as stated, by a mark, by their form, or a guess."""

import codecs
import inspect
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Literal

from retarget.core.errors import DataError
from retarget.core.text import count, listed_lines, printable
from retarget.tasks.task import Problem

How = Literal["stated", "mark", "form", "valid", "guess"]

USUAL = "cp1252"
"""What bytes are read as that are not UTF-8, where nothing tells more."""
_WHY: dict[How, str] = {
    "stated": "as stated",
    "mark": "by its mark",
    "form": "by the form of its bytes",
    "valid": "its bytes are valid",
    "guess": "a guess from its bytes",
}
_NAMES = {
    "utf_8_sig": "UTF-8",
    "cp932": "Shift-JIS (CP932)",
    "cp949": "EUC-KR (CP949)",
    "big5hkscs": "Big5 (HKSCS)",
    "euc_jis_2004": "EUC-JP",
}
_REPLACED = "\ufffd"
_MARK = "\ufeff"
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_UTF32 = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)
_LOOKED_AT = 1 << 16  # bytes, an even number
_FEWEST_UNITS, _FEWEST_LINES = 4, 3
# What texts of any script hold in UTF-16: ASCII, and what is most common in Chinese and Japanese.
_ANCHORS = frozenset({*map(chr, range(32, 127)), *"\t\n\r、。，の的"})
_STRANGE = frozenset({"Cc", "Cn", "Co", "Cs"})
_CONTROLS = bytes(b for b in range(32) if b not in b"\t\n\f\r\x1b")
# Signs by which encodings of seven bits go over to other letters.
_SHIFTS = (
    (b"\x1b$)C", "iso2022_kr"),
    (b"\x1b$B", "iso2022_jp_2"),
    (b"\x1b$@", "iso2022_jp_2"),
)
# In these a line may begin in the letters that an earlier one went over to.
_SHIFTING = ("iso2022", "hz", "utf-7")
# Fewer bytes than these say too little of any encoding.
_FEWEST_BYTES = 6
# Encodings that texts are still kept in; among all that there are, few bytes look like any.
_GUESSED = (
    *(f"cp{number}" for number in range(1250, 1259)),
    "cp874", "cp932", "cp949", "big5hkscs", "euc_jis_2004", "gb18030", "iso8859-2", "koi8-r",
    "koi8-u",
)  # fmt: skip


@dataclass(frozen=True)
class Decoded:
    """Bytes as text.

    Attributes:
        text: the characters, without a mark of the order of bytes.
        encoding: a name for people.
        how: what told it.
        foreign: lines, counted from 1, that are not UTF-8 where that was looked for: they were
            read as `encoding` where that is a guess, else as Windows-1252.
        damaged: lines with bytes that are in no such encoding: there is U+FFFD in their place.
    """

    text: str
    encoding: str = "UTF-8"
    how: How = "valid"
    foreign: tuple[int, ...] = ()
    damaged: tuple[int, ...] = ()


def codec_of(name: str) -> str:
    """Return Python's name of a text encoding that a person named. Raises `DataError`."""
    try:
        codec = codecs.lookup(name).name
        # Some codecs are of bytes, some of no text that can be damaged.
        b"a\xff".decode(codec, "replace")
        return codec
    except (LookupError, ValueError):
        raise DataError(
            f"There is no text encoding {printable(name, 60)!r}. Name it as Python does, such as"
            " utf-8, utf-16, windows-1251, koi8-r, shift_jis, gb18030 or euc-kr."
        ) from None


def name_of(codec: str) -> str:
    """Return the name of a codec for people."""
    codec = codecs.lookup(codec).name.replace("-", "_")
    if codec.startswith("cp125"):
        return codec.replace("cp", "Windows-")
    if codec.startswith("utf_"):
        return _NAMES.get(codec, codec[:6].replace("_", "-").upper())
    return _NAMES.get(codec, codec.replace("_", "-").upper())


def decode(data: bytes, encoding: str | None = None, *, cut: bool = False) -> Decoded:
    """Return bytes as text: in the encoding stated, else UTF-16 or UTF-32 where `wide_codec` says
    so, else UTF-8, else a guess.

    Where as many lines are UTF-8 beyond ASCII as are not UTF-8 at all, these few are read as
    Windows-1252, so that they don't spoil the rest. Else one encoding is guessed for everything,
    by chardet where that is installed (the extra `text`), from the lines that are not UTF-8;
    without it, and where they hold too little, it is Windows-1252.

    Args:
        data: all of a file, or its beginning.
        encoding: what a person stated.
        cut: whether it is a beginning, which may end inside of a character.
    """
    if encoding is not None:
        return _in_one(data, stated_codec(data, encoding), "stated")
    if codec := wide_codec(data):
        return _in_one(data, codec, "mark" if marked_codec(data) else "form")
    marked = marked_codec(data) is not None
    data = data.removeprefix(codecs.BOM_UTF8)
    try:
        text, _ = codecs.utf_8_decode(data, "strict", not cut)
        shifts = (codec for sign, codec in _SHIFTS if sign in data and text.isascii())
        if codec := next(shifts, None):
            return _in_one(data, codec, "form")
        return Decoded(text, how="mark" if marked else "valid")
    except UnicodeDecodeError:
        return _not_utf8(data, marked)


def stated_codec(data: bytes, encoding: str) -> str:
    """Return the codec of bytes in an encoding that a person named: of UTF-16 without a mark that
    of the order which their form tells. Raises `DataError` where there is no such encoding."""
    codec, form = codec_of(encoding), wide_codec(data)
    # Without a mark Python takes the order of the machine's own bytes.
    return form if form and form.startswith(codec) else codec


def decode_line(data: bytes) -> str:
    """Return one line as text: UTF-8, else Windows-1252."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode(USUAL, "replace")


def marked_codec(data: bytes) -> str | None:
    """Return the codec that the mark at the beginning of bytes is of, `None` without one."""
    if data.startswith(_UTF32):
        return "utf-32"
    if data.startswith(_UTF16):
        return "utf-16"
    return "utf-8-sig" if data.startswith(codecs.BOM_UTF8) else None


def wide_codec(data: bytes) -> str | None:
    """Return the codec of bytes that are UTF-16 or UTF-32, `None` for all others.

    They begin with its mark, and that of UTF-32 may begin with that of UTF-16. Or they are UTF-16
    without it: there are NULs in three quarters of the first pairs of bytes, all on the same side,
    as of Latin letters; or at least three ends of lines are pairs with a NUL, and as many as all
    other bytes of their number; or one byte in fifty is a control character, and as UTF-16 all is
    text, with three characters of ASCII or a few that are common in Chinese and Japanese, and one
    in twenty.
    """
    if marked := marked_codec(data):
        return marked if marked != "utf-8-sig" else None
    head = data[:_LOOKED_AT]
    units = len(head) // 2
    if len(head) % 2 or units < _FEWEST_UNITS:
        return None
    first, second = head[::2], head[1::2]
    if b"\0" in head:
        for codec, high, low in (("utf-16-le", second, first), ("utf-16-be", first, second)):
            nul = high.count(0)
            if 4 * nul >= 3 * units and not low.count(0):
                return codec
            ends = sum(pair == (0, 10) for pair in zip(high, low, strict=True))
            if ends >= _FEWEST_LINES and 2 * ends >= head.count(10):
                return codec
    return _wide_by_text(head)


def _wide_by_text(head: bytes) -> str | None:
    """Return the order of UTF-16 in which bytes that are no text as they stand are one."""
    if 50 * (len(head) - len(head.translate(None, _CONTROLS))) < len(head):
        return None
    found = {codec: _anchors(head, codec) for codec in ("utf-16-le", "utf-16-be")}
    codec = max(found, key=lambda codec: found[codec])
    return codec if found[codec] >= 3 and 20 * found[codec] >= len(head) // 2 else None


def _anchors(head: bytes, codec: str) -> int:
    """Return how many characters of UTF-16 are of those that all texts hold; 0 for no text."""
    try:
        # The head may end between two halves of a character.
        text = codecs.getincrementaldecoder(codec)().decode(head)
    except UnicodeDecodeError:
        return 0
    seen = Counter(text)
    if any(unicodedata.category(c) in _STRANGE and c not in _ANCHORS for c in seen):
        return 0
    return sum(number for c, number in seen.items() if c in _ANCHORS)


def _in_one(data: bytes, codec: str, how: How) -> Decoded:
    """Return bytes in one encoding, with the lines that hold bytes which are not in it."""
    name = name_of(codec)
    try:
        return Decoded(data.decode(codec).removeprefix(_MARK), name, how)
    except UnicodeDecodeError:
        pass
    if "\n".encode(codec) == b"\n" and not codec.startswith(_SHIFTING):
        # Line by line, lest a bad byte takes the end of its line with it.
        end = "\n" if b"\n" in data else "\r"
        lines = [_replaced(line, codec) for line in data.split(end.encode())]
    else:
        whole = data.decode(codec, "replace")
        end = "\n" if "\n" in whole else "\r"
        lines = [(line, _REPLACED in line) for line in whole.split(end)]
    damaged = tuple(number for number, (_, bad) in enumerate(lines, start=1) if bad)
    text = end.join(line for line, _ in lines).removeprefix(_MARK)
    return Decoded(text, name, how, damaged=damaged)


def _replaced(line: bytes, codec: str) -> tuple[str, bool]:
    try:
        return line.decode(codec), False
    except UnicodeDecodeError:
        return line.decode(codec, "replace"), True


def _not_utf8(data: bytes, marked: bool) -> Decoded:
    end = "\n" if b"\n" in data else "\r"
    lines = [(line, _is_utf8(line)) for line in data.split(end.encode())]
    foreign = tuple(number for number, (_, fits) in enumerate(lines, start=1) if not fits)
    beyond = sum(fits and not line.isascii() for line, fits in lines)
    if marked or beyond >= len(foreign):
        text = end.join(decode_line(line) for line, _ in lines)
        damaged = tuple(i for i in foreign if _replaced(lines[i - 1][0], USUAL)[1])
        return Decoded(text, how="mark" if marked else "valid", foreign=foreign, damaged=damaged)
    codec = _guess(b"\n".join(line for line, fits in lines if not fits)[:_LOOKED_AT])
    found = _in_one(data, codec, "guess")
    return Decoded(found.text, found.encoding, "guess", foreign, found.damaged)


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _guess(sample: bytes) -> str:
    """Return the codec that bytes which are not UTF-8 look most like."""
    if len(sample) - len(sample.translate(None, bytes(range(128, 256)))) < _FEWEST_BYTES:
        return USUAL
    chardet = _chardet()
    if chardet is None:
        return USUAL
    told = chardet.detect(sample, include_encodings=_GUESSED, compat_names=False)
    return told["encoding"] or USUAL


def _chardet() -> ModuleType | None:
    """Return the package that guesses; `None` without it, and of a version, asked for by another
    package, that can't be told among which encodings."""
    try:
        import chardet
    except ImportError:
        return None
    taken = inspect.signature(chardet.detect).parameters
    return chardet if {"include_encodings", "compat_names"} <= taken.keys() else None


def told_encodings(read: Sequence[Decoded]) -> str:
    """Return the clause that says in which encodings files were read and why, "" for no file."""
    kinds = Counter((one.encoding, _WHY[one.how]) for one in read)
    if len(kinds) == 1:
        ((name, why),) = kinds
        return f"read as {name} ({why})"
    each = [f"{n:,} as {name} ({why})" for (name, why), n in kinds.most_common()]
    return f"of {count(len(read), 'file')} read {', '.join(each)}" if each else ""


def encoding_problems(name: str, decoded: Decoded) -> tuple[Problem, ...]:
    """Return what has to be checked of a file: lines of another encoding, and damaged ones."""
    shown, problems = printable(name), []
    if decoded.foreign:
        lines = _lines_of(shown, decoded.foreign, "is not UTF-8", "are not UTF-8")
        what = (
            f"{lines}: all of it was read as {decoded.encoding}, which is a guess. {_advice()}"
            if decoded.how == "guess"
            else f"{lines}, read as {name_of(USUAL)}. Check letters with accents, or save it as"
            " UTF-8."
        )
        problems.append(Problem("encoding", _places(decoded.foreign), what))
    if decoded.damaged:
        encoding = (
            name_of(USUAL) if decoded.foreign and decoded.how != "guess" else decoded.encoding
        )
        wrong = f"bytes that are not {encoding}"
        lines = _lines_of(shown, decoded.damaged, f"holds {wrong}", f"hold {wrong}")
        what = f"{lines}, read with � in their place. Mend them, or save the file anew."
        problems.append(Problem("encoding", _places(decoded.damaged), what))
    return tuple(problems)


def folder_problems(read: Sequence[tuple[str, Decoded]]) -> list[Problem]:
    """Return what has to be checked of many files: one problem for each encoding guessed, and
    what `encoding_problems` says of other files, with their names before the lines."""
    guessed: dict[str, list[str]] = {}
    problems = []
    for name, decoded in read:
        if decoded.how == "guess" and not decoded.damaged:
            guessed.setdefault(decoded.encoding, []).append(name)
            continue
        for problem in encoding_problems(name, decoded):
            where = tuple(f"{name} {line}" for line in problem.where)
            problems.append(Problem(problem.kind, where, problem.what))
    for encoding, names in guessed.items():
        verb = "is" if len(names) == 1 else "are"
        what = (
            f"{count(len(names), 'file')} (such as {printable(names[0])}) {verb} not UTF-8 and"
            f" {verb.replace('is', 'was').replace('are', 'were')} read as {encoding}, which is a"
            f" guess. {_advice()}"
        )
        problems.append(Problem("encoding", tuple(names), what))
    return problems


def _advice() -> str:
    """Return what to do about a guess."""
    better = "" if _chardet() else ' pip install "retarget[text]" guesses better.'
    return (
        "Where letters are wrong, state the encoding with --encoding NAME (encoding='NAME')."
        f"{better}"
    )


def _places(lines: Sequence[int]) -> tuple[str, ...]:
    return tuple(f"line {line}" for line in lines)


def _lines_of(name: str, lines: Sequence[int], one: str, several: str) -> str:
    verb = one if len(lines) == 1 else several
    return f"{count(len(lines), 'line')} of {name} {verb} ({listed_lines(lines)})"
