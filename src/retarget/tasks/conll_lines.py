"""Lines of CoNLL files: one word a line in columns, a blank line behind each sentence."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from retarget.core.errors import DataError
from retarget.core.text import listed, printable
from retarget.tasks.tags import OUTSIDE, read_tag
from retarget.tasks.words import Worded

Fault = Literal["columns", "nul", "empty"]

DOCUMENT = "-DOCSTART-"
# Columns of CoNLL-U by name; all others are counted from 1.
NAMES = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")
# Those whose cells are lists of KEY=VALUE with bars between them.
PAIRS = ("feats", "misc")
_BLANKS = re.compile("[ \t]+")
_RANGE = re.compile(r"\d+-\d+")
_LOOKED_AT = 400


@dataclass(frozen=True)
class Sentence:
    """One sentence: its words, what the label column says of each, and where it stands.

    `lines` (one a word) count from 1. `labels` is `None` where there is no such column.
    """

    text: Worded
    labels: tuple[str, ...] | None
    lines: tuple[int, ...]
    document: str = ""


@dataclass(frozen=True)
class Parsed:
    """A file's sentences, and the first faulty line of every sentence that was left out.

    `keys` are those of the column of pairs that a key was asked of, by how often they are there.
    """

    sentences: tuple[Sentence, ...]
    faults: Mapping[Fault, Sequence[int]] = field(default_factory=dict)
    width: int = 0
    universal: bool = False
    keys: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Label:
    """Where the label of a word stands: in a column, or in one of pairs at a key."""

    column: int
    key: str = ""

    def of(self, cells: Sequence[str]) -> str:
        """Return the label; O for a word without the key."""
        cell = cells[self.column]
        return _pairs(cell).get(self.key, OUTSIDE) if self.key else cell

    def stands_in(self, cells: Sequence[str]) -> bool:
        """Return whether a label at a key is there."""
        return bool(self.key) and self.key in _pairs(cells[self.column])


@dataclass
class _Block:
    """The lines of one sentence, as cells, and the comments above them."""

    document: str = ""
    text: str | None = None
    cells: list[tuple[int, list[str]]] = field(default_factory=list)
    fault: tuple[Fault, int] | None = None


def looks_tagged(head: str) -> bool:
    """Whether the beginning of a file has words in columns and a tag in the last of them.

    All its lines but the last, which may be cut, must have equally many columns, and O or a tag
    with a type; or ten columns with a number first, as in CoNLL-U.
    """
    whole, newline, _ = head.rpartition("\n")
    lines = (whole if newline else head).split("\n")[:_LOOKED_AT]
    lines = [line for line in lines if line.strip() and not line.startswith((DOCUMENT, "# "))]
    if not lines:
        return False
    tabbed = _tabbed(lines)
    rows = [_cells(line, tabbed) for line in lines]
    width = len(rows[0])
    if any(len(row) != width for row in rows) or width < 2:
        return False
    if tabbed and width == len(NAMES):
        return all(row[0][:1].isdigit() for row in rows)
    tags = [row[-1] for row in rows]
    typed = [tag for tag in tags if "-" in tag and read_tag(tag) is not None]
    return len(typed) + tags.count("O") == len(tags) and (bool(typed) or len(tags) > 1)


def parse(text: str, label: str | None, form: str | None, *, universal: bool) -> Parsed:
    """Return the sentences of a file.

    A sentence with a faulty line is left out: one without the usual number of columns, with a NUL
    or without a word.

    Args:
        text: all of the file. Lines end with "\\n" alone.
        label: the column of labels, by its number from 1, or by name in CoNLL-U; the last one
            otherwise, of CoNLL-U `upos`. A file of one column has none. Of CoNLL-U also
            "misc.NER": what the pair NER=… of a column of pairs says, O for words without it.
            Where none has it, nothing is labelled.
        form: the column of words; the first one otherwise, of CoNLL-U `form`.
        universal: whether the file says that it is CoNLL-U. Tables like it are found out.

    Raises `DataError` for a column that isn't there.
    """
    lines = text.split("\n")
    # Cells may hold spaces where tabs divide them.
    tabbed = universal or _tabbed([line for line in lines if line.strip()])
    width = len(NAMES) if universal else _width(lines, tabbed)
    universal = universal or (tabbed and width == len(NAMES) and _numbered(lines))
    at_form = _column(form or ("form" if universal else "1"), width, universal)
    usual = "upos" if universal else str(width)
    at_label = None if width < 2 and label is None else _label(label or usual, width, universal)
    sentences: list[Sentence] = []
    faults: dict[Fault, list[int]] = {}
    for block in _blocks(lines, width, tabbed, universal):
        _look_for_empty(block, at_form)
        if block.fault is not None:
            kind, line = block.fault
            faults.setdefault(kind, []).append(line)
        elif block.cells:
            read = _universal if universal else _plain
            sentences.append(read(block, at_form, at_label))
    keys = () if at_label is None or not at_label.key else _keys(lines, at_label)
    if at_label is not None and at_label.key and at_label.key not in keys:
        sentences = [replace(sentence, labels=None) for sentence in sentences]
    return Parsed(tuple(sentences), faults, width, universal, keys)


def _blocks(lines: Sequence[str], width: int, tabbed: bool, universal: bool) -> Iterator[_Block]:
    """Give the lines of each sentence; a document's name goes on until the next one begins."""
    block = _Block()
    documents = 0
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            yield block
            block = _Block(block.document)
            continue
        if line.startswith(DOCUMENT):
            yield block
            documents += 1
            block = _Block(f"document {documents}")
            continue
        cells = _cells(line, tabbed)
        if line.startswith("#") and (universal or len(cells) != width):
            _comment(line, block)
        elif "\0" in line:
            block.fault = block.fault or ("nul", number)
        elif len(cells) != width:
            block.fault = block.fault or ("columns", number)
        else:
            block.cells.append((number, cells))
    yield block


def _comment(line: str, block: _Block) -> None:
    name, _, value = line.lstrip("# ").partition("=")
    if name.strip() == "text":
        block.text = value.strip("\r").removeprefix(" ")
    elif name.strip() == "newdoc id" and value.strip():
        block.document = value.strip()


def _look_for_empty(block: _Block, at_form: int) -> None:
    empty = [line for line, cells in block.cells if not cells[at_form].strip()]
    if empty and block.fault is None:
        block.fault = ("empty", empty[0])


def _plain(block: _Block, at_form: int, at_label: _Label | None) -> Sentence:
    forms = [cells[at_form] for _, cells in block.cells]
    return _sentence(block, block.cells, forms, [" "] * len(forms), at_label)


def _universal(block: _Block, at_form: int, at_label: _Label | None) -> Sentence:
    """Read a sentence of CoNLL-U. A word of several parts is one, with the label of the first,
    but for pairs that are its own."""
    rows: list[tuple[int, list[str]]] = []
    forms: list[str] = []
    gaps: list[str] = []
    inside = 0  # the number of the last part of the word before
    unlabelled = False
    for line, cells in block.cells:
        name = cells[0]
        if "." in name:
            continue
        if _RANGE.fullmatch(name):
            inside = int(name.partition("-")[2])
            unlabelled = at_label is None or not at_label.stands_in(cells)
        elif inside and name.isdecimal() and int(name) <= inside:
            if unlabelled:
                rows[-1] = (rows[-1][0], cells)
            unlabelled = False
            continue
        else:
            inside = 0
        rows.append((line, cells))
        forms.append(cells[at_form])
        gaps.append("" if "SpaceAfter=No" in cells[-1].split("|") else " ")
    return _sentence(block, rows, forms, gaps, at_label)


def _sentence(
    block: _Block,
    rows: Sequence[tuple[int, list[str]]],
    forms: Sequence[str],
    gaps: Sequence[str],
    at_label: _Label | None,
) -> Sentence:
    labels = None if at_label is None else tuple(at_label.of(cells) for _, cells in rows)
    text = _found_in(block.text, forms) if block.text else None
    return Sentence(
        text or _written(forms, gaps), labels, tuple(line for line, _ in rows), block.document
    )


def _found_in(text: str, forms: Sequence[str]) -> Worded | None:
    """Return the sentence as its comment has it, `None` where its words are not those."""
    words = []
    place = 0
    for form in forms:
        start = text.find(form, place)
        if start < 0 or text[place:start].strip():
            return None
        place = start + len(form)
        words.append((start, place))
    return None if text[place:].strip() else Worded(text, tuple(words))


def _written(forms: Sequence[str], gaps: Sequence[str]) -> Worded:
    pieces: list[str] = []
    words = []
    place = 0
    for i, (form, gap) in enumerate(zip(forms, gaps, strict=True)):
        words.append((place, place + len(form)))
        piece = form + (gap if i + 1 < len(forms) else "")
        pieces.append(piece)
        place += len(piece)
    return Worded("".join(pieces), tuple(words))


def _tabbed(lines: Sequence[str]) -> bool:
    return 2 * sum("\t" in line.rstrip() for line in lines) > len(lines)


def _cells(line: str, tabbed: bool) -> list[str]:
    line = line.rstrip("\r")
    return line.split("\t") if tabbed else _BLANKS.split(line.strip(" \t"))


def _width(lines: Sequence[str], tabbed: bool) -> int:
    """Return how many columns most lines have."""
    widths = Counter(
        len(_cells(line, tabbed))
        for line in lines
        if line.strip() and not line.startswith((DOCUMENT, "# "))
    )
    return max(widths, key=lambda width: (widths[width], width)) if widths else 0


def _numbered(lines: Sequence[str]) -> bool:
    shown = [line for line in lines[:_LOOKED_AT] if line.strip() and not line.startswith("#")]
    return all(line[:1].isdigit() for line in shown)


def _pairs(cell: str) -> dict[str, str]:
    """Return the pairs of a cell such as `NER=B-PER|SpaceAfter=No`; the first of a key counts."""
    pairs = [pair.partition("=") for pair in reversed(cell.split("|"))]
    return {key: value for key, equals, value in pairs if equals}


def _keys(lines: Sequence[str], label: _Label) -> tuple[str, ...]:
    """Return the keys of a column of pairs, by how often they are there."""
    rows = (_cells(line, True) for line in lines if not line.startswith("#"))
    seen = Counter(
        key for row in rows if len(row) == len(NAMES) for key in _pairs(row[label.column])
    )
    return tuple(key for key, _ in seen.most_common())


def _label(asked: str, width: int, universal: bool) -> _Label:
    """Return where the label stands that is asked for by a column, or by COLUMN.KEY."""
    name, _, key = asked.partition(".")
    if universal and key and name.lower() in PAIRS:
        return _Label(NAMES.index(name.lower()), key)
    return _Label(_column(asked, width, universal))


def _column(asked: str, width: int, universal: bool) -> int:
    """Return the place of a column by its name or number."""
    if universal and asked.lower() in NAMES:
        return NAMES.index(asked.lower())
    if asked.isdecimal() and 1 <= int(asked) <= max(width, 1):
        return int(asked) - 1
    there = f"numbers from 1 to {width}"
    if universal:
        there = f"{listed(NAMES, len(NAMES))}, or {there}; a pair of feats or misc as in misc.NER"
    raise DataError(f"There is no column {printable(asked)!r}. Columns are called by {there}.")
