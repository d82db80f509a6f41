"""How things are written for people."""

from collections.abc import Sequence

import pytest

from retarget.core.text import listed_lines


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ([7], "line 7"),
        ([3, 5], "line 3, line 5"),
        (range(1, 11), "lines 1 to 10"),
        ([1, 2, 4, 998, 999, 1000], "lines 1 to 2, line 4, lines 998 to 1,000"),
        ([1, 3, 4, 6, 8, 10], "line 1, lines 3 to 4, line 6, …"),
    ],
)
def test_lines_that_follow_each_other_are_told_as_one_run(lines: Sequence[int], told: str) -> None:
    assert listed_lines(lines) == told
