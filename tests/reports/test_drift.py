import math
from xml.etree import ElementTree

import pytest

from retarget.reports import drift
from retarget.runs.schema import Drift, LayerDrift, RunRecord


@pytest.fixture(scope="module")
def drifts(records: dict[str, RunRecord]) -> tuple[Drift, ...]:
    return records["tuned"].drift


def _bars(drawn: str) -> list[float]:
    return [float(e.attrib["width"]) for e in ElementTree.fromstring(drawn).iter("rect")]


def _layers(*pairs: tuple[float | None, float | None]) -> Drift:
    made = (LayerDrift(layer=f"layer {i}", weights=w, cka=c) for i, (w, c) in enumerate(pairs))
    return Drift(method="finetune", layers=tuple(made))


def test_bars_are_as_long_as_weights_moved_on_one_scale_for_all(
    drifts: tuple[Drift, ...],
) -> None:
    most = drift.furthest(drifts)
    long, short = (_bars(drift.drift_plot(one, most)) for one in drifts)
    moved = [[v.weights for v in one.layers if v.weights is not None] for one in drifts]
    assert most == max(moved[0])
    assert max(long) == pytest.approx(98, abs=0.1)
    assert long[-1] / short[-1] == pytest.approx(moved[0][-1] / moved[1][-1], rel=0.01)


def test_layer_without_weights_has_no_bar_and_without_cka_no_dot(
    drifts: tuple[Drift, ...],
) -> None:
    drawn = drift.drift_plot(drifts[0], drift.furthest(drifts))
    root = ElementTree.fromstring(drawn)
    said = [e.text or "" for e in root.iter("title")]
    assert not any(words.startswith("blocks.2: weights") for words in said)
    assert any(words.startswith("blocks.2: CKA") for words in said)
    assert not any(words.startswith("blocks.0: CKA") for words in said)
    assert len(list(root.iter("circle"))) == len(drifts[0].layers) - 1


def test_features_that_are_unchanged_lie_furthest_right() -> None:
    root = ElementTree.fromstring(
        drift.drift_plot(_layers((0.1, 1.0), (0.1, -0.2), (0.1, 0.4)), 0.1)
    )
    places = [float(e.attrib["cx"]) for e in root.iter("circle")]
    assert places[0] > places[2] > places[1]
    assert places[0] == 328
    assert places[1] == 236


def test_nothing_measured_is_nothing_drawn() -> None:
    assert drift.drift_plot(_layers((None, None), (math.nan, math.nan)), 0.0) == ""
    assert drift.furthest([_layers((None, 1.0))]) == 0.0
    assert drift.furthest([]) == 0.0


def test_layers_that_did_not_move_are_drawn() -> None:
    drawn = drift.drift_plot(_layers((0.0, 1.0), (0.0, 1.0)), 0.0)
    assert "nan" not in drawn
    assert "weights moved by 0%" in drawn


def test_very_deep_networks_are_thinned() -> None:
    deep = _layers(*[(0.01 * i, 1.0) for i in range(500)])
    root = ElementTree.fromstring(drift.drift_plot(deep, 5.0))
    assert len(list(root.iter("circle"))) <= drift.MOST_LAYERS


@pytest.mark.parametrize(
    ("part", "said"),
    [(0.123, "12%"), (0.0512, "5.1%"), (0.003, "0.3%"), (0.00004, "0.004%"), (0.0, "0%"),
     (1.5, "150%"), (None, "–"), (math.nan, "–")],
)  # fmt: skip
def test_distances_have_the_digits_they_deserve(part: float | None, said: str) -> None:
    assert drift.percent(part) == said
