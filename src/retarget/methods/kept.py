"""Finished trainings, kept in the cache: the same again is read, not trained."""

import json
import os
import secrets
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from retarget.core.errors import RetargetError
from retarget.core.hashing import (
    code_of,
    hash_array,
    hash_bytes,
    hash_file,
    hash_file_once,
    hash_json,
    versions_of,
)
from retarget.core.paths import cache_dir, folder_megabytes, written_whole
from retarget.core.types import FloatArray, Kind, Pooling
from retarget.methods.machine import machine_of
from retarget.methods.model import Member, TransferModel, load_model
from retarget.methods.tuning import Epoch, Mix, Subject, TrainingCost, Tuned, Tuning
from retarget.sources.source import Source

RECORD = "tuned.json"
OUTPUTS = "validation.npy"
ENCODER = "encoder"
VERSION = 1
# Raised whenever the same settings come to be trained otherwise.
EDITION = 5
MOST_MEGABYTES = 4_000.0
_PACKAGES = ("retarget", "torch", "timm", "transformers", "peft")

# What this process made or read is still to be used: it is not thrown away.
_in_use: set[str] = set()


def training_key(
    method: type[Tuning], settings: Mapping[str, Any], source: Source, subject: Subject
) -> str:
    """Return the digest of all that decides a training; a new one where the code can't be known.

    Args:
        method: the tuning's class.
        settings: its settings, JSON-able.
        source: what it starts from.
        subject: what it learns from.
    """
    labels, owners = subject.labels, subject.inputs.owners
    automatic = settings.get("precision") == "auto"
    return hash_json(
        {
            "edition": EDITION,
            "method": method.name,
            "code": code_of(method) or secrets.token_hex(),
            "settings": dict(settings),
            "source": source.fingerprint,
            "ids": hash_bytes("\n".join(subject.inputs.ids.tolist()).encode()),
            **({} if owners is None else {"owners": hash_array(owners)}),
            "kind": labels.kind,
            "outputs": labels.outputs,
            "values": hash_array(np.asarray(labels.values)),
            "weights": hash_array(labels.weights),
            "validation": hash_array(subject.validation),
            "metric": subject.metric,
            "pooling": subject.pooling,
            "seed": subject.seed,
            "seconds": subject.seconds,
            **({"machine": machine_of(subject.device)} if automatic else {}),
            "versions": versions_of(_PACKAGES),
        }
    )


def folder_of(key: str) -> Path:
    """Return where a training's results lie."""
    return cache_dir() / "tuned" / key


def keep(key: str, tuned: Tuned, kind: Kind, pooling: Pooling) -> None:
    """Keep what a training found; its encoders already lie in `folder_of(key)`.

    Where the disk is full or read-only nothing is kept. Then the least recently used ones go,
    until all take less than 4 GB, but none that this process has had to do with.
    """
    _in_use.add(key)
    folder = folder_of(key)
    with suppress(OSError):
        _heads(tuned, kind, pooling).save(folder)
        with written_whole(folder / OUTPUTS) as part, part.open("wb") as stream:
            np.save(stream, tuned.validation, allow_pickle=False)
        record = {**_told(tuned, folder), "files": _digests(folder, hash_file_once)}
        with written_whole(folder / RECORD) as part:
            part.write_text(json.dumps(record, indent=1), encoding="utf-8")
    prune()


def find(key: str) -> Tuned | None:
    """Return what a training found, `None` where it isn't known; what is damaged is discarded."""
    folder = folder_of(key)
    if not (folder / RECORD).is_file():
        return None
    try:
        tuned = _read(folder)
    except (RetargetError, OSError, ValueError, KeyError, TypeError, AttributeError):
        discard(key)
        return None
    _in_use.add(key)
    with suppress(OSError):
        os.utime(folder / RECORD)
    return tuned


def discard(key: str) -> None:
    """Throw a training's results away."""
    shutil.rmtree(folder_of(key), ignore_errors=True)


def prune(most_megabytes: float = MOST_MEGABYTES) -> None:
    """Throw away what was not used for longest, until the rest fits."""
    root = cache_dir() / "tuned"
    found = [p for p in root.iterdir() if p.is_dir()] if root.is_dir() else []
    sizes = {folder: folder_megabytes(folder) for folder in found}
    total = sum(sizes.values())
    for folder in sorted(found, key=_last_used):
        if total <= most_megabytes:
            return
        if folder.name not in _in_use:
            shutil.rmtree(folder, ignore_errors=True)
            total -= sizes[folder]


def _last_used(folder: Path) -> float:
    for path in (folder / RECORD, folder):
        with suppress(OSError):
            return path.stat().st_mtime
    return 0.0


def _heads(tuned: Tuned, kind: Kind, pooling: Pooling) -> TransferModel:
    """Return all heads as one model, which knows how to be written and checked."""
    members = [replace(tuned.member, source=0)]
    members += [replace(m.member, source=0) for m in tuned.mixes if m.member is not None]
    names = tuple(str(i) for i in range(tuned.validation.shape[1]))
    return TransferModel(kind, names, tuple(members), 1.0, (tuned.uri,), pooling)


def _told(tuned: Tuned, folder: Path) -> dict[str, Any]:
    """Return all but arrays, JSON-able; encoders by their folder's name."""
    return {
        "version": VERSION,
        "encoder": _name(tuned.uri, folder),
        "epochs": [asdict(e) for e in tuned.epochs],
        "taken": tuned.taken,
        "why": tuned.why,
        "gap": list(tuned.gap),
        "cost": asdict(tuned.cost),
        "mixes": [
            {
                "share": m.share,
                "validation_loss": m.validation_loss,
                "score": m.score,
                "encoder": _name(m.uri, folder),
                "member": m.member is not None,
            }
            for m in tuned.mixes
        ],
        "settings": tuned.settings,
        "notes": list(tuned.notes),
        "adapter": Path(tuned.adapter).name if tuned.adapter else "",
    }


def _name(uri: str, folder: Path) -> str:
    return uri.removeprefix(f"file:{folder}").strip("/") if uri else ""


def _digests(folder: Path, hashed: Callable[[Path], str]) -> dict[str, str]:
    """Return the digest of every file but the record."""
    return {
        path.relative_to(folder).as_posix(): hashed(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != RECORD
    }


def _read(folder: Path) -> Tuned:
    told = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    if told["version"] != VERSION or told["files"] != _digests(folder, hash_file):
        raise ValueError("files differ from those that were written")
    member, *others = load_model(folder).members
    validation: FloatArray = np.load(folder / OUTPUTS, allow_pickle=False)
    cost = TrainingCost(**told["cost"])
    return Tuned(
        uri=_opened(folder, told["encoder"]),
        member=member,
        validation=validation,
        epochs=tuple(Epoch(**e) for e in told["epochs"]),
        taken=told["taken"],
        why=told["why"],
        gap=tuple(told["gap"]),
        cost=cost,
        mixes=_mixes(folder, told["mixes"], others),
        settings=told["settings"],
        notes=tuple(told["notes"]),
        adapter=str(_beside(folder, told["adapter"])) if told["adapter"] else "",
    )


def _mixes(folder: Path, told: list[dict[str, Any]], members: list[Member]) -> tuple[Mix, ...]:
    left = iter(members)
    return tuple(
        Mix(
            m["share"],
            m["validation_loss"],
            m["score"],
            _opened(folder, m["encoder"]),
            next(left) if m["member"] else None,
        )
        for m in told
    )


def _opened(folder: Path, name: str) -> str:
    return f"file:{_beside(folder, name)}" if name else ""


def _beside(folder: Path, name: str) -> Path:
    if Path(name).name != name:
        raise ValueError(f"{name!r} is no name of a folder")
    return folder / name
