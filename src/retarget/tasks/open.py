"""`open_task`: whatever a user has, read as a `Task`, saying how and why."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

import retarget.tasks as room
from retarget.core.errors import DataError
from retarget.core.text import printable
from retarget.core.types import Kind
from retarget.tasks.encodings import codec_of
from retarget.tasks.readers import READERS, Asked, Reader
from retarget.tasks.rows import build_task
from retarget.tasks.task import Task

_RUNS_CODE = frozenset(
    {".pkl", ".pickle", ".joblib", ".dill", ".pt", ".pth", ".ckpt", ".h5", ".hdf5", ".keras"}
)
_ARCHIVES = frozenset({".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar"})
_ARRAYS = frozenset({".npy", ".npz"})


def open_task(
    data: Any,
    targets: Any = None,
    *,
    kind: Kind | None = None,
    columns: Mapping[str, str] | None = None,
    domains: bool = False,
    strict: bool = False,
    follow_links: bool = False,
    groups: Sequence[Any] | None = None,
    splits: Sequence[Any] | None = None,
    domain_names: Sequence[Any] | None = None,
    weights: Sequence[Any] | None = None,
    name: str | None = None,
    encoding: str | None = None,
) -> Task:
    """Read `data` as a task. `task.layout` and `task.why` say how it was read, and why so.

    Args:
        data: a folder, table or CoNLL file (path); or a NumPy array (n, h, w[, c]) or tensor, a
            list of texts, pairs of texts, tokens, paths, PIL images, arrays or tensors, a pandas
            frame, or a Hugging Face dataset.
        targets: n targets, where they don't come with the data. `None`, NaN or "" among them
            mean unlabelled. For tagging: lists of (start, end, label) in characters, or, beside
            lists of tokens, lists of tags.
        kind: what the targets are; read from them if not said (see `targets.kind_of`).
        columns: names of columns by role: `{"label": "diagnosis"}`. The roles are image, text,
            text_b, label, split, group, domain and weight.
        domains: whether the first folder level is the domain.
        strict: whether to stop at the first example that can't be read. All are decoded once.
        follow_links: whether links, and paths in manifests, may lead out of the data folder.
        groups: n names of who an example belongs to; a group is never split up.
        splits: n of "train", "val", "test" or "".
        domain_names: n names of where an example comes from.
        weights: n numbers above zero.
        name: a short name for people.
        encoding: of files of text, as Python names it; told by their bytes if not said (see
            `encodings.decode`).

    Raises `DataError` where the data can't be used, with what is wrong, where, what to do.
    """
    asked = Asked(
        targets=targets,
        kind=kind,
        columns=dict(columns or {}),
        domains=domains,
        strict=strict,
        follow_links=follow_links,
        groups=groups,
        splits=splits,
        domain_names=domain_names,
        weights=weights,
        name=name,
        encoding=None if encoding is None else codec_of(encoding),
    )
    if isinstance(data, str):
        data = Path(data)
    if isinstance(data, Path):
        data = data.expanduser()
    return build_task(reader_for(data, asked).read(data, asked), asked)


def reader_for(data: Any, asked: Asked) -> Reader:
    """Return the first registered reader that takes `data`. Raises `DataError` if none does.

    Every module of this room is imported first, so that a reader is known by being there.
    """
    for found in iter_modules(room.__path__):
        import_module(f"{room.__name__}.{found.name}")
    for reader in sorted(READERS.values(), key=lambda reader: (reader.rank, reader.name)):
        if reader.recognises(data, asked) is not None:
            return reader
    raise DataError(_not_read(data))


def holds_examples(path: Path) -> bool:
    """Whether a path is a folder or a table of examples, not one input by itself, or nothing."""
    try:
        return reader_for(path, Asked()).name != "list"
    except DataError:
        return False


def _not_read(data: Any) -> str:
    wanted = "a folder of pictures or texts, or a table (CSV, TSV, JSONL, Parquet)"
    if not isinstance(data, Path):
        return (
            f"Data of type {type(data).__name__} can't be read. Give a path, an array"
            " (n, h, w[, c]), a list of pictures or texts, a pandas frame or a Hugging Face"
            " dataset."
        )
    shown = printable(str(data))
    if not data.exists():
        return f"There is nothing at {shown}. Give the path of {wanted}."
    suffix = data.suffix.lower()
    if suffix in _RUNS_CODE:
        return (
            f"{shown} is a {suffix} file, which can run code when it is opened, so it never is."
            f" Give the path of {wanted}."
        )
    if suffix in _ARCHIVES:
        return f"{shown} is an archive. Unpack it and give the path of the folder."
    if suffix in _ARRAYS:
        return f"{shown} holds arrays. Load them in Python and give them to open_task()."
    if suffix == ".json":
        return (
            f"{shown} is no export of Label Studio's. Write its examples one a line, such as"
            ' {"text": "…", "label": "…"}, into a file that ends in .jsonl.'
        )
    return f"{shown} is not data that can be read. Give the path of {wanted}."
