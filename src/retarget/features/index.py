"""The store's index in SQLite: which example's row lies where, and what failed to load."""

import errno
import json
import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from retarget.core.errors import StoreError
from retarget.core.types import IntArray
from retarget.features.features import Space, StoredLayer
from retarget.features.segments import Keys

SCHEMA_VERSION = 1
APPLICATION_ID = 0x52746774  # "Rtgt"
WAIT_SECONDS = 60.0
_FULL = ("SQLITE_FULL", "SQLITE_IOERR_WRITE", "SQLITE_IOERR_SHMSIZE")
_CHUNK = 500  # SQLite's oldest limit of variables in a statement is 999

# A forked process may neither use nor close the connections of its parent.
_INHERITED: list[sqlite3.Connection] = []

_SPACE = "fingerprint, pooling, layers, engine, batch, operations"
_SCHEMA = """
CREATE TABLE spaces (
    id INTEGER PRIMARY KEY, fingerprint TEXT NOT NULL, pooling TEXT NOT NULL,
    layers TEXT NOT NULL, engine TEXT NOT NULL, batch INTEGER NOT NULL,
    operations REAL NOT NULL, examples INTEGER NOT NULL DEFAULT 0, seconds REAL NOT NULL DEFAULT 0,
    UNIQUE (fingerprint, pooling, layers));
CREATE TABLE segments (
    id INTEGER PRIMARY KEY, space INTEGER NOT NULL REFERENCES spaces, name TEXT NOT NULL UNIQUE);
CREATE TABLE rows (
    space INTEGER NOT NULL, example BLOB NOT NULL, segment INTEGER NOT NULL,
    position INTEGER NOT NULL, PRIMARY KEY (space, example)) WITHOUT ROWID;
CREATE TABLE unreadable (
    loader TEXT NOT NULL, example BLOB NOT NULL, reason TEXT NOT NULL,
    PRIMARY KEY (loader, example)) WITHOUT ROWID;
"""


class Index:
    """Rows by space and example. Safe for threads and processes; opened when first used."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._process = 0

    def space(self, fingerprint: str, pooling: str) -> Space | None:
        """Return the newest space of an encoder and pooling."""
        with self._open() as db:
            found = db.execute(
                f"SELECT {_SPACE} FROM spaces "
                "WHERE fingerprint = ? AND pooling = ? ORDER BY id DESC LIMIT 1",
                (fingerprint, pooling),
            ).fetchone()
        return None if found is None else _space(*found)

    def create(self, space: Space) -> Space:
        """Return the space with this key as stored: an earlier one keeps its engine and batch."""
        key = (space.fingerprint, space.pooling, _layers_text(space))
        with self._change() as db:
            db.execute(
                f"INSERT OR IGNORE INTO spaces ({_SPACE}) VALUES (?, ?, ?, ?, ?, ?)",
                (*key, space.engine, space.batch, space.operations),
            )
            found = db.execute(
                f"SELECT {_SPACE} FROM spaces WHERE fingerprint = ? AND pooling = ? AND layers = ?",
                key,
            ).fetchone()
        return _space(*found)

    def find(self, space: Space, keys: Keys) -> tuple[list[str], IntArray, IntArray]:
        """Return the segments' names, and for each key the number of its segment in that list and
        its position there; −1 and −1 where the key has no row."""
        places = np.full((len(keys), 2), -1, np.int64)
        with self._open() as db:
            known = dict(db.execute("SELECT id, name FROM segments"))
            number = {identity: at for at, identity in enumerate(known)}
            key = self._space_id(db, space)
            for start in range(0, len(keys), _CHUNK):
                part = _blobs(keys[start : start + _CHUNK])
                found = {
                    example: (number[segment], position)
                    for example, segment, position in db.execute(
                        "SELECT example, segment, CAST(position AS INTEGER) FROM rows "
                        f"WHERE space = ? AND example IN ({','.join('?' * len(part))})",
                        (key, *part),
                    )
                    if segment in number
                }
                for at, example in enumerate(part, start):
                    if place := found.get(example):
                        places[at] = place
        return list(known.values()), places[:, 0], places[:, 1]

    def add(self, space: Space, segment: str, start: int, keys: Keys, seconds: float) -> None:
        """Record rows that lie on disk from `start` on, in one transaction. A key that already
        has a row keeps it. `seconds` is what the forward pass took for them."""
        with self._change() as db:
            key = self._space_id(db, space)
            db.execute("INSERT OR IGNORE INTO segments (space, name) VALUES (?, ?)", (key, segment))
            (number,) = db.execute("SELECT id FROM segments WHERE name = ?", (segment,)).fetchone()
            db.executemany(
                "INSERT OR IGNORE INTO rows VALUES (?, ?, ?, ?)",
                [(key, blob, number, start + at) for at, blob in enumerate(_blobs(keys))],
            )
            db.execute(
                "UPDATE spaces SET examples = examples + ?, seconds = seconds + ? WHERE id = ?",
                (len(keys), seconds, key),
            )

    def drop(self, space: Space, segment: str, keys: Keys, positions: IntArray) -> None:
        """Forget rows that were found damaged, unless they have been written anew since."""
        with self._change() as db:
            key = self._space_id(db, space)
            db.executemany(
                "DELETE FROM rows WHERE space = ? AND example = ? AND position = ? AND segment = "
                "(SELECT id FROM segments WHERE name = ?)",
                [
                    (key, blob, int(at), segment)
                    for blob, at in zip(_blobs(keys), positions, strict=True)
                ],
            )

    def cost(self, space: Space) -> float:
        """Return seconds of forward pass an example, 0 where nothing was extracted."""
        with self._open() as db:
            examples, seconds = db.execute(
                "SELECT examples, seconds FROM spaces WHERE id = ?", (self._space_id(db, space),)
            ).fetchone()
        return float(seconds) / int(examples) if examples else 0.0

    def unreadable(self, loader: str, keys: Keys) -> dict[bytes, str]:
        """Return the reasons of those keys that this loader could not read."""
        known: dict[bytes, str] = {}
        with self._open() as db:
            any_at_all = db.execute(
                "SELECT 1 FROM unreadable WHERE loader = ? LIMIT 1", (loader,)
            ).fetchone()
            for start in range(0, len(keys) if any_at_all else 0, _CHUNK):
                part = _blobs(keys[start : start + _CHUNK])
                known.update(
                    db.execute(
                        "SELECT example, reason FROM unreadable WHERE loader = ? "
                        f"AND example IN ({','.join('?' * len(part))})",
                        (loader, *part),
                    )
                )
        return known

    def mark_unreadable(self, loader: str, reasons: Mapping[bytes, str]) -> None:
        """Remember why examples could not be read."""
        with self._change() as db:
            db.executemany(
                "INSERT OR REPLACE INTO unreadable VALUES (?, ?, ?)",
                [(loader, key, reason) for key, reason in reasons.items()],
            )

    def counts(self) -> tuple[int, int, int]:
        """Return how many spaces, rows and unreadable examples are known."""
        with self._open() as db:
            spaces, rows, unreadable = db.execute(
                "SELECT (SELECT COUNT(*) FROM spaces), (SELECT COUNT(*) FROM rows), "
                "(SELECT COUNT(*) FROM unreadable)"
            ).fetchone()
        return spaces, rows, unreadable

    def segments(self) -> set[str]:
        """Return the names of all segments known."""
        with self._open() as db:
            return {name for (name,) in db.execute("SELECT name FROM segments")}

    def close(self) -> None:
        """Close the connection; the next use opens it again."""
        with self._lock:
            if self._connection is not None and self._process == os.getpid():
                self._connection.close()
            self._connection = None

    def _space_id(self, db: sqlite3.Connection, space: Space) -> int:
        found = db.execute(
            "SELECT id FROM spaces WHERE fingerprint = ? AND pooling = ? AND layers = ?",
            (space.fingerprint, space.pooling, _layers_text(space)),
        ).fetchone()
        if found is None:
            raise StoreError(
                f"the features of encoder {space.fingerprint} are no longer in the store in "
                f"{self.path.parent}: it was cleared meanwhile. Run the command again"
            )
        return int(found[0])

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """Give the connection, alone; what SQLite reports becomes a `StoreError`."""
        with self._lock:
            try:
                yield self._connected()
            except sqlite3.Error as error:
                raise told(error, self.path.parent) from error

    @contextmanager
    def _change(self) -> Iterator[sqlite3.Connection]:
        """Give the connection inside a transaction: all of the block is kept, or nothing."""
        with self._open() as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise

    def _connected(self) -> sqlite3.Connection:
        if self._connection is not None and self._process != os.getpid():
            _INHERITED.append(self._connection)
            self._connection = None
        if self._connection is None:
            self._connection = _connect(self.path)
            self._process = os.getpid()
        return self._connection


def _connect(path: Path) -> sqlite3.Connection:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise told(error, path.parent) from error
    db = sqlite3.connect(path, timeout=WAIT_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        _prepare(db, path)
    except BaseException:
        db.close()
        raise
    return db


def _prepare(db: sqlite3.Connection, path: Path) -> None:
    """Check that the file is an index this version knows; lay out an empty one."""
    version = _pragma(db, "user_version")
    if version > SCHEMA_VERSION:
        raise StoreError(
            f"the feature store in {path.parent} was written by a newer Retarget (version "
            f"{version} of its layout; this one knows {SCHEMA_VERSION}). Update Retarget, or run "
            "`retarget cache clear` to start an empty store"
        )
    _until_unlocked(db, "PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = NORMAL")
    db.execute("PRAGMA trusted_schema = OFF")
    if version == SCHEMA_VERSION and _pragma(db, "application_id") == APPLICATION_ID:
        return
    db.execute("BEGIN IMMEDIATE")
    if _pragma(db, "user_version") != SCHEMA_VERSION:  # nobody was faster
        for statement in _SCHEMA.split(";"):
            db.execute(statement)
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    db.execute("COMMIT")


def _pragma(db: sqlite3.Connection, name: str) -> int:
    return int(db.execute(f"PRAGMA {name}").fetchone()[0])


def _until_unlocked(db: sqlite3.Connection, statement: str) -> None:
    """Changing the journal's mode ignores the busy timeout: two who open at once would collide."""
    end = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            db.execute(statement)
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > end:
                raise
            time.sleep(0.02)


def told(error: sqlite3.Error | OSError, folder: Path) -> StoreError:
    """Return what a person needs to know of an error of the disk or the index."""
    if _is_full(error):
        return StoreError(f"the feature store in {folder} can't grow: {_room(folder)}")
    if isinstance(error, OSError):
        return StoreError(
            f"the feature store in {folder} can't be written ({error.strerror or error}). Make the "
            "folder writable, or set RETARGET_CACHE to another folder"
        )
    text = str(error)
    if isinstance(error, sqlite3.OperationalError) and "malformed" not in text:
        if "locked" in text:
            return StoreError(
                f"the feature store in {folder} was kept locked by another process for "
                f"{WAIT_SECONDS:.0f} seconds. Try again when that process has ended"
            )
        return StoreError(
            f"the feature store in {folder} can't be opened or written ({text}). Make the folder "
            "writable, set RETARGET_CACHE to another folder, or run `retarget cache clear`"
        )
    return StoreError(
        f"the feature store in {folder} is damaged ({text}). Run `retarget cache clear` to start "
        "an empty one; features are then extracted again"
    )


def _is_full(error: sqlite3.Error | OSError) -> bool:
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
    return getattr(error, "sqlite_errorname", "") in _FULL


def _room(folder: Path) -> str:
    here = next((p for p in (folder, *folder.parents) if p.exists()), folder)
    try:
        free = f"{shutil.disk_usage(here).free / 1e6:,.0f} MB are free there"
    except OSError:
        free = "how much is free there is not known"
    return (
        f"the disk is full or a limit on file sizes was reached ({free}). Free some space, run "
        "`retarget cache clear`, or set RETARGET_CACHE to a folder on another disk. "
        "What was stored so far is kept"
    )


def _blobs(keys: Keys) -> list[bytes]:
    """Keys as 16 bytes each: numpy strips trailing zeros from S16."""
    data, size = keys.tobytes(), keys.dtype.itemsize
    return [data[at : at + size] for at in range(0, len(data), size)]


def _layers_text(space: Space) -> str:
    return json.dumps([[layer.name, list(layer.shape)] for layer in space.layers])


def _space(
    fingerprint: str, pooling: str, layers: str, engine: str, batch: int, operations: float
) -> Space:
    """A space as stored. Raises `StoreError` where its text isn't what was written."""
    try:
        read = tuple(
            StoredLayer(str(name), tuple(int(side) for side in shape))
            for name, shape in json.loads(layers)
        )
        if not read or batch < 1 or any(side < 1 for layer in read for side in layer.shape):
            raise ValueError(layers)
        return Space(fingerprint, pooling, read, engine, int(batch), float(operations))
    except (ValueError, TypeError) as error:
        raise StoreError(
            f"the feature store's index is damaged (layers {layers!r:.80}). Run `retarget cache "
            "clear` to start an empty one"
        ) from error
