"""Pictures: every kind that a real folder holds, as 8-bit RGB; nothing else, whatever its name.

A file is opened only as what its first bytes say, and only where that is on the list: a `.jpg`
that is PostScript is never given to a PostScript reader.
"""

import hashlib
import io
import os
import re
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from retarget.core.errors import UnreadableInput
from retarget.core.hashing import DIGEST_BYTES, hash_bytes, hash_file
from retarget.core.text import printable
from retarget.tasks.pixels import array_to_image, wide_to_bytes

MAX_PIXELS = 100_000_000
"""Most pixels that are decoded: about 400 MB. Counted after a JPEG's reduced-scale decoding."""

# fmt: off
SUFFIXES = frozenset({
    ".jpg", ".jpeg", ".jpe", ".jfif",
    ".png", ".apng", ".webp", ".tif", ".tiff", ".bmp", ".dib", ".gif",
    ".ppm", ".pgm", ".pbm", ".pnm",
    ".jp2", ".j2k", ".j2c", ".jpx", ".jpf", ".avif",
})
# fmt: on
"""Endings, in lower case, of the files that are taken for pictures."""

_READ = "JPEG, PNG, WebP, TIFF, BMP, GIF, PPM, JPEG 2000 or AVIF"
_FORMATS: tuple[tuple[re.Pattern[bytes], str], ...] = tuple(
    (re.compile(pattern, re.DOTALL), name)
    for pattern, name in (
        (rb"\xff\xd8\xff", "JPEG"),
        (rb"\x89PNG\r\n\x1a\n", "PNG"),
        (rb"RIFF....WEBP", "WEBP"),
        (rb"II[*+]\0|MM\0[*+]", "TIFF"),
        (rb"GIF8[79]a", "GIF"),
        (rb"BM", "BMP"),
        (rb"P[1-6fFy][\s#]", "PPM"),
        (rb"\xff\x4f\xff\x51|\0\0\0\x0cjP  \r\n\x87\n", "JPEG2000"),
        (rb"....ftypavi[fs]", "AVIF"),
    )
)
_FOREIGN: tuple[tuple[re.Pattern[bytes], str], ...] = tuple(
    (re.compile(pattern, re.DOTALL), name)
    for pattern, name in (
        (rb"%!PS|\xc5\xd0\xd3\xc6", "PostScript (EPS)"),
        (rb"%PDF", "a PDF document"),
        (rb"\x89HDF", "an HDF5 file"),
        (rb"PK[\x03\x05]", "a zip archive"),
        (rb"\x80[\x02-\x05]", "a Python pickle"),
        (rb"....ftyp(hei|hev|mif1|msf1)", "a HEIC picture (convert it to JPEG)"),
        (rb"\s*<(\?xml|svg|!DOCTYPE|html)", "XML, SVG or HTML text"),
    )
)
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ORIENTATION = 0x0112
# Pillow warns of what is told here as a reason, or mended. One filter, put in place once, is safe
# with threads; `warnings.catch_warnings` is not.
_QUIET = ("ignore", None, Warning, re.compile(r"PIL(\.|$)"), 0)


def load_image(reference: Any, detail: int = 0) -> Image.Image:
    """Return the picture that `reference` stands for as an RGB image, upright.

    Args:
        reference: a path; the bytes of a picture file; a PIL image; an array or tensor (h, w),
            (h, w, 1|3|4) or (1|3|4, h, w); or an object whose `read()` gives one of these.
        detail: pixels that the shorter side needs; a JPEG is decoded at the smallest of the
            scales 1, 1/2, 1/4, 1/8 that leaves as many. 0: everything. The result depends on
            the file and on `detail` only.

    Transparency is laid on white, the first frame of an animation is taken, and pictures of more
    than 8 bits are scaled as `pixels.wide_to_bytes` says. Raises `UnreadableInput` with the
    reason, also for a picture that ends too early.
    """
    _silence()
    with _reasons():
        if isinstance(reference, (str, Path)):
            return _load_file(Path(reference), detail)
        if isinstance(reference, (bytes, bytearray, memoryview)):
            return _decode(io.BytesIO(reference), detail)
        if isinstance(reference, Image.Image):
            return _upright_rgb(reference)
        if callable(getattr(reference, "read", None)):
            return load_image(reference.read(), detail)
        return array_to_image(_array(reference))


def identify_image(reference: Any) -> str:
    """Return the content hash of a picture reference, 32 hexadecimal digits.

    It is that of the file's bytes for paths and bytes, of the pixels and their type otherwise.
    Raises `UnreadableInput`.
    """
    with _reasons():
        if isinstance(reference, (str, Path)):
            return hash_file(_regular(Path(reference)))
        if isinstance(reference, (bytes, bytearray, memoryview)):
            # As `hash_file` does, so that a picture is the same inside a table and as a file.
            return hashlib.blake2b(reference, digest_size=DIGEST_BYTES).hexdigest()
        if isinstance(reference, Image.Image):
            return _identify_pil(reference)
        if callable(getattr(reference, "read", None)):
            return identify_image(reference.read())
        array = np.ascontiguousarray(_array(reference))
        return hash_bytes(f"{array.dtype.str}{array.shape}".encode(), array.tobytes())


def measure_image(reference: Any) -> dict[str, float]:
    """Return `width` and `height` in pixels as stored; of a file only the header is read.

    Raises `UnreadableInput`.
    """
    _silence()
    if isinstance(reference, (str, Path)):
        with _reasons(), _regular(Path(reference)).open("rb") as stream, _open(stream) as image:
            width, height = image.size
    else:
        width, height = load_image(reference).size
    return {"width, pixels": width, "height, pixels": height}


def is_picture(path: Path | str) -> bool:
    """Whether a file is taken for a picture: by its ending, by its first bytes if it has none."""
    ending = os.path.splitext(path)[1]  # noqa: PTH122 - a Path for each of very many costs seconds
    if ending:
        return ending.lower() in SUFFIXES
    try:
        with _regular(Path(path)).open("rb") as stream:
            return _format(stream.read(16)) is not None
    except (OSError, UnreadableInput):
        return False


def _load_file(path: Path, detail: int) -> Image.Image:
    with _regular(path).open("rb") as stream:
        return _decode(stream, detail)


def _open(stream: IO[bytes]) -> Image.Image:
    """Return the picture of a stream, its header read and its pixels not."""
    head = stream.read(16)
    name = _format(head)
    if name is None:
        raise UnreadableInput(_foreign(head))
    if name == "AVIF" and not _reads_avif():
        raise UnreadableInput("is AVIF, which this Pillow does not read: convert it to PNG")
    return Image.open(stream, formats=[name])


def _decode(stream: IO[bytes], detail: int) -> Image.Image:
    with _open(stream) as image:
        if detail > 0:
            image.draft(None, (detail, detail))
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise UnreadableInput(
                f"has {width:,} × {height:,} pixels; at most {MAX_PIXELS:,} are decoded"
            )
        return _upright_rgb(image)


def _upright_rgb(image: Image.Image) -> Image.Image:
    turn = _TURNS.get(_orientation(image))
    flat = _rgb(image)
    if turn is not None:
        flat = flat.transpose(turn)
    # A fresh image carries no metadata on, and shares nothing with the caller's own.
    return flat.copy() if flat is image else flat


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        return Image.fromarray(wide_to_bytes(np.asarray(image))).convert("RGB")
    if image.mode == "LAB":
        raise UnreadableInput("is in the LAB colour space: convert it to RGB")
    image.load()
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        white.alpha_composite(image.convert("RGBA"))
        return white.convert("RGB")
    return image.convert("RGB")


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:
        # Broken metadata is no reason to lose a picture whose pixels are fine.
        return 1


def _identify_pil(image: Image.Image) -> str:
    palette = image.getpalette() if image.mode in ("P", "PA") else None
    facts = (image.mode, image.size, palette, image.info.get("transparency"), _orientation(image))
    return hash_bytes(repr(facts).encode(), image.tobytes())


def _array(reference: Any) -> np.ndarray[Any, Any]:
    if hasattr(reference, "detach"):
        reference = reference.detach().cpu().numpy()
    array = np.asarray(reference)
    if array.dtype == object:
        kind = type(reference).__name__
        raise UnreadableInput(f"is a {kind}, not a path, picture, array or tensor")
    return array


def _regular(path: Path) -> Path:
    if not stat.S_ISREG(path.stat().st_mode):
        raise UnreadableInput("is not a regular file")
    return path


def _format(head: bytes) -> str | None:
    return next((name for pattern, name in _FORMATS if pattern.match(head)), None)


def _foreign(head: bytes) -> str:
    if not head:
        return "is empty (0 bytes)"
    for pattern, name in _FOREIGN:
        if pattern.match(head):
            return f"is {name}, whatever its name says; pictures are {_READ}"
    return f"is not a picture that can be read ({_READ})"


def _reads_avif() -> bool:
    from PIL import features

    return bool(features.check("avif"))


def _silence() -> None:
    if _QUIET not in warnings.filters:
        warnings.filterwarnings("ignore", module=r"PIL(\.|$)")


@contextmanager
def _reasons() -> Iterator[None]:
    """Turn whatever a damaged picture does to its reader into the reason it can't be read."""
    try:
        yield
    except UnreadableInput:
        raise
    except FileNotFoundError as error:
        raise UnreadableInput("is not there") from error
    except Image.DecompressionBombError as error:
        raise UnreadableInput(
            f"claims far more pixels than the {MAX_PIXELS:,} that are decoded"
        ) from error
    except UnidentifiedImageError as error:
        raise UnreadableInput("is damaged: its header can't be read") from error
    except MemoryError as error:
        raise UnreadableInput("does not fit in memory") from error
    except OSError as error:
        reason = error.strerror if error.errno else str(error)
        raise UnreadableInput(f"can't be read ({printable(str(reason))})") from error
    except Exception as error:
        reason = printable(str(error)) or type(error).__name__
        raise UnreadableInput(f"is damaged ({reason})") from error
