"""CoNLL files: words in columns with a tag each, one file or a folder with one a split."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from retarget.core.errors import DataError
from retarget.core.text import count, listed, printable
from retarget.tasks.conll_lines import Fault, Parsed, Sentence, looks_tagged, parse
from retarget.tasks.encodings import Decoded, decode, encoding_problems, told_encodings
from retarget.tasks.readers import Asked, Reader, Rows, register_reader
from retarget.tasks.rows import SPLIT_WORDS
from retarget.tasks.tables import lines_apart, read_lines
from retarget.tasks.tag_faults import TagFaults
from retarget.tasks.tags import Scheme, chunks, detect_scheme, on_words, plain_chunks
from retarget.tasks.task import Problem
from retarget.tasks.tree import readable, stays_inside

SUFFIXES = frozenset({".conll", ".conllu", ".conllx", ".iob", ".iob2", ".bio", ".ner"})
# Files with these endings are looked into; the last are those of CoNLL 2003's own files.
_PERHAPS = frozenset({".txt", ".tsv", ".train", ".dev", ".test", ".testa", ".testb"})
_ENDINGS: Mapping[str, str] = {**SPLIT_WORDS, "testa": "val", "testb": "test"}
_MOST_LOOKED_INTO = 50
_PEEKED = 1 << 15
_FAULTS: Mapping[Fault, str] = {
    "columns": "with a line without the {width} of the others",
    "nul": "with NUL characters",
    "empty": "with a line without a word",
}
_ROLES = ("text", "label")


@dataclass(frozen=True)
class _Part:
    """One file of the data."""

    path: Path
    parsed: Parsed
    problems: tuple[Problem, ...]
    read_as: Decoded

    def place(self, line: int, several: bool) -> str:
        """Return how a person finds a line."""
        return f"{readable(self.path.name)} line {line}" if several else f"line {line}"


@register_reader
class ConllReader(Reader):
    """`.conll`, `.conllu`, `.iob`, `.bio`, `.ner`, and `.txt` or `.tsv` with tags in columns.

    In a folder, files named like splits (`train.conll`, `eng.testa`) are the splits of one task;
    others are read together, and the name of the file is the domain.
    """

    name = "conll"
    rank = 25

    def recognises(self, data: Any, asked: Asked) -> str | None:
        """A path to such a file, or to a folder with some."""
        if not isinstance(data, Path) or "image" in asked.columns:
            return None
        if data.is_file():
            if data.suffix.lower() in SUFFIXES:
                return "it is a CoNLL file by its name"
            looks = data.suffix.lower() in _PERHAPS and _looks_tagged(data, asked)
            return "its lines are words with a tag in the last column" if looks else None
        files = _files_in(data, asked) if data.is_dir() else []
        if not files:
            return None
        return f"the folder holds {_named(files)}, with words and tags in columns"

    def read(self, data: Any, asked: Asked) -> Rows:
        """Return the sentences of all files, in the order of their names."""
        _refuse(asked)
        paths, problems = _chosen(_files_in(data, asked)) if data.is_dir() else ([data], [])
        parts = [_part(path, asked) for path in paths]
        splits = _by_split(paths) if data.is_dir() else {}
        several = len(parts) > 1
        _look_for_key(parts, asked)
        told = [(part, sentence) for part in parts for sentence in part.parsed.sentences]
        scheme = detect_scheme(s.labels for _, s in told if s.labels is not None)
        faults = TagFaults(scheme)
        labels = [_spans(part, sentence, several, faults) for part, sentence in told]
        problems += [*(p for part in parts for p in _problems(part, several)), *faults.problems()]
        domains = [readable(part.path.stem) for part, _ in told] if several and not splits else None
        return Rows(
            name=readable((data if data.is_dir() else data.with_suffix("")).resolve().name),
            names=[part.place(sentence.lines[0], several) for part, sentence in told],
            inputs={"text": [sentence.text for _, sentence in told]},
            modalities={"text": "text"},
            labels=labels,
            splits=[splits.get(part.path, "") for part, _ in told],
            groups=_groups(told, several),
            domains=domains,
            kind="tagging",
            problems=tuple(problems),
            layout=_layout(parts, bool(splits), scheme),
            why=self.recognises(data, asked) or "",
            origin=str(data),
            read_as=told_encodings([part.read_as for part in parts]),
        )


def _refuse(asked: Asked) -> None:
    if asked.kind not in (None, "tagging"):
        raise DataError(
            f"Words with tags are a task of tagging, not of {asked.kind}. Leave the kind out."
        )
    for role in asked.columns:
        if role not in _ROLES:
            raise DataError(
                f"A CoNLL file has no column for {printable(role)!r}. Choose from text and label,"
                " and name columns by their number from 1, such as label=4; of CoNLL-U also by"
                " name, such as label=xpos or label=misc.NER."
            )


def _look_for_key(parts: Sequence[_Part], asked: Asked) -> None:
    """Raise `DataError` where the label is asked from a pair that no word has."""
    column, _, key = asked.columns.get("label", "").partition(".")
    if not key or any(s.labels is not None for part in parts for s in part.parsed.sentences):
        return
    keys = list(dict.fromkeys(k for part in parts for k in part.parsed.keys))
    there = f"The keys there are {listed(keys)}" if keys else "It has none at all"
    raise DataError(
        f"No word has a pair {printable(key)}=… in the column {printable(column)}. {there}."
    )


def _looks_tagged(path: Path, asked: Asked) -> bool:
    try:
        with path.open("rb") as stream:
            head = decode(stream.read(_PEEKED), asked.encoding, cut=True).text
            return looks_tagged(lines_apart(head))
    except OSError:
        return False


def _files_in(folder: Path, asked: Asked) -> list[Path]:
    """Return the files that a folder is read by, [] where it is read otherwise."""
    try:
        root = folder.resolve()
        files = sorted(
            path
            for path in folder.iterdir()
            if path.suffix.lower() in SUFFIXES | _PERHAPS
            and not path.name.startswith(".")
            and path.is_file()
            and (asked.follow_links or stays_inside(path, root))
        )
    except OSError:
        return []
    sure = [path for path in files if path.suffix.lower() in SUFFIXES]
    if sure or len(files) > _MOST_LOOKED_INTO:
        return sure
    return [path for path in files if _looks_tagged(path, asked)]


def _chosen(paths: Sequence[Path]) -> tuple[list[Path], list[Problem]]:
    """Return the files that are the task: those named like splits, if `train` is among them."""
    splits = _by_split(paths)
    left = tuple(readable(path.name) for path in paths if splits and path not in splits)
    if not left:
        return list(paths), []
    what = (
        f"{count(len(left), 'file')} beside those of the splits (such as {printable(left[0])}),"
        " passed over."
    )
    return list(splits), [Problem("ignored", left, what, left_out=True)]


def _by_split(paths: Sequence[Path]) -> dict[Path, str]:
    """Return the split of each file whose name has a word for one."""
    splits = {path: word for path in paths if (word := _split(path))}
    return splits if "train" in splits.values() or len(splits) == len(paths) > 1 else {}


def _split(path: Path) -> str:
    words = [_ENDINGS[w] for w in re.split("[^a-z]+", path.name.lower()) if _ENDINGS.get(w)]
    return words[-1] if words else ""


def _part(path: Path, asked: Asked) -> _Part:
    decoded = read_lines(path, asked.encoding)
    universal = path.suffix.lower() == ".conllu"
    try:
        parsed = parse(
            decoded.text,
            asked.columns.get("label"),
            asked.columns.get("text"),
            universal=universal,
        )
    except DataError as error:
        raise DataError(f"{printable(path.name)}: {error}") from None
    problems = encoding_problems(path.name, decoded)
    return _Part(path, parsed, problems, replace(decoded, text=""))


def _problems(part: _Part, several: bool) -> list[Problem]:
    """Return what was wrong with the lines of a file."""
    shown = printable(part.path.name)
    problems = [
        Problem(p.kind, tuple(f"{shown} {w}" if several else w for w in p.where), p.what)
        for p in part.problems
    ]
    for fault, lines in part.parsed.faults.items():
        what = _FAULTS[fault].format(width=count(part.parsed.width, "column"))
        first = listed([f"line {line}" for line in lines], 3)
        problems.append(
            Problem(
                "bad-row",
                tuple(part.place(line, several) for line in lines),
                f"{count(len(lines), 'sentence')} of {shown} {what} ({first}), left out.",
                left_out=True,
            )
        )
    return problems


def _spans(part: _Part, sentence: Sentence, several: bool, faults: TagFaults) -> Any:
    if sentence.labels is None:
        return None
    faults.look_at(sentence.labels, lambda i: part.place(sentence.lines[i], several))
    read = plain_chunks if faults.scheme == "plain" else chunks
    return on_words(sentence.text.words, read(sentence.labels))


def _groups(told: Sequence[tuple[_Part, Sentence]], several: bool) -> list[str]:
    """Return the document of each sentence; where all are of one, none: nothing could be held
    out beside it."""
    groups = [_group(part, sentence, several) for part, sentence in told]
    return groups if len(set(groups)) > 1 else [""] * len(groups)


def _group(part: _Part, sentence: Sentence, several: bool) -> str:
    if not sentence.document:
        return ""
    return f"{readable(part.path.name)}, {sentence.document}" if several else sentence.document


def _named(paths: Sequence[Path]) -> str:
    return listed([readable(path.name) for path in paths], 4)


def _layout(parts: Sequence[_Part], splits: bool, scheme: Scheme) -> str:
    tags = "one label a word" if scheme == "plain" else f"tags in {scheme}"
    if all(s.labels is None for part in parts for s in part.parsed.sentences):
        tags = "without tags"
    if len(parts) == 1:
        return f"The file {printable(parts[0].path.name)}, one word a line, {tags}"
    each = "a split" if splits else "a domain"
    named = _named([part.path for part in parts])
    return (
        f"{count(len(parts), 'file')} ({named}), each {each} by its name, one word a line, {tags}"
    )
