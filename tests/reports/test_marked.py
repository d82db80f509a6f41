import html as escapes
import re
from typing import Literal

from hypothesis import given, settings
from hypothesis import strategies as st

from retarget.reports.marked import marked, shown, tally
from retarget.runs.schema import Marked

Mark = Literal["right", "missed", "wrong"]


def _span(start: int, end: int, mark: Mark = "right", label: str = "place") -> Marked:
    return Marked(start=start, end=end, label=label, mark=mark)


def _words(page: str) -> str:
    """The text of a page without labels and tags."""
    return escapes.unescape(re.sub("<[^>]*>", "", re.sub(r" <bdi.*?</bdi> ", "", page)))


def test_a_span_is_marked_and_its_label_said_behind_it() -> None:
    assert marked("in Rome now", [_span(3, 7)]) == (
        'in <mark class="right">Rome</mark> <bdi class="said-of right">place</bdi>  now'
    )


def test_what_is_missed_or_wrong_is_said_in_words() -> None:
    page = marked("in Rome", [_span(3, 7, "missed", "place"), _span(3, 7, "wrong", "person")])
    assert '<mark class="missed wrong">Rome</mark>' in page
    assert "place, missed" in page
    assert "person, wrong" in page


def test_spans_that_overlap_are_marked_piece_by_piece() -> None:
    page = marked("Ockham Park", [_span(0, 6, "wrong", "person"), _span(0, 11, "missed")])
    assert re.findall('<mark class="([^"]*)">([^<]*)<', page) == [
        ("wrong missed", "Ockham"), ("missed", " Park"),
    ]  # fmt: skip
    assert page.index("person, wrong") < page.index(" Park") < page.index("place, missed")


def test_markup_in_texts_and_labels_is_text() -> None:
    page = marked("<b>&</b>", [_span(0, 3, label='"><script>')])
    assert "<b>" not in page
    assert "<script>" not in page
    assert _words(page) == "<b>&</b>"


def test_hidden_and_turning_characters_are_escapes_and_joiners_stay() -> None:
    assert shown("a\u202eb\u200bc\x1b\ud800") == "a\\u202eb\\u200bc\\x1b\\ud800"
    assert shown("می\u200cخواهم 👩\u200d👧\u0301") == "می\u200cخواهم 👩\u200d👧\u0301"
    assert shown("one\n\ttwo\u2028three") == "one  two three"


def test_spans_outside_of_the_text_are_left_out() -> None:
    assert marked("abc", [_span(1, 9), _span(2, 2), _span(5, 7)]) == "abc"
    assert marked("", [_span(0, 1)]) == ""


def test_marks_are_counted() -> None:
    assert tally([_span(0, 1), _span(0, 2, "wrong"), _span(3, 4, "wrong")]) == "1 right, 2 wrong"
    assert tally([]) == ""


@settings(deadline=None, max_examples=60)
@given(
    st.text(max_size=30),
    st.lists(
        st.tuples(st.integers(0, 32), st.integers(0, 32), st.sampled_from(["missed", "wrong"]))
    ),
)
def test_no_character_is_lost_or_doubled(text: str, ends: list[tuple[int, int, Mark]]) -> None:
    page = marked(text, [_span(a, b, mark) for a, b, mark in ends])
    assert _words(page) == escapes.unescape(shown(text))
