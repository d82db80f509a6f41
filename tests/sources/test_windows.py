import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retarget.core.errors import SourceError
from retarget.sources.tokenizing import Pieces
from retarget.sources.windows import (
    COUNTS,
    FILLER,
    ID,
    WORD,
    filled,
    laid_out,
    owners,
    padded_length,
    window_starts,
)  # fmt: skip


def pieces_of(n: int, lead: int, trail: int) -> Pieces:
    ids = np.arange(n, dtype=np.int64) + 100
    return Pieces(ids, ids * 0, np.arange(n, dtype=np.int64) + 1, lead, trail)


@settings(deadline=None, max_examples=200)
@given(st.integers(1, 200), st.integers(3, 30), st.integers(0, 1), st.integers(0, 1))
def test_every_piece_counts_once_where_it_is_farthest_from_an_edge(n, length, lead, trail):
    pieces = pieces_of(max(n, lead + trail), lead, trail)
    table = laid_out(pieces, length)
    if len(pieces.ids) <= length:
        assert table[:, ID].tolist() == pieces.ids.tolist()
        assert table[:, COUNTS].all()
        return
    windows = table.reshape(-1, length, 4)
    room, inner = length - lead - trail, len(pieces.ids) - lead - trail
    for window in windows:
        assert window[:lead, ID].tolist() == pieces.ids[:lead].tolist()
        assert (
            window[length - trail :, ID].tolist() == pieces.ids[len(pieces.ids) - trail :].tolist()
        )
        assert window[:lead, COUNTS].all() and window[length - trail :, COUNTS].all()
    starts = [int(w[lead, ID]) - 100 - lead for w in windows]
    assert starts[0] == 0 and starts[-1] == inner - room
    for piece in range(inner):
        edges = [min(piece - s, s + room - 1 - piece) for s in starts]
        best = edges.index(max(edges))
        counted = [
            k for k, w in enumerate(windows)
            if 0 <= piece - starts[k] < room and w[lead + piece - starts[k], COUNTS]
        ]  # fmt: skip
        assert counted == [best]
    assert not table[table[:, COUNTS] == 0][:, WORD].any()


def test_neighbours_overlap_by_a_quarter():
    assert window_starts(100, 40).tolist() == [0, 30, 60]
    assert owners(100, 40, window_starts(100, 40))[[34, 35, 64, 65]].tolist() == [0, 1, 1, 2]


def test_rows_fill_up_where_words_have_no_pieces():
    table = laid_out(Pieces(*(np.array([5]), np.array([0]), np.array([30])), 0, 0), 64)
    found = filled(table, 64, 9)
    assert len(found) == 32
    assert (found[1:, WORD] == FILLER).all() and (found[1:, ID] == 9).all()


@pytest.mark.parametrize(
    ("rows", "length", "expected"),
    [(0, 50, 8), (1, 50, 8), (9, 50, 16), (49, 50, 50), (51, 50, 100), (3, 5, 5), (6, 5, 10)],
)
def test_lengths_are_padded_in_steps_then_by_windows(rows, length, expected):
    assert padded_length(rows, length) == expected


def test_no_room_between_the_marks_is_said():
    with pytest.raises(SourceError, match="no room"):
        laid_out(pieces_of(9, 1, 1), 2)
