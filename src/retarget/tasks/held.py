"""How much memory an input takes."""

import sys
from collections.abc import Mapping
from typing import Any

from PIL import Image

# Pillow gives a pixel of several bands 4 bytes, also where the bands are 3.
_PIXEL_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2}


def memory_bytes(value: Any) -> int:
    """Return about how many bytes of memory an input takes: of pictures, arrays and tensors what
    their numbers take, of containers what is inside, of anything else what Python says."""
    if isinstance(value, Image.Image):
        return value.width * value.height * _PIXEL_BYTES.get(value.mode, 4)
    if isinstance(size := getattr(value, "nbytes", None), int):
        return size
    own = sys.getsizeof(value)
    if isinstance(value, Mapping):
        return own + sum(memory_bytes(k) + memory_bytes(v) for k, v in value.items())
    if isinstance(value, list | tuple | set | frozenset):
        return own + sum(memory_bytes(part) for part in value)
    return own
