"""Where Retarget keeps what it need not compute again, and how files are written whole."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def cache_dir() -> Path:
    """Return the cache folder: `RETARGET_CACHE`, else the platform's own cache folder."""
    if chosen := os.environ.get("RETARGET_CACHE"):
        return Path(chosen).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "retarget"
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "retarget"


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path` and move it there on success: readers never see half.

    The parent folder is made if it is missing. What was at `path` is kept if the block raises.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:40]}.", suffix=".part")
    os.close(handle)
    part = Path(name)
    part.chmod(0o666 & ~umask())
    try:
        yield part
        with part.open("rb+") as stream:
            os.fsync(stream.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def umask() -> int:
    """Return what new files may not be allowed. Reading it means setting it for a moment."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def folder_megabytes(folder: Path) -> float:
    """Return the size of all files below a folder, 0 where there is none."""
    sizes = (p.lstat().st_size for p in folder.rglob("*") if not p.is_symlink())
    return sum(sizes) / 1e6 if folder.is_dir() else 0.0
