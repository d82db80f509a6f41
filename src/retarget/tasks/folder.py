"""A folder of pictures, read by the names of its folders."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retarget.core.errors import DataError
from retarget.core.text import count, printable
from retarget.core.types import Modality
from retarget.tasks.files import Files
from retarget.tasks.images import is_picture
from retarget.tasks.readers import Asked, Reader, Rows, register_reader
from retarget.tasks.rows import SPLIT_WORDS
from retarget.tasks.task import Problem
from retarget.tasks.tree import Found, readable, walk

_SPLITS: Mapping[str, str] = {
    word: SPLIT_WORDS[word] for word in ("train", "val", "valid", "validation", "test")
}
_UNLABELLED = frozenset({"unlabelled", "unlabeled"})
_NO_CLASS = frozenset(
    {
        "data",
        "documents",
        "files",
        "frames",
        "image",
        "images",
        "img",
        "imgs",
        "jpg",
        "photos",
        "pictures",
        "png",
        "texts",
        "txt",
    }
)


@dataclass(frozen=True)
class _Place:
    """What the folders above a file say of it."""

    split: str = ""
    domain: str = ""
    label: str | None = None


@dataclass(frozen=True)
class Contents:
    """What is looked for in a folder.

    Attributes:
        noun: what one of them is called.
        modality: what they are read as.
        is_one: path → whether a file is taken for one.
    """

    noun: str
    modality: Modality
    is_one: Callable[[str], bool]


_PICTURES = Contents("picture", "image", is_picture)


@register_reader
class FolderReader(Reader):
    """`CLASS/…`, `train|val|test/CLASS/…`, `DOMAIN/CLASS/…`, or pictures without classes.

    Folders below a class are part of it. Everything in a folder named `unlabelled` is unlabelled.
    """

    name = "folder"
    rank = 90

    def recognises(self, data: Any, asked: Asked) -> str | None:
        """A path to a folder."""
        return "it is a folder" if isinstance(data, Path) and data.is_dir() else None

    def read(self, data: Any, asked: Asked) -> Rows:
        """Return the pictures in the folder, by the names of the folders above them."""
        return read_folder(data, asked, _PICTURES)


def read_folder(data: Path, asked: Asked, contents: Contents) -> Rows:
    """Return the files of one sort in a folder, by the names of the folders above them.

    Raises `DataError` where there is none.
    """
    found, problems = walk(data, follow_links=asked.follow_links)
    root = data.resolve()
    files = [file for file in found if contents.is_one(f"{root}/{file.path}")]
    problems += _others(found, files, contents.noun)
    if not files:
        raise DataError(_nothing(data, found))
    top = 0 if asked.domains else _wrapped(files)
    split_layout = _has_splits(files, top + asked.domains)
    if split_layout and not asked.domains:
        files, aside = _beside_splits(files, top, contents.noun)
        problems += aside
    # One place a folder and one text a path, shared by all that say the same.
    folders = {file.parts[top:-1] for file in files}
    known = {above: _place(above, asked.domains, split_layout) for above in folders}
    places = [known[file.parts[top:-1]] for file in files]
    paths = [file.path for file in files]
    layout, why = _told(places, files, asked.domains, split_layout, top, contents.noun)
    return Rows(
        name=readable(root.name) or "data",
        names=[readable(path) for path in paths],
        inputs={contents.modality: Files(str(root), paths)},
        modalities={contents.modality: contents.modality},
        labels=[place.label for place in places],
        splits=[place.split for place in places],
        domains=[place.domain for place in places],
        target="class",
        problems=tuple(problems),
        layout=layout,
        why=why,
        origin=str(data),
    )


def _wrapped(files: Sequence[Found]) -> int:
    """Return how many levels at the top only wrap the rest: one folder that holds everything.

    The last level is a class if it is named like one, and a wrapper if it is named `images`.
    """
    level = 0
    while True:
        names = {file.parts[level] if len(file.parts) > level + 1 else "" for file in files}
        name = min(names).lower()
        if len(names) > 1 or not name or name in _SPLITS or name in _UNLABELLED:
            return level
        flat = any(len(file.parts) == level + 2 for file in files)
        if flat and name not in _NO_CLASS:
            return level
        level += 1


def _has_splits(files: Sequence[Found], level: int) -> bool:
    """Whether the folders at `level` are splits: all of them, or `train` and one more."""
    names = {
        file.parts[level].lower() for file in files if len(file.parts) > level + 1
    } - _UNLABELLED
    splits = {_SPLITS[name] for name in names if name in _SPLITS}
    return bool(splits) and (names <= _SPLITS.keys() or ("train" in splits and len(splits) > 1))


def _beside_splits(
    files: Sequence[Found], top: int, noun: str
) -> tuple[list[Found], list[Problem]]:
    """Part files below split folders from those that lie beside them."""
    known = _SPLITS.keys() | _UNLABELLED

    def below(file: Found) -> bool:
        return len(file.parts) > top + 1 and file.parts[top].lower() in known

    inside = [file for file in files if below(file)]
    beside = [file for file in files if not below(file)]
    if not beside:
        return inside, []
    what = (
        f"{count(len(beside), noun)} beside the folders of the splits (such as"
        f" {printable(beside[0].name)}), left out. Move what is meant into a split, or into a"
        " folder named unlabelled."
    )
    return inside, [Problem("ignored", tuple(f.name for f in beside), what, left_out=True)]


def _place(folders: tuple[str, ...], domains: bool, splits: bool) -> _Place:
    rest = list(folders)
    domain = readable(rest.pop(0)) if domains and rest else ""
    split = ""
    if any(name.lower() in _UNLABELLED for name in rest[:2]):
        return _Place(_SPLITS.get(rest[0].lower(), "") if splits else "", domain)
    if splits and rest:
        split = _SPLITS.get(rest.pop(0).lower(), "")
    return _Place(split, domain, readable(rest[0]) if rest else None)


def _told(
    places: Sequence[_Place],
    files: Sequence[Found],
    domains: bool,
    splits: bool,
    top: int,
    noun: str,
) -> tuple[str, str]:
    """Return the layout and what decided it, as two clauses."""
    order = f"SPLIT/CLASS/{noun}" if splits else f"CLASS/{noun}"
    where = "at the top" if not top else f"in {printable(readable('/'.join(files[0].parts[:top])))}"
    if domains:
        order = f"DOMAIN/{order}"
    if all(place.label is None for place in places):
        return f"A folder of {noun}s without classes: all are unlabelled", (
            f"no {noun} lies in a folder that could be its class"
        )
    if domains:
        why = "the first folder level was said to be the domain"
    elif splits:
        names = sorted({f.parts[top] for f in files if f.parts[top].lower() in _SPLITS})
        why = f"the folders {where} are named {_listed(names)}"
    else:
        why = f"the folders {where} are not named like splits{_could_be_domains(files, top)}"
    free = sum(place.label is None for place in places)
    aside = f"; {count(free, noun)} without a class folder: unlabelled" if free else ""
    return f"A folder laid out as {order}{aside}", why


def _could_be_domains(files: Sequence[Found], top: int) -> str:
    """A hint where every folder at the top holds the same folders: those may be the classes."""
    below: dict[str, set[str]] = {}
    for file in files:
        if len(file.parts) > 1:
            below.setdefault(file.parts[0], set()).add(file.parts[1] if len(file.parts) > 2 else "")
    sets = list(below.values())
    if len(sets) < 2 or len(sets[0]) < 2 or "" in sets[0] or any(s != sets[0] for s in sets):
        return ""
    return (
        f" (all of them hold the folders {_listed(sorted(sets[0]))}: if those are the classes and"
        f" {_listed(sorted(below))} are domains, pass --domains, domains=True)"
    )


def _listed(names: Sequence[str], most: int = 4) -> str:
    shown = [printable(readable(name), 40) for name in names[:most]]
    if len(names) > most:
        return ", ".join(shown) + ", …"
    return " and ".join([", ".join(shown[:-1]), shown[-1]]) if len(shown) > 1 else shown[0]


def _others(found: Sequence[Found], files: Sequence[Found], noun: str) -> list[Problem]:
    taken = set(files)
    others = tuple(file.name for file in found if file not in taken)
    if not others:
        return []
    what = (
        f"{count(len(others), 'file')} not named like a {noun} (such as {printable(others[0])}),"
        " passed over."
    )
    return [Problem("ignored", others, what, left_out=True)]


def _nothing(data: Path, found: Sequence[Found]) -> str:
    where = printable(str(data))
    if not found:
        return f"{where} is empty. Point to a folder with pictures or texts, or to a table."
    return (
        f"{where} holds {count(len(found), 'file')} and no picture or text (the first is"
        f" {printable(found[0].name)}). Point to a folder with pictures or .txt files, or"
        " to a table with a column named image or text."
    )
