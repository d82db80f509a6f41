"""The run directory: written whole, read with suspicion."""

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from retarget.core.errors import StoreError, UsageError
from retarget.core.paths import umask, written_whole
from retarget.core.text import printable
from retarget.runs.schema import RunRecord

if TYPE_CHECKING:
    from retarget.methods.model import TransferModel
    from retarget.sources.source import Source

RECORD = "run.json"
CONFIG = "config.yaml"
MODEL = "model"
ENCODER = "encoder"
REPORT = "report.html"
PREDICTIONS = "predictions.parquet"
PICTURES = "pictures"
LARGEST_RECORD = 256 << 20


@contextmanager
def new_run(folder: Path, replace: bool = False) -> Iterator[Path]:
    """Give an empty folder that becomes `folder` when the block ends well.

    Until then nothing is at `folder` (or what was there stays): a run that was killed leaves no
    half of itself behind.

    Raises:
        UsageError: `folder` holds something else, or a run and `replace` is false.
    """
    _check_free(folder, replace)
    folder.parent.mkdir(parents=True, exist_ok=True)
    stage = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        yield stage
        stage.chmod(0o777 & ~umask())
        if folder.exists():
            old = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.old."))
            folder.replace(old)
            stage.replace(folder)
            shutil.rmtree(old, ignore_errors=True)
        else:
            stage.replace(folder)
    finally:
        shutil.rmtree(stage, ignore_errors=True)


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


def write_model(model: "TransferModel", source: "Source", stage: Path) -> Path:
    """Write `model/`: heads, and the encoder with its weights. Returns the folder."""
    folder = stage / MODEL
    model.save(folder)
    source.save(folder / ENCODER)
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


def encoder_uri(folder: Path) -> str:
    """Return the URI under which a run's encoder is opened."""
    return f"file:{folder / MODEL / ENCODER}"


def _check_free(folder: Path, replace: bool) -> None:
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not (folder / RECORD).is_file():
        raise UsageError(
            f"{folder} holds something that is not a run. Name another folder with --out."
        )
    if not replace:
        raise UsageError(
            f"{folder} already holds a run. Name another folder with --out, or pass --force to "
            "replace it."
        )


def as_json(record: RunRecord) -> str:
    """Return the record as one JSON document."""
    return json.dumps(record.as_json(), ensure_ascii=False)
