"""A manifest: a table with one picture a row, by its path."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from retarget.core.errors import DataError
from retarget.core.text import count, printable
from retarget.tasks.columns import find_columns, image_column, no_image_column, told, without_texts
from retarget.tasks.encodings import told_encodings
from retarget.tasks.files import Files
from retarget.tasks.images import is_picture
from retarget.tasks.readers import Asked, Reader, Rows, register_reader
from retarget.tasks.tables import TABLE_SUFFIXES, Table, peek_columns, read_table
from retarget.tasks.targets import is_missing
from retarget.tasks.task import Problem
from retarget.tasks.tree import readable, stays_inside, walk

_NAMES = tuple(f"manifest{suffix}" for suffix in TABLE_SUFFIXES)


@register_reader
class ManifestReader(Reader):
    """CSV, TSV, JSON lines or Parquet, itself or alone in a folder.

    Paths are relative to the manifest's folder and may not lead out of it.
    """

    name = "manifest"
    rank = 50

    def recognises(self, data: Any, asked: Asked) -> str | None:
        """A path to a table, or to a folder with a manifest or with one table of images."""
        if not isinstance(data, Path):
            return None
        if data.is_file() and data.suffix.lower() in TABLE_SUFFIXES:
            return "it is a table by its name"
        found = _manifest_in(data, asked) if data.is_dir() else None
        return f"the folder holds {printable(found.name)}" if found else None

    def read(self, data: Any, asked: Asked) -> Rows:
        """Return the rows whose pictures may be opened."""
        path = _manifest_in(data, asked) if data.is_dir() else data
        if path is None:
            raise DataError(f"{printable(str(data))} holds no manifest.")
        table = read_table(path, asked.encoding)
        found = find_columns(list(table.columns), asked.columns, table.repeated)
        if "image" not in found:
            raise no_image_column(printable(path.name), list(table.columns))
        paths = _Paths(path.parent.resolve(), asked.follow_links)
        cells = table.columns[found["image"]]
        references = [paths.reference(cell) for cell in cells]
        kept = [i for i, reference in enumerate(references) if reference is not None]
        names = [paths.name(references[i], table.places[i]) for i in kept]
        problems = [*table.problems, *_not_opened(table, cells, references)]
        if data.is_dir():
            problems += _unlisted(data, asked, [references[i] for i in kept])
        columns = {
            role: [table.columns[column][i] for i in kept]
            for role, column in without_texts(found).items()
        }
        return Rows(
            name=readable(path.stem if path.name not in _NAMES else path.parent.resolve().name),
            names=names,
            inputs={"image": _compact([references[i] for i in kept])},
            modalities={"image": "image"},
            labels=columns.get("label", [None] * len(kept)),
            splits=columns.get("split"),
            groups=columns.get("group"),
            domains=columns.get("domain"),
            weights=columns.get("weight"),
            target=found.get("label", "target"),
            problems=tuple(problems),
            layout=f"The table {printable(path.name)}, one picture a row",
            why=f"{self.recognises(data, asked)}, and {told(found)}",
            origin=str(data),
            read_as=told_encodings([table.read_as] if table.read_as else []),
        )


class _Paths:
    """References of a manifest's cells, none of which leads out of `root`."""

    def __init__(self, root: Path, follow_links: bool) -> None:
        self.root = root
        self.follow_links = follow_links
        self._inside: dict[str, bool] = {}

    def reference(self, cell: Any) -> Path | bytes | None:
        """Return what a cell refers to, `None` where it is nothing or must not be opened."""
        if isinstance(cell, dict):
            # Hugging Face writes pictures into Parquet as {"bytes": …, "path": …}.
            cell = cell.get("bytes") or cell.get("path")
        if isinstance(cell, bytes) and cell:
            return cell
        if not isinstance(cell, str) or not cell.strip() or "\0" in cell:
            return None
        path = self.root / cell
        if not path.exists() and "\\" in cell:
            path = self.root / cell.replace("\\", "/")
        path = Path(os.path.normpath(path))
        return path if self.follow_links or self._allowed(path) else None

    def name(self, reference: Path | bytes | None, place: str) -> str:
        """Return how a person finds an example: its path in the folder, or its row."""
        if not isinstance(reference, Path):
            return place
        if reference.is_relative_to(self.root):
            reference = reference.relative_to(self.root)
        return readable(reference.as_posix())

    def _allowed(self, path: Path) -> bool:
        if not path.is_relative_to(self.root):
            # An absolute path may spell the folder by way of a link.
            return stays_inside(path, self.root)
        parent = str(path.parent)
        if parent not in self._inside:
            self._inside[parent] = stays_inside(path.parent, self.root)
        if not self._inside[parent]:
            return False
        return not path.is_symlink() or stays_inside(path, self.root)


def _compact(references: Sequence[Any]) -> Sequence[Any]:
    if all(isinstance(reference, Path) for reference in references):
        return Files("", [str(reference) for reference in references])
    return references


def _manifest_in(folder: Path, asked: Asked) -> Path | None:
    """Return the manifest that a folder is read by, `None` where there is none."""
    try:
        tables = sorted(
            path
            for path in folder.iterdir()
            if path.suffix.lower() in TABLE_SUFFIXES
            and not path.name.startswith(".")
            and path.is_file()
            and (asked.follow_links or stays_inside(path, folder.resolve()))
        )
    except OSError:
        return None
    named = {path.name.lower(): path for path in tables}
    for name in _NAMES:
        if name in named:
            return named[name]
    wanted = asked.columns.get("image")
    columns = {path: peek_columns(path, asked.encoding) for path in tables}
    with_images = [
        path
        for path in tables
        if (wanted in columns[path] if wanted else image_column(columns[path]))
    ]
    return with_images[0] if len(with_images) == 1 else None


def _not_opened(
    table: Table, cells: Sequence[Any], references: Sequence[Path | bytes | None]
) -> list[Problem]:
    refused: list[tuple[str, str]] = []
    empty: list[tuple[str, Any]] = []
    for place, cell, reference in zip(table.places, cells, references, strict=True):
        if reference is None:
            nothing = is_missing(cell) or (isinstance(cell, str) and "\0" in cell)
            (empty if nothing or not isinstance(cell, str) else refused).append((place, cell))
    problems = []
    if refused:
        what = (
            f"{count(len(refused), 'path')} out of the manifest's folder, not opened (such as"
            f" {printable(refused[0][1])}, {refused[0][0]}). Pass --follow-links"
            " (follow_links=True) if that is meant."
        )
        where = tuple(f"{place}: {readable(cell)}" for place, cell in refused)
        problems.append(Problem("refused", where, what, left_out=True))
    if empty:
        what = (
            f"{count(len(empty), 'row')} without the path of a picture (such as {empty[0][0]}),"
            " left out."
        )
        where = tuple(place for place, _ in empty)
        problems.append(Problem("bad-row", where, what, left_out=True))
    return problems


def _unlisted(folder: Path, asked: Asked, listed: Iterable[Path | bytes | None]) -> list[Problem]:
    """Name the pictures that lie in the folder and not in its manifest."""
    root = folder.resolve()
    known = set(listed)
    found, _ = walk(folder, follow_links=asked.follow_links)
    left = tuple(
        file.name for file in found if (path := file.under(root)) not in known and is_picture(path)
    )
    if not left:
        return []
    what = (
        f"{count(len(left), 'picture')} in the folder that its manifest does not name (such as"
        f" {printable(left[0])}), passed over."
    )
    return [Problem("ignored", left, what, left_out=True)]
