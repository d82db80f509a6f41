"""Where to keep features: plain rows, SQLite blobs or Arrow IPC, in the store's own use.

Writes rows in commits of 512 (on the disk before they count, which is what survives a kill), and
reads them as the store is asked to: one layer of all rows, one layer of few rows in any order, and
everything. The process is fresh for each format only in what it opens; files are in the page
cache for all. Prints one table of ratios to plain rows, the median of several rounds:

    python benchmarks/store_formats.py [ROWS [ROUNDS]]
"""

import os
import shutil
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.ipc

from retarget.features.features import Space, StoredLayer
from retarget.features.store import FeatureStore

Rows = npt.NDArray[np.float32]
SIZES = (16, 24, 40, 112, 320, 1280)  # the layers of EfficientNet-Lite0
COMMIT = 512
FEW = 200
LAYER = 4


def ids_of(count: int) -> npt.NDArray[np.str_]:
    """Return ids as content hashes look: without an order."""
    rng = np.random.default_rng(0)
    return np.array([rng.bytes(16).hex() for _ in range(count)])


class Plain:
    """The store itself: rows in a file, checksummed; places in SQLite."""

    def __init__(self, folder: Path) -> None:
        layers = tuple(StoredLayer(str(n), (size,)) for n, size in enumerate(SIZES))
        self.store = FeatureStore(folder)
        self.space = self.store.create(Space("f" * 32, "mean", layers, "eager", 16))

    def write(self, ids: npt.NDArray[np.str_], rows: Rows) -> None:
        """Write, commit by commit."""
        with self.store.writer(self.space) as writer:
            for start in range(0, len(ids), COMMIT):
                writer.append(ids[start : start + COMMIT], rows[start : start + COMMIT])
                writer.flush()

    def layer(self, ids: npt.NDArray[np.str_], layer: int) -> Rows:
        """Read one layer."""
        return np.asarray(self.store.read(self.space, ids, (str(layer),)))

    def everything(self, ids: npt.NDArray[np.str_]) -> Rows:
        """Read all layers."""
        return np.asarray(self.store.read(self.space, ids, [k.name for k in self.space.layers]))


class Blobs:
    """A row a blob in SQLite; no checksums."""

    def __init__(self, folder: Path) -> None:
        self.db = sqlite3.connect(folder / "blobs.sqlite", isolation_level=None)
        self.db.execute("PRAGMA journal_mode = WAL")
        self.db.execute("PRAGMA synchronous = FULL")
        self.db.execute("CREATE TABLE rows (example BLOB PRIMARY KEY, data BLOB)")

    def write(self, ids: npt.NDArray[np.str_], rows: Rows) -> None:
        """Write, commit by commit."""
        for start in range(0, len(ids), COMMIT):
            part = zip(ids[start : start + COMMIT], rows[start : start + COMMIT], strict=True)
            self.db.execute("BEGIN")
            self.db.executemany(
                "INSERT INTO rows VALUES (?, ?)",
                [(bytes.fromhex(i), row.tobytes()) for i, row in part],
            )
            self.db.execute("COMMIT")

    def everything(self, ids: npt.NDArray[np.str_]) -> Rows:
        """Read all layers."""
        out = np.empty((len(ids), sum(SIZES)), np.float32)
        for start in range(0, len(ids), 500):
            part = [bytes.fromhex(i) for i in ids[start : start + 500]]
            marks = ",".join("?" * len(part))
            found = dict(
                self.db.execute(f"SELECT example, data FROM rows WHERE example IN ({marks})", part)
            )
            for row, key in enumerate(part, start):
                out[row] = np.frombuffer(found[key], np.float32)
        return out

    def layer(self, ids: npt.NDArray[np.str_], layer: int) -> Rows:
        """Read one layer: whole rows are read, there is no way around."""
        start = sum(SIZES[:layer])
        return self.everything(ids)[:, start : start + SIZES[layer]].copy()


class Arrow:
    """An Arrow IPC stream, a column a layer, a record batch a commit; no checksums.

    It has no index: ids are read from the file whenever it is opened.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "rows.arrow"
        fields = [pa.field("example", pa.binary(16))]
        fields += [pa.field(str(n), pa.list_(pa.float32(), size)) for n, size in enumerate(SIZES)]
        self.schema = pa.schema(fields)

    def write(self, ids: npt.NDArray[np.str_], rows: Rows) -> None:
        """Write, commit by commit."""
        with self.path.open("wb") as file, pyarrow.ipc.new_stream(file, self.schema) as stream:
            for start in range(0, len(ids), COMMIT):
                part = slice(start, start + COMMIT)
                keys = pa.array([bytes.fromhex(i) for i in ids[part]], pa.binary(16))
                columns, first = [keys], 0
                for size in SIZES:
                    values = np.ascontiguousarray(rows[part, first : first + size]).reshape(-1)
                    columns.append(pa.FixedSizeListArray.from_arrays(pa.array(values), size))
                    first += size
                stream.write_batch(pa.record_batch(columns, schema=self.schema))
                file.flush()
                os.fsync(file.fileno())

    def _columns(self, ids: npt.NDArray[np.str_], layers: list[int]) -> Rows:
        table = pyarrow.ipc.open_stream(pa.memory_map(str(self.path))).read_all()
        known = {key: row for row, key in enumerate(table["example"].to_pylist())}
        rows = np.array([known[bytes.fromhex(i)] for i in ids])
        parts = []
        for layer in layers:
            whole = table[str(layer)].combine_chunks().flatten().to_numpy()
            parts.append(whole.reshape(-1, SIZES[layer])[rows])
        return np.hstack(parts)

    def layer(self, ids: npt.NDArray[np.str_], layer: int) -> Rows:
        """Read one layer."""
        return self._columns(ids, [layer])

    def everything(self, ids: npt.NDArray[np.str_]) -> Rows:
        """Read all layers."""
        return self._columns(ids, list(range(len(SIZES))))


FORMATS: dict[str, type[Plain] | type[Blobs] | type[Arrow]] = {
    "plain rows": Plain,
    "SQLite blobs": Blobs,
    "Arrow IPC": Arrow,
}


def timed(work: Callable[[], object]) -> float:
    """Return the seconds that `work` takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measure(name: str, ids: npt.NDArray[np.str_], rows: Rows) -> dict[str, float]:
    """Return what each use takes in one format, in seconds, and its size in MB."""
    folder = Path(tempfile.mkdtemp())
    try:
        kept = FORMATS[name](folder)
        few = ids[np.random.default_rng(1).choice(len(ids), min(FEW, len(ids)), replace=False)]
        found = {"write": timed(lambda: kept.write(ids, rows))}
        if not np.array_equal(kept.everything(ids), rows):
            raise AssertionError(f"{name} reads other rows than were written")
        found["a layer of all"] = timed(lambda: kept.layer(ids, LAYER))
        found["a layer of few"] = timed(lambda: kept.layer(few, LAYER))
        found["everything"] = timed(lambda: kept.everything(ids))
        found["MB"] = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) / 1e6
    finally:
        shutil.rmtree(folder)
    return found


def main(count: int = 4_000, rounds: int = 5) -> None:
    """Measure all formats in turn, several times, and print the table."""
    ids = ids_of(count)
    rows = np.random.default_rng(2).standard_normal((count, sum(SIZES))).astype(np.float32)
    found = [{name: measure(name, ids, rows) for name in FORMATS} for _ in range(rounds)]
    uses = list(found[0]["plain rows"])
    print(f"{count:,} rows of {sum(SIZES):,} numbers; ratios to plain rows (its own median)")
    print(f"{'':>14}" + "".join(f"{use:>16}" for use in uses))
    for name in FORMATS:
        cells = []
        for use in uses:
            ratio = statistics.median(r[name][use] / r["plain rows"][use] for r in found)
            own = statistics.median(r[name][use] for r in found)
            unit = "MB" if use == "MB" else "ms"
            shown = f"{own if unit == 'MB' else own * 1e3:.0f} {unit}"
            cells.append(shown if name == "plain rows" else f"{ratio:.2f}x")
        print(f"{name:>14}" + "".join(f"{cell:>16}" for cell in cells))


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
