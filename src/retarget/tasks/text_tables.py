"""Tables with one text, or one pair of texts, a row: a file, or all the tables of a folder."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retarget.core.errors import DataError
from retarget.core.text import count, listed, printable
from retarget.tasks.columns import find_columns, reads_texts, told
from retarget.tasks.encodings import told_encodings
from retarget.tasks.images import SUFFIXES as PICTURES
from retarget.tasks.readers import Asked, Reader, Rows, register_reader
from retarget.tasks.rows import SPLIT_WORDS
from retarget.tasks.tables import TABLE_SUFFIXES, Table, peek_columns, read_table
from retarget.tasks.targets import is_missing
from retarget.tasks.task import Problem
from retarget.tasks.texts import as_text
from retarget.tasks.tree import readable, stays_inside

# What writers of several files for one table append: train-00000-of-00002.
_SHARD = re.compile(r"[-_.]\d+-of-\d+$")
_OTHERS = ("label", "split", "group", "domain", "weight")


@dataclass(frozen=True)
class _Part:
    """A table and what its columns are for."""

    path: Path
    table: Table
    found: Mapping[str, str]

    def column(self, role: str) -> list[Any]:
        """Return the values of a role, `None` where there is no such column."""
        if role not in self.found:
            return [None] * len(self.table.places)
        return list(self.table.columns[self.found[role]])


@register_reader
class TextTableReader(Reader):
    """CSV, TSV, JSON lines or Parquet with a column of texts; or a folder that holds such tables.

    In a folder, tables named like splits (`train.csv`, `dev.csv`) are the splits of one task.
    Others are read together, and where none has a column for it the name of the file is the
    domain. A folder that also holds pictures is no folder of texts.
    """

    name = "text-table"
    rank = 48

    def recognises(self, data: Any, asked: Asked) -> str | None:
        """A path to a table of texts, or to a folder with one or several."""
        if not isinstance(data, Path):
            return None
        if data.is_file():
            is_table = data.suffix.lower() in TABLE_SUFFIXES
            if is_table and reads_texts(peek_columns(data, asked.encoding), asked.columns):
                return "it is a table with a column of texts"
            return None
        tables = _tables_in(data, asked) if data.is_dir() else []
        if not tables:
            return None
        return f"the folder holds {_named(tables)}, with a column of texts"

    def read(self, data: Any, asked: Asked) -> Rows:
        """Return the rows of all tables, in the order of their names."""
        paths, problems = _chosen(_tables_in(data, asked)) if data.is_dir() else ([data], [])
        parts = [_part(path, asked) for path in paths]
        splits = _by_split(paths) if data.is_dir() else {}
        stems = {path: _stem(path) for path in paths}
        by_domain = (
            not splits
            and len(set(stems.values())) > 1
            and not any("domain" in part.found for part in parts)
        )
        columns: dict[str, list[Any]] = {role: [] for role in _OTHERS}
        for part in parts:
            for role in _OTHERS:
                columns[role] += part.column(role)
            at = len(columns["label"]) - len(part.table.places)
            if part.path in splits:
                named = splits[part.path]
                columns["split"][at:] = [
                    named if is_missing(v) else v for v in columns["split"][at:]
                ]
            if by_domain:
                columns["domain"][at:] = [readable(stems[part.path])] * len(part.table.places)
        several = len(parts) > 1
        found = parts[0].found
        return Rows(
            name=readable((data if data.is_dir() else data.with_suffix("")).resolve().name),
            names=[_name(part, place, several) for part in parts for place in part.table.places],
            inputs={"text": [text for part in parts for text in _texts(part)]},
            modalities={"text": "text"},
            labels=columns["label"],
            splits=columns["split"],
            groups=columns["group"],
            domains=columns["domain"],
            weights=columns["weight"],
            target=found.get("label", "target"),
            problems=(*problems, *(p for part in parts for p in _problems(part, several))),
            layout=_layout(paths, "text_b" in found, bool(splits), by_domain),
            why=f"{self.recognises(data, asked)}, and {told(found)}",
            origin=str(data),
            read_as=told_encodings([p.table.read_as for p in parts if p.table.read_as]),
        )


def _tables_in(folder: Path, asked: Asked) -> list[Path]:
    """Return the tables of texts that a folder is read by, [] where it is read otherwise."""
    try:
        root = folder.resolve()
        tables = sorted(
            path
            for path in folder.iterdir()
            if path.suffix.lower() in TABLE_SUFFIXES
            and not path.name.startswith(".")
            and path.is_file()
            and (asked.follow_links or stays_inside(path, root))
        )
    except OSError:
        return []
    if not tables:
        return []
    columns = {path: peek_columns(path, asked.encoding) for path in tables}
    texts = [path for path in tables if reads_texts(columns[path], asked.columns)]
    if not texts or "text" in asked.columns:
        return texts
    images = any("image" in find_columns(names, {}) for names in columns.values())
    return [] if images or holds_pictures(folder) else texts


def holds_pictures(folder: Path) -> bool:
    """Whether any file below a folder is named like a picture. Links are not followed."""
    for _, _, names in os.walk(folder):
        if any(os.path.splitext(name)[1].lower() in PICTURES for name in names):  # noqa: PTH122 - a Path for each of very many costs seconds
            return True
    return False


def _chosen(paths: Sequence[Path]) -> tuple[list[Path], list[Problem]]:
    """Return the tables that are the task: those named like splits, if `train` is among them."""
    splits = _by_split(paths)
    if "train" not in splits.values():
        return list(paths), []
    left = tuple(readable(path.name) for path in paths if path not in splits)
    if not left:
        return list(paths), []
    what = (
        f"{count(len(left), 'table')} beside those of the splits (such as {printable(left[0])}),"
        " passed over."
    )
    return list(splits), [Problem("ignored", left, what, left_out=True)]


def _by_split(paths: Sequence[Path]) -> dict[Path, str]:
    """Return the split of each table that is named like one."""
    words = {path: SPLIT_WORDS.get(_stem(path).lower(), "") for path in paths}
    splits = {path: word for path, word in words.items() if word}
    return splits if "train" in splits.values() or len(splits) == len(paths) > 1 else {}


def _stem(path: Path) -> str:
    return _SHARD.sub("", path.stem)


def _part(path: Path, asked: Asked) -> _Part:
    table = read_table(path, asked.encoding)
    found = find_columns(list(table.columns), asked.columns, table.repeated)
    if "text" not in found:
        raise DataError(
            f"{printable(path.name)} has no column named text. The columns are"
            f" {listed(list(table.columns))}. Name it with --column text=NAME."
        )
    return _Part(path, table, {role: name for role, name in found.items() if role != "image"})


def _texts(part: _Part) -> list[Any]:
    first = [as_text(value) for value in part.column("text")]
    if "text_b" not in part.found:
        return first
    return list(zip(first, map(as_text, part.column("text_b")), strict=True))


def _name(part: _Part, place: str, several: bool) -> str:
    return f"{readable(part.path.name)} {place}" if several else place


def _problems(part: _Part, several: bool) -> list[Problem]:
    """Return what was wrong with a table; of one among several, with its name."""
    if not several:
        return list(part.table.problems)
    return [
        Problem(p.kind, tuple(_name(part, w, several) for w in p.where), p.what, p.left_out)
        for p in part.table.problems
    ]


def _named(paths: Sequence[Path]) -> str:
    return listed([readable(path.name) for path in paths], 4)


def _layout(paths: Sequence[Path], pairs: bool, splits: bool, domains: bool) -> str:
    what = "one pair of texts a row" if pairs else "one text a row"
    if len(paths) == 1:
        return f"The table {printable(paths[0].name)}, {what}"
    each = ", each a split by its name" if splits else ""
    each = ", each a domain by its name" if domains else each
    return f"{count(len(paths), 'table')} ({_named(paths)}) read together, {what}{each}"
