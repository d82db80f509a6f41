"""Sources on disk: `source.json` and `model.safetensors`, and the copies kept in the cache."""

import json
import re
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from retarget.core.errors import SourceError
from retarget.core.hashing import hash_file, hash_file_once
from retarget.core.paths import cache_dir, written_whole
from retarget.core.text import printable
from retarget.core.types import Modality
from retarget.sources.blueprint import Blueprint
from retarget.sources.source import Facts, Source
from retarget.sources.weights import inside, read_json

if TYPE_CHECKING:
    from torch import Tensor

    from retarget.sources.encoder import Encoder

RECORD = "source.json"
WEIGHTS = "model.safetensors"
SCHEMA_VERSION = 1
MAX_RECORD = 300_000_000  # bytes: a tokenizer may be in it, its letters written as \uXXXX
_DIGEST = re.compile(r"[0-9a-f]{32}")
_FIELDS = {
    "schema_version", "origin", "library", "architecture", "arguments", "preprocessing",
    "fingerprint", "versions", "weights", "facts",
}  # fmt: skip


@dataclass(frozen=True)
class Saved:
    """What a `source.json` says, checked for form.

    Attributes:
        origin: the URI it was saved from.
        blueprint: with its preprocessing spelt out.
        fingerprint: what the features are known by, under `versions` of the libraries.
        digest: of the bytes of `model.safetensors`.
    """

    origin: str
    blueprint: Blueprint
    fingerprint: str
    versions: Mapping[str, str]
    digest: str
    facts: Facts


def kept(fingerprint: str) -> Path:
    """Return where the converted copy of an encoder is kept."""
    return cache_dir() / "encoders" / fingerprint


def is_kept(fingerprint: str) -> bool:
    """Return whether a converted copy is here. The record is written last."""
    return (kept(fingerprint) / RECORD).is_file()


def keep(source: Source, blueprint: Blueprint, encoder: "Encoder") -> None:
    """Keep a converted copy, where the disk is neither full nor read-only."""
    with suppress(OSError):
        write(source, blueprint, encoder, kept(source.fingerprint))


def write(source: Source, blueprint: Blueprint, encoder: "Encoder", folder: Path) -> None:
    """Write an encoder and its record into `folder`. Raises `OSError`."""
    digest = write_weights(encoder, folder)
    write_record(source, blueprint, recipe_of(encoder), digest, folder)


def write_weights(encoder: "Encoder", folder: Path) -> str:
    """Write an encoder's weights into `folder`; return the digest of their file. Raises
    `OSError`."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    tensors = {name: value.contiguous().clone() for name, value in encoder.weights().items()}
    with written_whole(folder / WEIGHTS) as part:
        try:
            save_file(tensors, part)
        except SafetensorError as error:
            raise OSError(f"{folder / WEIGHTS} can't be written ({error})") from error
    return hash_file_once(folder / WEIGHTS)


def recipe_of(encoder: "Encoder") -> Mapping[str, Any] | None:
    """Return an encoder's preprocessing, `None` for a user's own, which prepares by its code."""
    from retarget.sources.taps import LayeredEncoder

    return encoder.preprocessing() if isinstance(encoder, LayeredEncoder) else None


def write_record(
    source: Source,
    blueprint: Blueprint,
    preprocessing: Mapping[str, Any] | None,
    digest: str,
    folder: Path,
) -> None:
    """Write `source.json` for weights of that digest. Raises `OSError`."""
    record = {
        "schema_version": SCHEMA_VERSION,
        "origin": source.uri,
        **replace(blueprint, side=None).record(),
        "preprocessing": preprocessing and dict(preprocessing),
        "fingerprint": source.fingerprint,
        "versions": blueprint.versions(),
        "weights": digest,
        "facts": asdict(source.facts),
    }
    with written_whole(folder / RECORD) as part:
        part.write_text(json.dumps(record, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def copy_kept(fingerprint: str, folder: Path) -> None:
    """Copy a converted encoder into `folder`, checked against its digest. A damaged copy is
    thrown away. Raises `SourceError`."""
    copy = kept(fingerprint)
    record = read(copy)
    with written_whole(folder / WEIGHTS) as part:
        shutil.copyfile(inside(copy, WEIGHTS), part)
        if hash_file(part) != record.digest:
            discard(fingerprint)
            raise SourceError(f"The copy of {record.origin} in {copy} is damaged. Save it again.")
    with written_whole(folder / RECORD) as part:
        shutil.copyfile(copy / RECORD, part)


def kept_tensors(fingerprint: str) -> "dict[str, Tensor] | None":
    """Return the tensors of a converted copy, `None` where there is none or it is damaged."""
    if not is_kept(fingerprint):
        return None
    from retarget.sources.weights import read_tensors

    path = kept(fingerprint) / WEIGHTS
    try:
        if hash_file(path) == read(kept(fingerprint)).digest:
            return read_tensors(path)
    except (OSError, SourceError):
        pass
    discard(fingerprint)
    return None


def discard(fingerprint: str) -> None:
    """Throw a converted copy away."""
    shutil.rmtree(kept(fingerprint), ignore_errors=True)


def read(folder: Path) -> Saved:
    """Return what `source.json` in `folder` says. Raises `SourceError` for anything that isn't
    exactly such a record; nothing in it is followed, imported or run."""
    path = inside(folder, RECORD)
    record = read_json(path, MAX_RECORD)
    try:
        return _saved(record)
    except (SourceError, ValueError, TypeError) as error:
        raise SourceError(f"{printable(str(path))} is not a valid source: {error}") from error


def _saved(record: dict[str, Any]) -> Saved:
    if set(record) != _FIELDS:
        odd = sorted(set(record) ^ _FIELDS)
        raise ValueError(f"its fields differ from the known ones ({printable(', '.join(odd))}).")
    if record["schema_version"] != SCHEMA_VERSION or type(record["schema_version"]) is not int:
        raise ValueError(f"it has version {record['schema_version']!r}, {SCHEMA_VERSION} is read.")
    for name in ("fingerprint", "weights"):
        if not isinstance(record[name], str) or not _DIGEST.fullmatch(record[name]):
            raise ValueError(f"its {name} is no digest.")
    versions = record["versions"]
    if not isinstance(versions, dict) or not all(isinstance(v, str) for v in versions.values()):
        raise ValueError("its versions are not names and texts.")
    if not isinstance(record["origin"], str):
        raise ValueError("its origin is no text.")
    return Saved(
        printable(record["origin"]),
        Blueprint.from_record(record),
        record["fingerprint"],
        versions,
        record["weights"],
        _facts(record["facts"]),
    )


def _facts(record: Any) -> Facts:
    if not isinstance(record, dict) or set(record) != {f.name for f in fields(Facts)}:
        raise ValueError("its facts have other fields than the known ones.")
    texts = ("title", "trained_on", "licence", "how_to_get")
    good = (
        record["modality"] in get_args(Modality)
        and all(isinstance(record[name], str) for name in texts)
        and all(isinstance(record[name], bool) for name in ("here", "pretrained"))
        and (record["parameters"] is None or type(record["parameters"]) is int)
        and (record["megabytes"] is None or type(record["megabytes"]) in (int, float))
    )
    if not good:
        raise ValueError("its facts have other types than the known ones.")
    return Facts(**{**record, **{name: printable(record[name]) for name in texts}})
