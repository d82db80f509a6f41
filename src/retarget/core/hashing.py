"""Content hashes: the names by which examples, encoders and models are known."""

import hashlib
import inspect
import json
import sys
from collections.abc import Sequence
from functools import cache, lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

DIGEST_BYTES = 16


def hash_bytes(*parts: bytes) -> str:
    """Return the 32-digit hexadecimal BLAKE2b digest of the parts, each with its length."""
    digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.hexdigest()


def hash_file(path: Path) -> str:
    """Return the 32-digit hexadecimal BLAKE2b digest of a file's bytes. Raises `OSError`."""
    digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def hash_file_once(path: Path) -> str:
    """Return `hash_file`, without reading a file again in this process that has not changed its
    size, its time or its place since. Raises `OSError`."""
    told = path.stat()
    return _known(path, told.st_ino, told.st_size, told.st_mtime_ns)


@lru_cache(maxsize=256)
def _known(path: Path, *identity: int) -> str:
    return hash_file(path)


def hash_json(value: Any) -> str:
    """Return the digest of a JSON-able value, independent of the order of its keys."""
    return hash_bytes(json.dumps(value, sort_keys=True, separators=(",", ":")).encode())


def hash_array(array: "np.ndarray[Any, Any]") -> str:
    """Return the digest of an array: its shape, its type and what it holds."""
    told = repr((array.shape, array.dtype.str)).encode()
    if array.dtype.hasobject:
        return hash_bytes(told, hash_json([repr(value) for value in array.ravel()]).encode())
    return hash_bytes(told, np.ascontiguousarray(array).tobytes())


def versions_of(packages: Sequence[str]) -> dict[str, str]:
    """Return the versions of packages, "" for those that aren't installed."""
    return {name: version_of(name) for name in packages}


@cache
def version_of(package: str) -> str:
    """Return the version of a package, "" where it isn't installed; looked up once a process."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def code_of(cls: type) -> str | None:
    """Return a digest of what a class is: for it and all that it derives from, the name, and what
    the module's file holds, or where there is none the class's own source.

    `None` where one of them has neither, or was made in a function, out of what that was called
    with: nobody can say whether it is as it was before.
    """
    told = []
    for one in cls.__mro__:
        if one.__module__.partition(".")[0] in sys.stdlib_module_names:
            continue
        if "<locals>" in one.__qualname__:
            return None
        file = getattr(sys.modules.get(one.__module__), "__file__", None)
        try:
            code = hash_file_once(Path(file)) if file else inspect.getsource(one)
        except (OSError, TypeError):
            return None
        told.append([one.__module__, one.__qualname__, code])
    return hash_json(told)
