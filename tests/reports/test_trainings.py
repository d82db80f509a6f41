import math
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from retarget.methods.tuning import Epoch
from retarget.reports import trainings
from retarget.runs.schema import RunRecord, TrainingRecord


@pytest.fixture(scope="module")
def training(records: dict[str, RunRecord]) -> TrainingRecord:
    return next(t.training for t in records["tuned"].trials if t.training)


def _with(training: TrainingRecord, **changed: object) -> TrainingRecord:
    return training.model_copy(update=changed)


def _heights(training: TrainingRecord, css: str) -> list[float]:
    root = ElementTree.fromstring(trainings.curves_plot(training))
    (line,) = (
        e for g in root.iter("g") if g.attrib.get("class") == css for e in g.iter("polyline")
    )
    return [float(pair.split(",")[1]) for pair in line.attrib["points"].split()]


def test_every_training_is_shown_once_the_best_first(records: dict[str, RunRecord]) -> None:
    found = trainings.shown(records["tuned"])
    assert [one.method for one in found] == ["finetune", "lora", "scratch"]
    assert trainings.shown(records["classification"]) == ()


def test_training_of_a_member_that_is_no_trial_is_shown(records: dict[str, RunRecord]) -> None:
    tuned = records["tuned"]
    frozen = tuple(t for t in tuned.trials if t.training is None)
    found = trainings.shown(tuned.model_copy(update={"trials": frozen}))
    assert {one.method for one in found} == {"finetune", "lora", "scratch"}


def test_lower_losses_are_drawn_lower(training: TrainingRecord) -> None:
    for css, losses in (
        ("c1", [e.loss for e in training.epochs]),
        ("c0", [e.validation_loss for e in training.epochs]),
    ):
        heights = _heights(training, css)
        assert sorted(range(13), key=lambda i, h=heights: -h[i]) == sorted(
            range(13), key=losses.__getitem__
        )


def test_ring_is_around_the_validation_loss_of_the_epoch_taken(training: TrainingRecord) -> None:
    root = ElementTree.fromstring(trainings.curves_plot(training))
    (ring,) = (e for e in root.iter("circle") if "ring" in e.attrib["class"])
    assert float(ring.attrib["cy"]) == _heights(training, "c0")[training.taken]
    assert "epoch 8 taken" in [e.text for e in root.iter("text")]
    assert (root[0].text or "").endswith("epoch 8 was taken")


def test_what_was_not_measured_is_left_out(training: TrainingRecord) -> None:
    first = replace(training.epochs[0], loss=math.nan)
    some = _with(training, epochs=(first, *training.epochs[1:]))
    assert len(_heights(some, "c1")) == 12
    assert "taken</text>" not in trainings.curves_plot(_with(training, taken=99))
    unjudged = tuple(replace(e, validation_loss=math.nan) for e in training.epochs)
    drawn = trainings.curves_plot(_with(training, epochs=unjudged))
    assert "ring" not in drawn
    assert "nan" not in drawn
    nothing = tuple(replace(e, loss=math.nan) for e in unjudged)
    assert trainings.curves_plot(_with(training, epochs=nothing)) == ""
    assert trainings.curves_plot(_with(training, epochs=())) == ""


@pytest.mark.parametrize("epochs", [1, 2, 500])
def test_any_number_of_epochs_is_drawn(training: TrainingRecord, epochs: int) -> None:
    many = tuple(Epoch(i, 1.0 / i, 1.0 / i, 0.5, 1e-3, 1.0) for i in range(1, epochs + 1))
    drawn = trainings.curves_plot(_with(training, epochs=many, taken=epochs))
    root = ElementTree.fromstring(drawn)
    dots = [e for e in root.iter("circle") if e.attrib["class"] == "fill"]
    assert min(epochs, 20) <= len(dots) <= trainings.MOST_DOTS
    assert f"epoch {epochs} taken" in drawn
    assert len(drawn) < 40_000


@pytest.mark.parametrize(
    ("gap", "meaning"),
    [
        ((0.34, 0.21, 0.47), "+0.340 (+0.21 to +0.47): some of what it learned holds for those"),
        ((0.02, -0.05, 0.09), "+0.020 (−0.05 to +0.09): no overfitting can be told"),
        ((-0.2, -0.3, -0.1), "−0.200 (−0.30 to −0.10): there is no sign of overfitting"),
        ((0.1, math.nan, math.nan), "there are too few examples for an interval"),
    ],
)
def test_gap_is_said_with_what_it_means(
    training: TrainingRecord, gap: tuple[float, float, float], meaning: str
) -> None:
    said = trainings.gap_sentence(_with(training, gap=gap))
    assert meaning in said
    assert "nan" not in said


def test_gap_that_was_not_measured_is_not_said(training: TrainingRecord) -> None:
    assert trainings.gap_sentence(_with(training, gap=(math.nan,) * 3)) == ""


def test_settings_that_are_off_are_left_out_and_the_rest_is_in_words() -> None:
    told = {
        "lr": 0.00052341, "mixup": 0.0, "clip": 1.0, "patience": None, "recompute": False,
        "refit": True, "from_layer": "blocks.5", "targets": ["a", "b"], "cached_behind": "",
        "deep": {"x": 1}, "long": "y" * 500,
    }  # fmt: skip
    found = dict(trainings.settings(told))
    assert found.pop("long") == "y" * 119 + "…"
    assert found == {
        "learning rate": "0.000523", "clip": "1", "refit": "yes", "from layer": "blocks.5",
        "targets": "a, b", "deep": '{"x": 1}',
    }  # fmt: skip
