import itertools
import math
import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from markupsafe import Markup

from retarget.evaluation.results import CurvePoint, Estimate, Gain, LearningCurve
from retarget.reports import plots, trials
from retarget.runs.schema import RunRecord


def _with_class(drawn: Markup, name: str) -> list[ElementTree.Element]:
    root = ElementTree.fromstring(drawn)
    return [e for e in root.iter() if name in e.attrib.get("class", "").split()]


def _texts(drawn: Markup) -> list[str]:
    return [e.text or "" for e in ElementTree.fromstring(drawn).iter("text")]


def _dot(whole: ElementTree.Element) -> float:
    return float(next(e for e in whole.iter("circle")).attrib["cx"])


def test_gain_lies_right_of_zero_where_transfer_helps_and_left_where_it_hurts() -> None:
    gains = {"a": Gain(0.2, 0.1, 0.3, 0.5), "b": Gain(-0.2, -0.3, -0.1, 0.9)}
    drawn = plots.gain_plot(gains, "accuracy")
    zero = float(_with_class(drawn, "zero")[0].attrib["x1"])
    (good,), (bad,) = _with_class(drawn, "good"), _with_class(drawn, "bad")
    assert _dot(bad) < zero < _dot(good)
    assert zero == pytest.approx((_dot(bad) + _dot(good)) / 2, abs=0.2)


def test_gain_whose_interval_holds_zero_is_drawn_as_unsure() -> None:
    drawn = plots.gain_plot({"a": Gain(0.1, -0.01, 0.2, 0.5)}, "accuracy")
    assert len(_with_class(drawn, "unsure")) == 1
    assert not _with_class(drawn, "good")
    assert "+0.100 (−0.01 to +0.20)" in _texts(drawn)


def test_whisker_reaches_from_end_to_end_of_its_interval() -> None:
    drawn = plots.gain_plot({"a": Gain(0.1, 0.0, 0.3, 0.5)}, "accuracy")
    (shape,) = _with_class(drawn, "unsure")
    across = next(e for e in shape.iter("line"))
    left, right = float(across.attrib["x1"]), float(across.attrib["x2"])
    assert (_dot(shape) - left) / (right - left) == pytest.approx(1 / 3, abs=0.01)
    assert left == float(_with_class(drawn, "zero")[0].attrib["x1"])


def test_nothing_measured_draws_nothing() -> None:
    assert plots.gain_plot({}, "accuracy") == ""
    assert plots.curve_plot(LearningCurve("accuracy", (), ""), "accuracy") == ""


def test_numbers_that_are_missing_draw_no_mark() -> None:
    lost = Gain(math.nan, math.nan, math.nan, math.nan)
    assert "<circle" not in plots.gain_plot({"a": lost}, "accuracy")
    half = Gain(0.1, math.nan, math.nan, 0.2)
    assert "<circle" in plots.gain_plot({"a": half}, "accuracy")
    assert "nan" not in plots.gain_plot({"a": half, "b": lost}, "accuracy")


def test_layers_plot_has_a_mark_for_every_layer_and_a_ring_for_the_chosen(
    record: RunRecord,
) -> None:
    series = trials.by_layer(record)
    drawn = plots.layers_plot(record, series, "accuracy")
    assert len(_with_class(drawn, "fill")) == sum(len(one.trials) for one in series)
    assert len(_with_class(drawn, "ring")) == 1
    for i, one in enumerate(series):
        (line,) = (
            e for e in _with_class(drawn, f"c{i}")[0].iter("polyline")
        )  # fmt: skip
        heights = [float(pair.split(",")[1]) for pair in line.attrib["points"].split()]
        best = max(range(len(one.trials)), key=lambda k, one=one: one.trials[k].score)
        assert heights[best] == min(heights)


def test_layers_plot_draws_only_as_many_sources_as_can_be_told_apart(
    records: dict[str, RunRecord],
) -> None:
    many = records["many"]
    drawn = plots.layers_plot(many, trials.by_layer(many), "accuracy")
    assert len(ElementTree.fromstring(drawn).findall(".//polyline")) == plots.MOST_SERIES


def test_extrapolated_points_look_different(record: RunRecord) -> None:
    curve = record.learning_curve
    assert curve is not None
    drawn = plots.curve_plot(curve, "accuracy")
    beyond = sum(p.extrapolated for p in curve.points)
    assert len(_with_class(drawn, "hollow")) == beyond
    assert len(_with_class(drawn, "fill")) == len(curve.points) - beyond
    assert drawn.count("extrapolated: ") == beyond


def test_curve_of_one_point_and_of_unmeasured_points_is_drawn() -> None:
    nothing = Estimate(math.nan, math.nan, math.nan)
    points = (CurvePoint(0, Estimate(0.5, 0.4, 0.6)), CurvePoint(10, nothing, True))
    for some in (points[:1], points, points[1:]):
        drawn = plots.curve_plot(LearningCurve("accuracy", some, ""), "accuracy")
        assert "nan" not in drawn
        ElementTree.fromstring(drawn)


def test_counts_under_the_curve_never_touch() -> None:
    score = Estimate(0.5, 0.4, 0.6)
    points = tuple(CurvePoint(n, score) for n in range(1000, 1100, 3))
    drawn = plots.curve_plot(LearningCurve("accuracy", points, ""), "accuracy")
    places = sorted(
        float(e.attrib["x"])
        for e in ElementTree.fromstring(drawn).iter("text")
        if e.attrib["y"] == "248"
    )
    assert len(places) >= 2
    assert min(b - a for a, b in itertools.pairwise(places)) > 38


def test_calibrated_bins_lie_on_the_diagonal(record: RunRecord) -> None:
    calibration = record.test.calibration
    assert calibration is not None
    true = replace(
        calibration, bins=tuple(replace(b, accuracy=b.confidence) for b in calibration.bins)
    )
    drawn = plots.calibration_plot(true)
    (diagonal,) = _with_class(drawn, "diagonal")
    x1, y1, x2, y2 = (float(diagonal.attrib[k]) for k in ("x1", "y1", "x2", "y2"))
    for dot in ElementTree.fromstring(drawn).iter("circle"):
        x, y = float(dot.attrib["cx"]), float(dot.attrib["cy"])
        assert (y - y1) / (y2 - y1) == pytest.approx((x - x1) / (x2 - x1), abs=0.002)


def test_area_of_a_calibration_dot_grows_with_its_examples(record: RunRecord) -> None:
    calibration = record.test.calibration
    assert calibration is not None
    drawn = plots.calibration_plot(calibration)
    sizes = [float(e.attrib["r"]) for e in ElementTree.fromstring(drawn).iter("circle")]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1]
    assert "<circle" not in plots.calibration_plot(replace(calibration, bins=()))


def test_range_is_drawn_on_the_scale_of_its_table() -> None:
    drawn = plots.range_plot(Estimate(0.5, 0.25, 0.75), 0.0, 1.0)
    circle = next(ElementTree.fromstring(drawn).iter("circle"))
    assert float(circle.attrib["cx"]) == 60
    assert 'aria-hidden="true"' in drawn


def test_every_plot_says_what_it_is_and_brings_no_colours_of_its_own(record: RunRecord) -> None:
    curve, calibration = record.learning_curve, record.test.calibration
    assert curve is not None
    assert calibration is not None
    for drawn in (
        plots.gain_plot(record.gain, "accuracy"),
        plots.layers_plot(record, trials.by_layer(record), "accuracy"),
        plots.curve_plot(curve, "accuracy"),
        plots.calibration_plot(calibration),
    ):
        root = ElementTree.fromstring(drawn)
        assert root.attrib["role"] == "img"
        assert root[0].tag == "title"
        assert len(root[0].text or "") > 20
        assert not re.search(r'(style|fill|stroke)="', drawn)
