"""A folder of pictures, read by the names of its folders."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retarget.core.errors import DataError
from retarget.core.text import count, printable
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
    }
)


@dataclass(frozen=True)
class _Place:
    """What the folders above a picture say of it."""

    split: str = ""
    domain: str = ""
    label: str | None = None


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
        found, problems = walk(data, follow_links=asked.follow_links)
        root = data.resolve()
        pictures = [file for file in found if is_picture(f"{root}/{file.path}")]
        problems += _others(found, pictures)
        if not pictures:
            raise DataError(_no_pictures(data, found))
        top = 0 if asked.domains else _wrapped(pictures)
        split_layout = _has_splits(pictures, top + asked.domains)
        if split_layout and not asked.domains:
            pictures, aside = _beside_splits(pictures, top)
            problems += aside
        # One place a folder and one text a path, shared by all that say the same.
        folders = {file.parts[top:-1] for file in pictures}
        known = {above: _place(above, asked.domains, split_layout) for above in folders}
        places = [known[file.parts[top:-1]] for file in pictures]
        paths = [file.path for file in pictures]
        layout, why = _told(places, pictures, asked.domains, split_layout, top)
        return Rows(
            name=readable(root.name) or "data",
            names=[readable(path) for path in paths],
            inputs={"image": Files(str(root), paths)},
            modalities={"image": "image"},
            labels=[place.label for place in places],
            splits=[place.split for place in places],
            domains=[place.domain for place in places],
            target="class",
            problems=tuple(problems),
            layout=layout,
            why=why,
            origin=str(data),
        )


def _wrapped(pictures: Sequence[Found]) -> int:
    """Return how many levels at the top only wrap the rest: one folder that holds everything.

    The last level is a class if it is named like one, and a wrapper if it is named `images`.
    """
    level = 0
    while True:
        names = {file.parts[level] if len(file.parts) > level + 1 else "" for file in pictures}
        name = min(names).lower()
        if len(names) > 1 or not name or name in _SPLITS or name in _UNLABELLED:
            return level
        flat = any(len(file.parts) == level + 2 for file in pictures)
        if flat and name not in _NO_CLASS:
            return level
        level += 1


def _has_splits(pictures: Sequence[Found], level: int) -> bool:
    """Whether the folders at `level` are splits: all of them, or `train` and one more."""
    names = {
        file.parts[level].lower() for file in pictures if len(file.parts) > level + 1
    } - _UNLABELLED
    splits = {_SPLITS[name] for name in names if name in _SPLITS}
    return bool(splits) and (names <= _SPLITS.keys() or ("train" in splits and len(splits) > 1))


def _beside_splits(pictures: Sequence[Found], top: int) -> tuple[list[Found], list[Problem]]:
    """Part pictures below split folders from those that lie beside them."""
    known = _SPLITS.keys() | _UNLABELLED

    def below(file: Found) -> bool:
        return len(file.parts) > top + 1 and file.parts[top].lower() in known

    inside = [file for file in pictures if below(file)]
    beside = [file for file in pictures if not below(file)]
    if not beside:
        return inside, []
    what = (
        f"{count(len(beside), 'picture')} beside the folders of the splits (such as"
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
    places: Sequence[_Place], pictures: Sequence[Found], domains: bool, splits: bool, top: int
) -> tuple[str, str]:
    """Return the layout and what decided it, as two clauses."""
    order = "SPLIT/CLASS/picture" if splits else "CLASS/picture"
    where = (
        "at the top" if not top else f"in {printable(readable('/'.join(pictures[0].parts[:top])))}"
    )
    if domains:
        order = f"DOMAIN/{order}"
    if all(place.label is None for place in places):
        return "A folder of pictures without classes: all are unlabelled", (
            "no picture lies in a folder that could be its class"
        )
    if domains:
        why = "the first folder level was said to be the domain"
    elif splits:
        names = sorted({f.parts[top] for f in pictures if f.parts[top].lower() in _SPLITS})
        why = f"the folders {where} are named {_listed(names)}"
    else:
        why = f"the folders {where} are not named like splits{_could_be_domains(pictures, top)}"
    free = sum(place.label is None for place in places)
    aside = f"; {count(free, 'picture')} without a class folder: unlabelled" if free else ""
    return f"A folder laid out as {order}{aside}", why


def _could_be_domains(pictures: Sequence[Found], top: int) -> str:
    """A hint where every folder at the top holds the same folders: those may be the classes."""
    below: dict[str, set[str]] = {}
    for file in pictures:
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


def _others(found: Sequence[Found], pictures: Sequence[Found]) -> list[Problem]:
    taken = set(pictures)
    others = tuple(file.name for file in found if file not in taken)
    if not others:
        return []
    what = (
        f"{count(len(others), 'file')} not named like a picture (such as {printable(others[0])}),"
        " passed over."
    )
    return [Problem("ignored", others, what, left_out=True)]


def _no_pictures(data: Path, found: Sequence[Found]) -> str:
    where = printable(str(data))
    if not found:
        return f"{where} is empty. Point to a folder with pictures or to a manifest."
    return (
        f"{where} holds {count(len(found), 'file')} and no picture (the first is"
        f" {printable(found[0].name)}). Point to a folder with pictures, or to a manifest with a"
        " column named image."
    )
