"""Long texts in overlapping windows, each piece counted once, in the window that knows most."""

import numpy as np

from retarget.core.errors import SourceError
from retarget.core.types import IntArray
from retarget.sources.tokenizing import Pieces

# Columns of a prepared text.
ID, TYPE, COUNTS, WORD = range(4)
FILLER = -1  # in the column of words: not attended to


def laid_out(pieces: Pieces, length: int) -> IntArray:
    """Return pieces as a model of so many places reads them: (T, 4) of id, type, counts, word.

    At most `length` pieces stay as they are. Of more, windows of `length` are laid one after the
    other, all with the pieces around the text (such as `[CLS]` and `[SEP]`). Neighbours overlap by
    a quarter, the last two by more. A piece counts in the window whose middle is nearest, there
    alone; what is around the text counts in every window.
    """
    ids = pieces.ids
    table = np.stack([ids, pieces.types, np.ones_like(ids), pieces.words], axis=1)
    if len(ids) <= length:
        return table
    lead, trail = pieces.leading, pieces.trailing
    inner = table[lead : len(table) - trail]
    room = length - lead - trail
    if room < 1:
        raise SourceError(f"A model of {length} places has no room for a text between its marks.")
    starts = window_starts(len(inner), room)
    owner = owners(len(inner), room, starts)
    windows = []
    for number, start in enumerate(starts.tolist()):
        window = inner[start : start + room].copy()
        window[owner[start : start + room] != number, COUNTS:] = 0
        windows += [table[:lead], window, table[len(table) - trail :]]
    return np.concatenate(windows)


def window_starts(pieces: int, room: int) -> IntArray:
    """Return where windows of `room` pieces begin, the last of them flush with the end."""
    step = room - room // 4
    count = 1 + -(-(pieces - room) // step)
    return np.minimum(np.arange(count, dtype=np.int64) * step, pieces - room)


def owners(pieces: int, room: int, starts: IntArray) -> IntArray:
    """Return for every piece the window in which it is farthest from an edge; of two alike the
    first."""
    # Of windows of one size that is the one whose middle is nearest.
    borders = (starts[:-1] + starts[1:] + room - 1) // 2
    return np.searchsorted(borders, np.arange(pieces), side="left").astype(np.int64)


def filled(table: IntArray, length: int, pad: int) -> IntArray:
    """Return a prepared text with as many rows as it has words at least: fillers at the end."""
    words = int(table[:, WORD].max(initial=0))
    return table if words <= len(table) else _longer(table, padded_length(words, length), pad)


def _longer(table: IntArray, rows: int, pad: int) -> IntArray:
    more = np.tile(np.array([pad, 0, 0, FILLER], dtype=np.int64), (rows - len(table), 1))
    return np.concatenate([table, more])


def padded_length(rows: int, length: int) -> int:
    """Return to how many places so many are padded: a multiple of 8, from 64 on of 16, from 128
    on of 32, up to the model's length; beyond it a multiple of that. Few different lengths leave
    few batches that are not full."""
    if rows > length:
        return -(-rows // length) * length
    step = 8 if rows <= 64 else 16 if rows <= 128 else 32
    return min(max(step, -(-rows // step) * step), length)
