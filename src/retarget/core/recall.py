"""Results kept in the cache under a digest of all that decides them: read, not computed again."""

import json
import os
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from retarget.core.hashing import hash_array, hash_json, versions_of
from retarget.core.paths import cache_dir, written_whole

FOLDER = "judged"
MOST_MEGABYTES = 500.0
# Results of another version of these may be others.
_PACKAGES = ("retarget", "numpy", "scipy", "scikit-learn")
# The names of the arrays that a file was written with, so that a missing one is missed.
_NAMES = "names of arrays"
_DAMAGED = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)

Arrays = Mapping[str, "np.ndarray[Any, Any]"]


def recalled(
    what: str, decided: Sequence[Any], make: Callable[[], Arrays], least_seconds: float = 0.0
) -> Arrays:
    """Return arrays that were made before from the same, or make them and keep them.

    Where the disk is full or read-only nothing is kept; what is damaged is made anew. The least
    recently used go, until all take less than 500 MB.

    Args:
        what: the sort of result, with an edition that is raised whenever it comes to be made
            otherwise.
        decided: all that decides the result: arrays of numbers or strings, and JSON-able values.
        make: computes it: arrays of numbers and strings by name.
        least_seconds: what is made more quickly than that isn't kept.
    """
    told = [hash_array(v) if isinstance(v, np.ndarray) else v for v in decided]
    key = hash_json([what, versions_of(_PACKAGES), told])
    path = cache_dir() / FOLDER / f"{key}.npz"
    found = _read(path)
    if found is None:
        began = time.perf_counter()
        found = make()
        if time.perf_counter() - began < least_seconds:
            return found
        names = np.frombuffer(json.dumps(list(found)).encode(), dtype=np.uint8)
        with suppress(OSError), written_whole(path) as part, part.open("wb") as stream:
            np.savez(stream, allow_pickle=False, **found, **{_NAMES: names})
        prune()
    return found


def _read(path: Path) -> Arrays | None:
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as stored:
            names = json.loads(stored[_NAMES].tobytes())
            found = {name: stored[name] for name in names}
    except _DAMAGED:
        path.unlink(missing_ok=True)
        return None
    with suppress(OSError):
        os.utime(path)
    return found


def prune(most_megabytes: float = MOST_MEGABYTES) -> None:
    """Throw away what was not used for longest, until the rest fits."""
    held = []
    for path in (cache_dir() / FOLDER).glob("*.npz"):
        with suppress(OSError):
            told = path.stat()
            held.append((told.st_mtime, told.st_size / 1e6, path))
    total = sum(size for _, size, _ in held)
    for _, size, path in sorted(held):
        if total <= most_megabytes:
            return
        with suppress(OSError):
            path.unlink()
            total -= size
