"""`Files`: very many paths in little memory."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, overload


class Files(Sequence[Path]):
    """Paths below a folder, each made when it is asked for.

    A `Path` takes about half a kilobyte; 200,000 of them would be a third of what a whole
    extraction may take. The names are kept as they were given, so they share memory with those
    of the examples.
    """

    def __init__(self, root: str, names: Sequence[str]) -> None:
        self.root = root
        self.names = names

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, place: int) -> Path: ...

    @overload
    def __getitem__(self, place: slice) -> "Files": ...

    def __getitem__(self, place: int | slice) -> "Path | Files":
        if isinstance(place, slice):
            return Files(self.root, self.names[place])
        return Path(self.root, self.names[place])

    def take(self, rows: Iterable[int]) -> "Files":
        """Return the paths at `rows`, in that order."""
        return Files(self.root, [self.names[row] for row in rows])


def taken(column: Sequence[Any], rows: Iterable[int]) -> Sequence[Any]:
    """Return the values of a column at `rows`, in that order."""
    return column.take(rows) if isinstance(column, Files) else [column[row] for row in rows]


def as_text(paths: Sequence[Path]) -> list[str]:
    """Return paths as the system writes them."""
    if isinstance(paths, Files):
        return [os.path.join(paths.root, name) for name in paths.names]  # noqa: PTH118 - a Path each would cost seconds
    return [os.fspath(path) for path in paths]
