"""Disk space of cached activations: a bound on all of them, and whose go first."""

import fcntl
import os
import re
import shutil
import stat
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from retarget.core.errors import UsageError
from retarget.core.hashing import hash_bytes
from retarget.core.paths import cache_dir

LIMIT = "RETARGET_ACTIVATIONS_GB"
DEFAULT_GIGABYTES = 10.0
_NAME = re.compile(r"[0-9a-f]{32}")


class Place:
    """The folder of one key, in use for as long as this object lives: it is not deleted meanwhile.

    Folders are told apart by a hash of the key. Locks lie beside them and stay, so that nobody
    locks a file that was just deleted. Where the file system has no locks, nothing is deleted.
    """

    def __init__(self, key: str) -> None:
        self.name = hash_bytes(key.encode())
        self.folder = _root() / self.name
        self._lock = _open_lock(self.name)
        weakref.finalize(self, os.close, self._lock)
        with suppress(OSError):
            fcntl.flock(self._lock, fcntl.LOCK_SH)
        os.utime(_lock_path(self.name))

    def make_room(self, size: int) -> bool:
        """Delete keys that nobody uses, the longest unused first, until `size` bytes may be added.

        Nothing is deleted where that would not be enough. Return whether there is room.
        """
        names = sorted(_names(), key=_last_used)  # before looking, which makes locks
        if size > limit() - in_use(but=self.name) - folder_bytes(self.folder):
            return False
        for name in names:
            if _total() + size <= limit():
                break
            if name != self.name:
                _delete(name)
        return _total() + size <= limit()

    def clear(self) -> bool:
        """Delete this key's own activations unless another process uses them; return whether."""
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        else:
            shutil.rmtree(self.folder, ignore_errors=True)
            return True
        finally:
            with suppress(OSError):  # one that could not be had may have cost the one there was
                fcntl.flock(self._lock, fcntl.LOCK_SH)


def limit() -> int:
    """Return how many bytes all cached activations may take together.

    That is what `RETARGET_ACTIVATIONS_GB` says, else 10 GB, and at most half of what would be
    free on that disk without them. Raises `UsageError` where the variable is no size.
    """
    told = os.environ.get(LIMIT, "").strip()
    try:
        gigabytes = float(told) if told else DEFAULT_GIGABYTES
    except ValueError:
        gigabytes = -1.0
    if not 0 <= gigabytes < 1e9:
        raise UsageError(f"{LIMIT} is {told!r}: give gigabytes, such as 10, or 0 for no cache")
    free = shutil.disk_usage(next(p for p in (_root(), *_root().parents) if p.exists())).free
    return min(int(gigabytes * 1e9), (free + _total()) // 2)


def in_use(but: str = "") -> int:
    """Return how many bytes belong to keys that some process uses, except the key named `but`."""
    sizes = 0
    for name in _names():
        if name != but:
            with _alone(name) as alone:
                sizes += 0 if alone else folder_bytes(_root() / name)
    return sizes


def folder_bytes(folder: Path) -> int:
    """Return the size of all files below a folder, 0 where there is none."""
    size = 0
    for path in folder.rglob("*"):
        with suppress(OSError):  # deleted meanwhile
            facts = path.lstat()
            size += facts.st_size if stat.S_ISREG(facts.st_mode) else 0
    return size


def _total() -> int:
    return sum(folder_bytes(_root() / name) for name in _names())


def _delete(name: str) -> None:
    with _alone(name) as alone:
        if alone:
            shutil.rmtree(_root() / name, ignore_errors=True)


def _last_used(name: str) -> float:
    try:
        return _lock_path(name).stat().st_mtime
    except OSError:
        return 0.0


def _names() -> list[str]:
    if not _root().is_dir():
        return []
    return [p.name for p in _root().iterdir() if _NAME.fullmatch(p.name) and p.is_dir()]


@contextmanager
def _alone(name: str) -> Iterator[bool]:
    """Say whether nobody uses a key, and keep it so during the block."""
    handle = _open_lock(name)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True
    finally:
        os.close(handle)


def _open_lock(name: str) -> int:
    path = _lock_path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    return os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o644)


def _lock_path(name: str) -> Path:
    return _root() / f"{name}.lock"


def _root() -> Path:
    return cache_dir() / "activations"
