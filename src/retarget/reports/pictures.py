"""Pictures from a run directory, put into a page; nothing else of the disk gets there."""

import base64
import os
import stat
from contextlib import ExitStack
from pathlib import Path, PurePosixPath

MOST_BYTES = 200_000

_MAGIC = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg"}


def embedded(folder: Path, name: str) -> str | None:
    """Return the picture at `name` inside `folder` as a `data:` address, `None` if it may not be.

    It may be where `name` is a relative path without `..`, no part of it below `folder` is a
    link, and it is a plain file of under 200 KB that begins like a PNG or a JPEG.
    """
    parts = PurePosixPath(name).parts
    unsafe = "\\" in name or "\0" in name or name.startswith("/") or ".." in parts
    if unsafe or not parts:
        return None
    try:
        content = _read(folder, parts)
    except OSError:
        return None
    kind = next((kind for magic, kind in _MAGIC.items() if content.startswith(magic)), None)
    if kind is None or len(content) >= MOST_BYTES:
        return None
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _read(folder: Path, parts: tuple[str, ...]) -> bytes:
    """Read the file, opening one folder after the other, so that none can be swapped for a link."""
    with ExitStack() as stack:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        stack.callback(os.close, handle)
        for part in parts[:-1]:
            handle = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=handle)
            stack.callback(os.close, handle)
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
        handle = os.open(parts[-1], flags, dir_fd=handle)
        stack.callback(os.close, handle)
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError("not a plain file")
        with os.fdopen(os.dup(handle), "rb") as stream:
            return stream.read(MOST_BYTES)
