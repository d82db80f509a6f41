"""Bins of examples by size, such as the length of texts: does a model do worse on long ones?"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from retarget.core.types import BoolArray, FloatArray

BINS = 4
FEWEST = 20


@dataclass(frozen=True)
class Sizes:
    """How large judged examples are.

    Attributes:
        name: what was measured, and its unit behind a comma: "length, characters".
        values: (n,) of each example, NaN where it is not known.
    """

    name: str
    values: FloatArray


def size_bins(sizes: Sizes, first: BoolArray) -> Iterator[tuple[str, BoolArray]]:
    """Yield names and members (n,) of at most four bins that hold about as many examples each.

    There are as many as leave 20 examples in each. Nothing is divided where fewer than two would
    be left. Where the examples are parts of sequences, these are counted: `first` (n,) says which
    one begins a sequence, and is true of all that stand alone.
    """
    known = sizes.values[first & np.isfinite(sizes.values)]
    wanted = min(BINS, len(known) // FEWEST)
    if wanted < 2:
        return
    shares = np.arange(1, wanted) / wanted
    edges = np.unique(np.quantile(known, shares, method="lower"))
    places = np.searchsorted(edges, sizes.values, side="left")
    found = [np.isfinite(sizes.values) & (places == k) for k in range(len(edges) + 1)]
    bins = [members for members in found if members.any()]
    if len(bins) > 1:
        for members in bins:
            yield _name(sizes.name, sizes.values[members]), members


def _name(name: str, values: FloatArray) -> str:
    """Return `length 4 to 61 characters`."""
    what, _, unit = name.partition(", ")
    low, high = f"{values.min():,.0f}", f"{values.max():,.0f}"
    span = low if low == high else f"{low} to {high}"
    return " ".join(part for part in (what, span, unit) if part)
