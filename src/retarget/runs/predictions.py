"""`predictions.parquet`: what every judging example was told."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from retarget.core.errors import StoreError
from retarget.core.paths import written_whole
from retarget.core.types import FloatArray, IntArray, StrArray


@dataclass(frozen=True)
class JudgedTable:
    """Judging examples with their targets and predictions; rows in the order they were judged.

    `targets` as in `Examples`, `predictions` (n, K) probabilities or (n,) values, `folds` and
    `weights` (n,); files of earlier versions hold no weights, which are then one each. Of tagging
    a row is a word; `sequences` (n,) numbers the example that it is of.
    """

    ids: StrArray
    names: tuple[str, ...]
    targets: IntArray | FloatArray
    predictions: FloatArray
    groups: StrArray
    domains: StrArray
    folds: IntArray
    weights: FloatArray
    sequences: IntArray | None = None

    def take(self, rows: IntArray) -> "JudgedTable":
        """Return the examples at `rows`."""
        return JudgedTable(
            self.ids[rows],
            tuple(self.names[i] for i in rows),
            self.targets[rows],
            self.predictions[rows],
            self.groups[rows],
            self.domains[rows],
            self.folds[rows],
            self.weights[rows],
            None if self.sequences is None else self.sequences[rows],
        )


def write_predictions(table: JudgedTable, path: Path) -> None:
    """Write the table. Targets and predictions are lists where they have several numbers."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {
        "id": _strings(table.ids),
        "name": _strings(table.names),
        "target": _numbers(table.targets),
        "prediction": _numbers(table.predictions),
        "group": _strings(table.groups),
        "domain": _strings(table.domains),
        "fold": _numbers(table.folds),
        "weight": _numbers(table.weights),
    }
    if table.sequences is not None:
        columns["sequence"] = _numbers(table.sequences)
    with written_whole(path) as part:
        pq.write_table(pa.Table.from_arrays(list(columns.values()), list(columns)), part)


# `pa.array` imports pandas where it is installed, which takes a second; buffers do not.
def _numbers(values: FloatArray | IntArray) -> Any:
    import pyarrow as pa

    kind = pa.int64() if values.dtype.kind == "i" else pa.float64()
    flat = np.ascontiguousarray(values, dtype=np.int64 if values.dtype.kind == "i" else np.float64)
    column = pa.Array.from_buffers(kind, flat.size, [None, pa.py_buffer(flat)])
    return column if values.ndim == 1 else pa.FixedSizeListArray.from_arrays(column, len(flat[0]))


def _strings(values: Sequence[str] | StrArray) -> Any:
    import pyarrow as pa

    encoded = [str(value).encode("utf-8", "backslashreplace") for value in values]
    ends = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
    buffers = [None, pa.py_buffer(ends), pa.py_buffer(b"".join(encoded))]
    return pa.Array.from_buffers(pa.large_string(), len(encoded), buffers)


def read_predictions(path: Path) -> JudgedTable:
    """Read a table. Raises `StoreError` for anything that isn't one."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        read = pq.read_table(path).to_pydict()
        return JudgedTable(
            ids=np.array(read["id"], dtype=np.str_),
            names=tuple(map(str, read["name"])),
            targets=np.array(read["target"]),
            predictions=np.array(read["prediction"], dtype=np.float64),
            groups=np.array(read["group"], dtype=np.str_),
            domains=np.array(read["domain"], dtype=np.str_),
            folds=np.array(read["fold"], dtype=np.int64),
            weights=np.array(read.get("weight", [1.0] * len(read["id"])), dtype=np.float64),
            sequences=np.array(read["sequence"], dtype=np.int64) if "sequence" in read else None,
        )
    except (OSError, KeyError, ValueError, TypeError, pa.ArrowException) as error:
        raise StoreError(f"{path} does not hold the predictions of a run ({error}).") from error
