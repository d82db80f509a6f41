"""Facts about files, kept so that a file that did not change is not opened again."""

import os
import sqlite3
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from retarget.core.hashing import hash_bytes, hash_file
from retarget.core.paths import cache_dir
from retarget.core.progress import Meter, progress
from retarget.tasks.files import as_text

RACY_SECONDS = 2.0
_ASKED_AT_ONCE = 500
_ASKED_IN_ALL = 10_000
_HASHED_AT_ONCE = 128
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS files (path BLOB PRIMARY KEY, size INTEGER, mtime INTEGER,"
    " inode INTEGER, id TEXT, proof TEXT) WITHOUT ROWID"
)


@dataclass(frozen=True, slots=True)
class Stamp:
    """What changes when a file changes: size in bytes, modification time in ns, inode."""

    size: int
    mtime: int
    inode: int


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a file has no content hash. `reason` continues a sentence that begins with its name."""

    kind: Literal["missing", "unreadable"]
    reason: str


@dataclass(frozen=True)
class Identified:
    """Content hashes in the order asked for, "" where `troubles` (by position) says why not."""

    ids: tuple[str, ...]
    troubles: Mapping[int, Trouble]


def identify_files(paths: Sequence[Path]) -> Identified:
    """Return the content hash of every file, opening only those that changed since last time.

    What is known is kept in `files.sqlite` in the cache folder, by absolute path, size,
    modification time and inode. Whatever is wrong with that file, the answer is the same.
    """
    texts = as_text(paths)
    ids = [""] * len(texts)
    troubles: dict[int, Trouble] = {}
    stamps: dict[int, Stamp] = {}
    for start in range(0, len(texts), _ASKED_IN_ALL):
        _look_up(texts, range(start, min(start + _ASKED_IN_ALL, len(texts))), ids, troubles, stamps)
    learned: dict[bytes, tuple[Stamp, str]] = {}
    answers = _hash_all([texts[position] for position in stamps])
    for (position, stamp), answer in zip(stamps.items(), answers, strict=True):
        if isinstance(answer, Trouble):
            troubles[position] = answer
            continue
        ids[position] = answer
        if _settled(texts[position], stamp):
            learned[_key(texts[position])] = (stamp, answer)
    remember(learned)
    return Identified(tuple(ids), troubles)


def _look_up(
    texts: Sequence[str],
    positions: range,
    ids: list[str],
    troubles: dict[int, Trouble],
    stamps: dict[int, Stamp],
) -> None:
    """Fill in the ids that are known, and the stamps of the files that have to be opened."""
    here: dict[int, Stamp] = {}
    for position in positions:
        found = _stamp(texts[position])
        if isinstance(found, Trouble):
            troubles[position] = found
        else:
            here[position] = found
    known = recall({_key(texts[position]): stamp for position, stamp in here.items()})
    for position, stamp in here.items():
        ids[position] = known.get(_key(texts[position]), "")
        if not ids[position]:
            stamps[position] = stamp


def recall(stamps: Mapping[bytes, Stamp]) -> dict[bytes, str]:
    """Return the content hashes known for exactly these paths and stamps."""
    known: dict[bytes, str] = {}
    keys = list(stamps)
    try:
        with _database() as database:
            for start in range(0, len(keys), _ASKED_AT_ONCE):
                asked = keys[start : start + _ASKED_AT_ONCE]
                marks = ",".join("?" * len(asked))
                rows = database.execute(f"SELECT * FROM files WHERE path IN ({marks})", asked)
                for path, size, mtime, inode, identity, proof in rows:
                    stamp = Stamp(size, mtime, inode)
                    if stamps.get(path) == stamp and proof == _proof(path, stamp, identity):
                        known[path] = identity
    except (sqlite3.Error, OSError, TypeError, AttributeError):
        return known
    return known


def remember(facts: Mapping[bytes, tuple[Stamp, str]]) -> None:
    """Keep content hashes by path and stamp. Does nothing where that is not possible."""
    if not facts:
        return
    rows = [
        (path, stamp.size, stamp.mtime, stamp.inode, identity, _proof(path, stamp, identity))
        for path, (stamp, identity) in facts.items()
    ]
    try:
        with _database() as database:
            database.executemany("INSERT OR REPLACE INTO files VALUES (?,?,?,?,?,?)", rows)
    except (sqlite3.Error, OSError):
        return


def _key(path: str) -> bytes:
    # Path.absolute keeps "..", which would give one file two keys.
    return os.fsencode(os.path.abspath(path))  # noqa: PTH100 - see above


def _stamp(path: str) -> Stamp | Trouble:
    try:
        facts = os.stat(path)  # noqa: PTH116 - a Path each would cost seconds
    except FileNotFoundError:
        return Trouble("missing", "is not there")
    except (OSError, ValueError) as error:
        return Trouble("unreadable", f"can't be reached ({_why(error)})")
    if not stat.S_ISREG(facts.st_mode):
        return Trouble("unreadable", "is not a regular file")
    if facts.st_size == 0:
        return Trouble("unreadable", "is empty (0 bytes)")
    return Stamp(facts.st_size, facts.st_mtime_ns, facts.st_ino)


def _settled(path: str, stamp: Stamp) -> bool:
    """Whether the file stayed as it was while it was hashed, and is not too young to trust."""
    return _stamp(path) == stamp and time.time() - stamp.mtime / 1e9 > RACY_SECONDS


def _hash_all(paths: Sequence[str]) -> list[str | Trouble]:
    if not paths:
        return []
    chunks = [paths[i : i + _HASHED_AT_ONCE] for i in range(0, len(paths), _HASHED_AT_ONCE)]
    workers = min(8, os.cpu_count() or 1, len(chunks))
    with progress("Reading files", len(paths), "files") as meter:

        def hashed(chunk: Sequence[str]) -> list[str | Trouble]:
            return _hash_chunk(chunk, meter)

        if workers == 1:
            return [answer for chunk in chunks for answer in hashed(chunk)]
        with ThreadPoolExecutor(workers) as pool:
            return [answer for answers in pool.map(hashed, chunks) for answer in answers]


def _hash_chunk(paths: Sequence[str], meter: Meter) -> list[str | Trouble]:
    answers: list[str | Trouble] = []
    for path in paths:
        try:
            answers.append(hash_file(Path(path)))
        except OSError as error:
            answers.append(Trouble("unreadable", f"can't be opened ({_why(error)})"))
        meter.advance()
    return answers


def _why(error: Exception) -> str:
    reason = error.strerror if isinstance(error, OSError) else str(error)
    return (reason or type(error).__name__).lower()


def _proof(path: bytes, stamp: Stamp, identity: str) -> str:
    """A digest of the row, so that a damaged database can't give a file another's features."""
    numbers = f"{stamp.size},{stamp.mtime},{stamp.inode}".encode()
    return hash_bytes(path, numbers, identity.encode())[:16]


@contextmanager
def _database() -> Iterator[sqlite3.Connection]:
    place = cache_dir() / "files.sqlite"
    place.parent.mkdir(parents=True, exist_ok=True)
    database = sqlite3.connect(place, timeout=10)
    try:
        database.execute(_SCHEMA)
        with database:
            yield database
    except sqlite3.DatabaseError as error:
        # Locked, full or read-only is OperationalError; a bare DatabaseError is damage.
        if type(error) is sqlite3.DatabaseError:
            place.unlink(missing_ok=True)
        raise
    finally:
        database.close()
