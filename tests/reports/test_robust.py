import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from retarget.reports import methods, robust
from retarget.runs.schema import RunRecord


@pytest.fixture(scope="module")
def judged(records: dict[str, RunRecord]) -> tuple[robust.Stressed, ...]:
    return robust.stressed(methods.rows(records["tuned"]))


def _group(drawn: str, css: str) -> ElementTree.Element:
    root = ElementTree.fromstring(drawn)
    return next(g for g in root.iter("g") if g.attrib.get("class") == css)


def _said(drawn: str) -> list[str]:
    return re.findall(r"<title>([^<]*)</title>", drawn)


def test_only_methods_that_were_corrupted_are_there(records: dict[str, RunRecord]) -> None:
    tuned = records["tuned"]
    first = tuned.methods[0].model_copy(update={"robustness": None})
    some = tuned.model_copy(update={"methods": (first, *tuned.methods[1:])})
    assert len(robust.stressed(methods.rows(some))) == len(tuned.methods) - 1
    assert robust.stressed(methods.rows(records["classification"])) == ()


def test_table_has_every_share_in_its_place(judged: tuple[robust.Stressed, ...]) -> None:
    table = robust.by_corruption(judged)
    assert [group.corruption for group in table] == [
        "blur", "noise", "jpeg", "brightness", "contrast", "occlusion",
    ]  # fmt: skip
    for group in table:
        assert [cell.severity for cell in group.cells] == [1, 2, 3]
        for cell in group.cells:
            for one, kept in zip(judged, cell.kept, strict=True):
                (expected,) = (
                    c.kept
                    for c in one.robustness.cells
                    if (c.corruption, c.severity) == (group.corruption, cell.severity)
                )
                assert kept == expected


def test_cell_that_one_method_lacks_is_empty_for_it_alone(
    judged: tuple[robust.Stressed, ...],
) -> None:
    short = replace(judged[0], robustness=replace(judged[0].robustness, cells=()))
    table = robust.by_corruption((judged[1], short))
    assert all(cell.kept[0] or group.corruption == "contrast" for group in table
               for cell in group.cells)  # fmt: skip
    assert {cell.kept[1] for group in table for cell in group.cells} == {None}


def test_mixes_are_joined_with_their_method_in_order(judged: tuple[robust.Stressed, ...]) -> None:
    drawn = robust.trade_plot(judged)
    tuned = _group(drawn, "c1")
    (line,) = tuned.iter("polyline")
    points = [tuple(map(float, p.split(","))) for p in line.attrib["points"].split()]
    kept = {one.row.record.share: one.robustness.kept for one in judged
            if one.row.record.name == "finetune"}  # fmt: skip
    shares = sorted(kept)
    values = [(kept[share] or judged[0].robustness.clean).value for share in shares]
    by_height = sorted(range(5), key=lambda i: -points[i][1])
    assert by_height == sorted(range(5), key=values.__getitem__)
    said = [words for words in _said(drawn) if words.startswith("finetune")]
    assert [words.split(":")[0] for words in said] == [
        "finetune at 25%", "finetune at 50%", "finetune", "finetune at 75%", "finetune at 100%",
    ]  # fmt: skip


def test_shares_are_written_where_they_hide_nothing(judged: tuple[robust.Stressed, ...]) -> None:
    apart = [one for one in judged if one.row.record.name in ("frozen", "finetune")]
    root = ElementTree.fromstring(robust.trade_plot(apart))
    written = {e.text for e in root.iter("text")}
    assert {"25%", "75%"} <= written
    crowd = [replace(one, robustness=judged[0].robustness) for one in apart]
    drawn = robust.trade_plot(crowd)
    boxes = [
        (float(e.attrib["x"]), float(e.attrib["y"]))
        for e in ElementTree.fromstring(drawn).iter("text")
        if (e.text or "").endswith("%")
    ]
    assert len(boxes) == len(set(boxes)) == 4


def test_axis_points_to_where_it_is_better(judged: tuple[robust.Stressed, ...]) -> None:
    assert "accuracy on clean inputs →" in robust.trade_plot(judged)
    lower = [replace(one, robustness=replace(one.robustness, metric="log_loss")) for one in judged]
    assert "← log-loss on clean inputs" in robust.trade_plot(lower)


def test_methods_with_nothing_to_keep_are_not_drawn(judged: tuple[robust.Stressed, ...]) -> None:
    nothing = [replace(one, robustness=replace(one.robustness, kept=None)) for one in judged]
    assert robust.trade_plot(nothing) == ""
    assert robust.trade_plot(()) == ""
    some = robust.trade_plot([*nothing[:1], *judged[1:]])
    assert not any(words.startswith("frozen") for words in _said(some))
    assert any(words.startswith("lora") for words in _said(some))
