"""Inputs as a report and a fresh process need them: small pictures, and files that keep all."""

from io import BytesIO
from pathlib import Path
from typing import Any

from retarget.tasks.images import load_image

QUALITY = 80


def keep_image(reference: Any, destination: Path) -> Path:
    """Return a file that holds the picture: its own, or a lossless copy at `destination`."""
    if isinstance(reference, Path):
        return reference
    path = destination.with_suffix(".png")
    load_image(reference, 0).save(path)
    return path


def small_jpeg(reference: Any, side: int) -> bytes:
    """Return the picture as JPEG of at most `side` pixels a side."""
    picture = load_image(reference, side)
    picture.thumbnail((side, side))
    stream = BytesIO()
    picture.save(stream, "JPEG", quality=QUALITY)
    return stream.getvalue()


def refer_image(value: Any) -> Any:
    """Return a value as a picture's reference: text is a path, `{"bytes", "path"}` its part."""
    if isinstance(value, dict):
        value = value.get("bytes") or value.get("path")
    return Path(value).expanduser() if isinstance(value, str) else value
