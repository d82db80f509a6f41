"""The run directory: written whole, read with suspicion."""

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from retarget.core.errors import StoreError, UsageError
from retarget.core.paths import umask, written_whole
from retarget.core.text import printable
from retarget.runs.schema import RunRecord

if TYPE_CHECKING:
    from retarget.methods.model import TransferModel
    from retarget.methods.tuning import Tuned
    from retarget.sources.source import Source

RECORD = "run.json"
CONFIG = "config.yaml"
MODEL = "model"
ENCODER = "encoder"
ADAPTER = "adapter"
REPORT = "report.html"
PREDICTIONS = "predictions.parquet"
PICTURES = "pictures"
LARGEST_RECORD = 256 << 20
STAGE = ".part"
STALE_SECONDS = 60.0


@contextmanager
def new_run(folder: Path, replace: bool = False) -> Iterator[Path]:
    """Give an empty folder that becomes `folder` when the block ends well.

    Until then nothing is at `folder` (or what was there stays): a run that was killed leaves no
    half of itself behind.

    Raises:
        UsageError: `folder` holds something else, or a run and `replace` is false.
    """
    check_place(folder, replace)
    folder = folder.resolve()
    folder.parent.mkdir(parents=True, exist_ok=True)
    _sweep(folder)
    stage = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.", suffix=STAGE))
    held = _hold(stage)
    try:
        yield stage
        stage.chmod(0o777 & ~umask())
        check_place(folder, replace)
        if folder.exists():
            old = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.old."))
            folder.replace(old)
            stage.replace(folder)
            shutil.rmtree(old, ignore_errors=True)
        else:
            stage.replace(folder)
    finally:
        shutil.rmtree(stage, ignore_errors=True)
        os.close(held)


def check_place(folder: Path, replace: bool = False, apart_from: Path | None = None) -> None:
    """Check that a run can be written at `folder`, before the work that would be lost.

    Raises:
        UsageError: `folder` holds something else, or a run and `replace` is false; it can't be
            made; or it lies in the data folder `apart_from`, where its pictures would be data.
    """
    if refused := _refused(folder, replace):
        raise UsageError(refused)
    if apart_from is None or not apart_from.is_dir():
        return
    if folder.resolve().is_relative_to(apart_from.resolve()):
        raise UsageError(
            f"{folder} lies inside the data ({apart_from}), where the next fit would take its "
            "pictures for data. Name a folder elsewhere with --out."
        )


def free_name(base: Path) -> Path:
    """Return `base`, or `base-2`, `base-3` …: the first that does not exist."""
    if not base.exists():
        return base
    number = 2
    while (named := base.with_name(f"{base.name}-{number}")).exists():
        number += 1
    return named


def write_record(record: RunRecord, stage: Path) -> None:
    """Write `run.json`, and the `config.yaml` that asks for the same run."""
    import yaml

    with written_whole(stage / RECORD) as part:
        part.write_text(record.model_dump_json(indent=1), encoding="utf-8")
    asked = record.config.model_dump(mode="json", exclude_defaults=True)
    with written_whole(stage / CONFIG) as part:
        part.write_text(yaml.safe_dump(asked, sort_keys=False, allow_unicode=True), "utf-8")


def write_model(model: "TransferModel", sources: "Sequence[Source]", stage: Path) -> Path:
    """Write `model/`: heads, and each of its encoders with its weights. Returns the folder."""
    folder = stage / MODEL
    model.save(folder)
    for number, source in enumerate(sources):
        source.save(folder / encoder_name(number))
    return folder


def read_record(folder: Path) -> RunRecord:
    """Read and check `run.json`. Raises `StoreError` for anything that isn't one."""
    path = folder / RECORD
    try:
        if path.stat().st_size > LARGEST_RECORD:
            raise StoreError(f"{path} is larger than any run ({path.stat().st_size:,} bytes).")
        return RunRecord.model_validate_json(path.read_bytes())
    except OSError as error:
        raise StoreError(
            f"{folder} is not a run directory: {path} can't be read ({error.strerror})."
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise StoreError(
            f"{path} is not a run of this version: {printable(where)}: {printable(first['msg'])}. "
            "It was changed or written by another version; fit again."
        ) from error


def write_adapters(model: "TransferModel", tuned: "Iterable[Tuned]", folder: Path) -> None:
    """Copy the adapters behind a model's encoders beside them, as `adapter`, `adapter-1`, …"""
    for one in tuned:
        if one.adapter:
            number = model.sources.index(one.uri)
            name = f"{ADAPTER}-{number}" if number else ADAPTER
            shutil.copytree(one.adapter, folder / name)


def encoder_name(number: int) -> str:
    """Return the name of the folder of a model's encoder, counted from 0."""
    return f"{ENCODER}-{number}" if number else ENCODER


def encoder_uris(folder: Path, model: "TransferModel") -> list[str]:
    """Return the URIs under which the encoders in a run's model folder are opened."""
    return [f"file:{folder / encoder_name(i)}" for i in range(len(model.sources))]


def _refused(folder: Path, replace: bool) -> str:
    """Return why a run can't be written at `folder`, "" where it can."""
    if not folder.exists():
        above = next(p for p in folder.resolve().parents if p.exists())
        if not above.is_dir():
            return f"{folder} can't be made: {above} is a file. Name another folder with --out."
        if not os.access(above, os.W_OK | os.X_OK):
            return f"{folder} can't be made: {above} is read-only. Name another with --out."
        return ""
    if folder.is_dir() and not any(folder.iterdir()):
        return ""
    if not (folder / RECORD).is_file():
        return f"{folder} holds something that is not a run. Name another folder with --out."
    if not replace:
        return (
            f"{folder} already holds a run. Name another folder with --out, or pass --force to "
            "replace it."
        )
    return ""


def _hold(stage: Path) -> int:
    """Lock a folder for as long as this process lives and the returned descriptor is open."""
    descriptor = os.open(stage, os.O_RDONLY)
    # Some network file systems have no locks: what is staged there only looks left behind.
    with suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return descriptor


def _sweep(folder: Path) -> None:
    """Remove what fits to the same `folder` had staged when they were killed."""
    for stage in folder.parent.glob(f".{escape(folder.name)}.*{STAGE}"):
        with suppress(OSError):
            if time.time() - stage.stat().st_mtime < STALE_SECONDS:
                continue
            descriptor = os.open(stage, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(stage)
            finally:
                os.close(descriptor)
