"""A folder's files, found without leaving it and without going round in circles."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from retarget.core.errors import DataError
from retarget.core.text import count, printable
from retarget.tasks.task import Problem, ProblemKind

_LITTER = frozenset({"__macosx", "thumbs.db", "desktop.ini", "ehthumbs.db", "@eadir"})


@dataclass(frozen=True, slots=True)
class Found:
    """A file: the names from the root down to it, the last one its own."""

    parts: tuple[str, ...]

    def under(self, root: Path) -> Path:
        """Return its path."""
        return root.joinpath(*self.parts)

    @property
    def name(self) -> str:
        """Its path relative to the root, as text that can be written as UTF-8."""
        return readable(self.path)

    @property
    def path(self) -> str:
        """Its path relative to the root, as the system writes it."""
        return "/".join(self.parts)


@dataclass
class _Walk:
    root: Path
    follow_links: bool
    files: list[Found] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)
    links: list[tuple[str, ...]] = field(default_factory=list)
    seen: set[tuple[int, int]] = field(default_factory=set)

    def enter(self, parts: tuple[str, ...]) -> None:
        """Take in a folder and all below it that is no link; links to folders wait."""
        waiting = [parts]
        while waiting:
            parts = waiting.pop()
            folder = self.root.joinpath(*parts)
            try:
                facts = folder.stat()
                if (facts.st_dev, facts.st_ino) in self.seen:
                    self.twice.append(readable("/".join(parts)))
                    continue
                self.seen.add((facts.st_dev, facts.st_ino))
                with os.scandir(folder) as entries:
                    waiting += self._sort(parts, list(entries))
            except OSError:
                self.closed.append(readable("/".join(parts)) or ".")

    def _sort(
        self, parts: tuple[str, ...], entries: Sequence["os.DirEntry[str]"]
    ) -> list[tuple[str, ...]]:
        folders = []
        for entry in entries:
            if entry.name.startswith(".") or entry.name.lower() in _LITTER:
                continue
            here = (*parts, entry.name)
            if entry.is_symlink():
                self._link(here, entry)
            elif entry.is_dir():
                folders.append(here)
            else:
                self.files.append(Found(here))
        return folders

    def _link(self, parts: tuple[str, ...], entry: "os.DirEntry[str]") -> None:
        if not self.follow_links and not stays_inside(Path(entry.path), self.root):
            self.refused.append(readable("/".join(parts)))
        elif _is_folder(entry):
            self.links.append(parts)
        else:
            self.files.append(Found(parts))


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:
        # A link to itself.
        return False


def walk(root: Path, *, follow_links: bool = False) -> tuple[list[Found], list[Problem]]:
    """Return all files below `root`, sorted by their path, and what was not gone into.

    Hidden files and what systems leave behind (`Thumbs.db`, `__MACOSX`) are passed over. A link
    that leads out of `root` is refused unless `follow_links`; every folder is read once, so a
    circle of links ends. Raises `DataError` if `root` can't be read.
    """
    root = root.resolve()
    found = _Walk(root, follow_links)
    found.enter(())
    if "." in found.closed:
        raise DataError(f"The folder {printable(str(root))} can't be read. Check its permissions.")
    while found.links:
        # Real folders go first, so that a link never takes a folder's own name away.
        first = min(found.links)
        found.links.remove(first)
        found.enter(first)
    return sorted(found.files, key=lambda file: file.parts), _problems(found)


def stays_inside(path: Path, root: Path) -> bool:
    """Whether a path, with all links in it followed, lies below `root` (itself resolved)."""
    try:
        return path.resolve().is_relative_to(root)
    except (OSError, RuntimeError, ValueError):
        return False


def readable(text: str) -> str:
    """Return a file name as text that can be written as UTF-8."""
    if text.isascii():
        return text
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _problems(found: _Walk) -> list[Problem]:
    told: tuple[tuple[ProblemKind, list[str], str, str], ...] = (
        (
            "refused",
            found.refused,
            "symbolic link",
            "out of the data folder, not followed (such as {}). Pass --follow-links"
            " (follow_links=True) if that is meant.",
        ),
        (
            "ignored",
            found.twice,
            "linked folder",
            "read already under another name (such as {}), not read again.",
        ),
        (
            "unreadable",
            found.closed,
            "folder",
            "that can't be opened (such as {}). Check the permissions.",
        ),
    )
    return [
        Problem(
            kind,
            tuple(sorted(names)),
            f"{count(len(names), noun)} {what.format(printable(min(names)))}",
            left_out=True,
        )
        for kind, names, noun, what in told
        if names
    ]
