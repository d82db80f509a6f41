import math
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markupsafe import Markup

from retarget.reports import svg


def test_scale_maps_ends_to_ends_and_clips() -> None:
    scale = svg.Scale(2, 4, 10, 110)
    assert [scale(v) for v in (2, 3, 4, 1, 9)] == [10, 60, 110, 10, 110]


def test_downward_scale_puts_large_values_on_top() -> None:
    assert svg.Scale(0, 1, 200, 0)(0.75) == 50


def test_log_scale_puts_the_geometric_mean_in_the_middle() -> None:
    assert svg.Scale(1, 100, 0, 1, log=True)(10) == pytest.approx(0.5)


def test_scale_without_width_is_its_middle() -> None:
    assert svg.Scale(3, 3, 0, 10)(3) == 5


def test_bounds_hold_all_finite_values_with_a_margin() -> None:
    assert svg.bounds([1.0, 3.0, math.nan, math.inf], 0.1) == pytest.approx((0.8, 3.2))
    low, high = svg.bounds([5.0])
    assert low < 5 < high
    assert svg.bounds([]) == (0.0, 1.0)


def test_element_escapes_text_and_attributes_but_not_markup() -> None:
    made = svg.element("text", "<b>", Markup("<i></i>"), data_name='"><x', class_="a", x=1.25)
    assert made == '<text data-name="&#34;&gt;&lt;x" class="a" x="1.2">&lt;b&gt;<i></i></text>'


@given(st.text(max_size=60))
@settings(deadline=None, max_examples=200)
def test_any_text_makes_a_well_formed_picture_that_holds_no_element_of_its_own(
    words: str,
) -> None:
    made = svg.picture(words, 100, 50, svg.label(0, 10, words, room=40), svg.hint(words))
    tags = [child.tag for child in ElementTree.fromstring(made).iter()]
    assert set(tags) <= {"svg", "title", "text"}
    assert all(c.isprintable() or c == " " for c in made if ord(c) < 0x80)


def test_numbers_that_are_not_finite_break_no_picture() -> None:
    made = svg.line(math.nan, math.inf, 1, 2)
    assert made == '<line x1="0" y1="0" x2="1" y2="2" class=""></line>'


@given(st.text(max_size=80), st.floats(0, 500))
@settings(deadline=None, max_examples=200)
def test_fitted_text_fits_and_keeps_what_fits(words: str, room: float) -> None:
    shown = svg.fitted(words, room)
    if svg.text_width(words) <= room:
        assert shown == words
    else:
        assert shown.endswith("…")
        assert len(shown) == 1 or svg.text_width(shown) <= room
        assert words.startswith(shown[:-1])


def test_shortened_label_says_its_whole_name_when_pointed_at() -> None:
    made = svg.label(0, 0, "a very long name indeed", room=60)
    assert "<title>a very long name indeed</title>" in made
    assert "<title>" not in svg.label(0, 0, "short", room=60)


def test_wide_scripts_are_wider() -> None:
    assert svg.text_width("日本") > svg.text_width("ab")


@pytest.mark.parametrize("shape", svg.SHAPES)
def test_marks_are_centred_and_about_as_large_as_asked(shape: str) -> None:
    root = ElementTree.fromstring(svg.mark(shape, 50, 60, 4))
    if root.tag == "polygon":
        pairs = [pair.split(",") for pair in root.attrib["points"].split()]
        xs, ys = [float(x) for x, _ in pairs], [float(y) for _, y in pairs]
    elif root.tag == "rect":
        x, y, w = (float(root.attrib[name]) for name in ("x", "y", "width"))
        xs, ys = [x, x + w], [y, y + w]
    else:
        xs, ys = [46, 54], [56, 64]
    assert (min(xs) + max(xs)) / 2 == pytest.approx(50, abs=0.1)
    assert (min(ys) + max(ys)) / 2 == pytest.approx(60, abs=0.6)
    assert 6 <= max(xs) - min(xs) <= 11
