import math
from collections import Counter
from xml.etree import ElementTree

import pytest

from retarget.reports import feature_map
from retarget.runs.schema import MapPoint, RunRecord


def _points(labels: list[str]) -> tuple[MapPoint, ...]:
    return tuple(MapPoint(x=float(i), y=float(-i), label=label) for i, label in enumerate(labels))


def test_every_label_has_its_own_look(record: RunRecord) -> None:
    found = feature_map.marks(record.map, "classification")
    assert [m.name for m in found] == sorted({p.label for p in record.map})
    assert len({(m.css, m.shape) for m in found}) == len(found) == 12


def test_few_labels_are_all_circles_and_many_are_not() -> None:
    few = feature_map.marks(_points(list("abcdefgh")), "classification")
    assert {m.shape for m in few} == {"circle"}
    many = feature_map.marks(_points(list("abcdefghi")), "classification")
    assert len({m.shape for m in many}) > 1


def test_rare_labels_share_one_grey_mark_and_no_point_is_lost(
    records: dict[str, RunRecord],
) -> None:
    points = records["many"].map
    found = feature_map.marks(points, "classification")
    assert found[0].css == "rest"
    assert found[0].name == "36 other labels"
    assert sum(len(m.points) for m in found) == len(points)
    assert len({(m.css, m.shape) for m in found}) == feature_map.MOST_LABELS + 1


def test_numbers_are_told_apart_in_five_equal_steps(records: dict[str, RunRecord]) -> None:
    points = records["regression"].map
    found = feature_map.marks(points, "regression")
    sizes = [len(m.points) for m in found]
    assert len(sizes) == feature_map.STEPS
    assert max(sizes) - min(sizes) <= 1
    highest = [max(float(p.label) for p in m.points) for m in found]
    lowest = [min(float(p.label) for p in m.points) for m in found]
    assert all(a <= b for a, b in zip(highest, lowest[1:], strict=False))


def test_regression_whose_labels_are_no_numbers_falls_back_to_names() -> None:
    found = feature_map.marks(_points(["1", "2", "high"]), "regression")
    assert [m.name for m in found] == ["1", "2", "high"]


def test_few_numbers_make_few_steps() -> None:
    assert [len(m.points) for m in feature_map.marks(_points(["1", "2"]), "regression")] == [1, 1]


def test_judging_examples_are_filled_and_others_hollow(record: RunRecord) -> None:
    drawn = feature_map.map_plot(feature_map.marks(record.map, "classification"))
    styles = Counter(
        e.attrib["class"]
        for e in ElementTree.fromstring(drawn).iter()
        if e.attrib.get("class") in ("fill", "hollow")
    )
    judged = sum(p.judged for p in record.map)
    assert styles == {"fill": judged, "hollow": len(record.map) - judged}


def test_points_keep_their_places_to_each_other() -> None:
    points = (
        MapPoint(x=0.0, y=0.0, label="a"),
        MapPoint(x=1.0, y=2.0, label="a"),
        MapPoint(x=4.0, y=1.0, label="a"),
    )
    drawn = feature_map.map_plot(feature_map.marks(points, "classification"))
    dots = list(ElementTree.fromstring(drawn).iter("circle"))
    xs, ys = ([float(d.attrib[k]) for d in dots] for k in ("cx", "cy"))
    assert (xs[1] - xs[0]) / (xs[2] - xs[0]) == pytest.approx(1 / 4, abs=0.01)
    assert (ys[0] - ys[2]) / (ys[0] - ys[1]) == pytest.approx(1 / 2, abs=0.01)


def test_places_that_are_not_finite_are_left_out_and_an_empty_map_is_nothing() -> None:
    lost = MapPoint(x=math.nan, y=0.0, label="a")
    assert feature_map.marks((lost,), "classification") == ()
    assert feature_map.map_plot(()) == ""


def test_very_many_points_are_thinned_evenly() -> None:
    points = _points(["a", "b"] * 5000)
    found = feature_map.marks(points, "multilabel")
    drawn = sum(len(m.points) for m in found)
    assert 1500 < drawn <= feature_map.MOST_POINTS
