"""The course of a training: once to be judged, once more on all rows, mixed alike, written."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from retarget.core.paths import cache_dir
from retarget.evaluation.calibration import fit_temperature
from retarget.methods import course, kept, mixing, start
from retarget.methods.finetune import FineTune
from retarget.methods.losses import calibrated, example_losses
from retarget.methods.mixing import weights_of
from retarget.methods.training import Trained
from retarget.methods.tuning import Epoch, TrainingCost
from retarget.sources.registry import resolve

SHORT = {"epochs": 2, "batch": 8, "augment": 0.0}


class Recorder:
    """A training that moves every trained weight by a fixed step, and notes what it was asked."""

    def __init__(
        self,
        taken: int = 3,
        interrupted: bool = False,
        step: float = 0.01,
        interrupted_from: int = 10**9,
    ) -> None:
        self.calls: list[dict] = []
        self.taken, self.step = taken, step
        self.interrupted_from = 1 if interrupted else interrupted_from

    def __call__(self, trainee, parts, subject, how, *, key, epochs=None, lesson=None) -> Trained:
        start = weights_of(trainee)
        with torch.no_grad():
            for name, parameter in trainee.named_parameters():
                if any(name in part.names for part in parts):
                    parameter.add_(self.step * (1 + len(self.calls)))
        self.calls.append(
            {"subject": subject, "how": how, "key": key, "epochs": epochs, "start": start}
            | {"weights": weights_of(trainee)}
        )
        rows = subject.judging
        outputs = np.zeros((0, subject.labels.outputs))
        if len(rows):
            prepared = [trainee.encoder.prepare(subject.inputs.references[i]) for i in rows]
            with torch.no_grad():
                outputs = trainee.eval()(torch.stack(prepared)).double().numpy()
        return Trained(
            outputs=outputs,
            epochs=(Epoch(0, 1.0, 1.0, 0.5, 0.0, 0.0),),
            taken=self.taken,
            why="It was so.",
            gap=(0.1, 0.0, 0.2),
            cost=TrainingCost(10, 5, 2.0 + len(self.calls), 0.5, 7.0 * len(self.calls), 1.0),
            lr=0.125,
            notes=(f"note {len(self.calls)}",),
            schedule=9,
            settings={"lr": 0.125},
            interrupted=len(self.calls) >= self.interrupted_from,
        )


@pytest.fixture
def recorded(monkeypatch):
    """Give a maker of recorders that stand in for the loop."""

    def record(**settings) -> Recorder:
        made = Recorder(**settings)
        monkeypatch.setattr(course, "train", made)
        return made

    return record


@pytest.fixture
def subject(toy):
    return toy.subject("test_resnet", n=24, judging=8)


def test_few_labels_are_trained_on_again_all_of_them_on_the_same_course(recorded, subject):
    recorder = recorded()
    found = FineTune(lr="auto", mix=False).fit(subject)
    first, second = recorder.calls
    assert first["epochs"] is None and second["epochs"] == 3
    assert first["subject"].validation.sum() == 8 and not second["subject"].validation.any()
    assert second["how"].lr == 0.125 and second["how"].epochs == 9
    assert first["key"] != second["key"]
    assert found.notes == ("note 1", "note 2")
    assert (found.cost.seconds, found.cost.peak_megabytes) == (3.0 + 4.0, 14.0)
    assert len(found.validation) == 8 and found.settings["refit"] is True


def test_the_second_training_starts_from_a_head_fitted_on_all_rows(recorded, subject):
    recorder = recorded()
    FineTune(mix=False).fit(subject)
    first, second = recorder.calls
    everything = replace(subject, validation=np.zeros(24, bool))
    for call, own in ((first, subject), (second, everything)):
        expected = start.headed(own.source.load(), own, start.Probe())
        torch.testing.assert_close(
            call["start"]["linear.weight"], expected.linear.weight.detach(), atol=1e-5, rtol=1e-4
        )
    assert not torch.equal(first["start"]["linear.weight"], second["start"]["linear.weight"])


def test_the_encoder_is_the_second_ones_and_the_judged_outputs_the_first_ones(recorded, subject):
    recorder = recorded(step=1e-3)
    found = FineTune(mix=False).fit(subject)
    weights = resolve(found.uri).load().weights()
    for name, value in recorder.calls[1]["weights"].items():
        if name.startswith("encoder.model."):
            assert torch.equal(weights[name.removeprefix("encoder.model.")], value)
    labels = subject.labels.take(subject.judging)
    expected = fit_temperature(found.validation, labels.values, labels.weights, labels.kind)
    assert found.member.temperature == expected


def test_the_share_that_was_judged_best_is_that_of_the_second_training(
    recorded, subject, monkeypatch
):
    recorder = recorded(step=1e-3)
    judge = mixing.judge
    monkeypatch.setattr(mixing, "judge", lambda *a, **k: replace(judge(*a, **k), share=0.3))
    found = FineTune().fit(subject)
    call = recorder.calls[1]
    weights = resolve(found.uri).load().weights()
    for name, value in call["weights"].items():
        if name.startswith("encoder.model.") and value.is_floating_point():
            expected = torch.lerp(call["start"][name], value, 0.3)
            assert torch.equal(weights[name.removeprefix("encoder.model.")], expected)
    expected = torch.lerp(call["start"]["linear.weight"], call["weights"]["linear.weight"], 0.3)
    np.testing.assert_array_equal(found.member.head.arrays()["weight"], expected.numpy())
    assert found.settings["share"] == 0.3 and "30%" in found.why
    assert [m.share for m in found.mixes] == [i / 10 for i in range(11)]
    labels = subject.labels.take(subject.judging)
    loss = float(example_losses(labels, calibrated(labels, found.validation)[1]).mean())
    assert loss == pytest.approx(found.mixes[3].validation_loss)


def test_nothing_is_trained_again_that_was_best_before_training(recorded, subject):
    recorder = recorded(taken=0)
    found = FineTune(mix=False).fit(subject)
    assert len(recorder.calls) == 1
    source, tuned = subject.source.load().weights(), resolve(found.uri).load().weights()
    assert all(torch.equal(source[name], tuned[name]) for name in source)


def test_nothing_is_trained_again_where_the_source_is_the_best_mixture(recorded, subject):
    recorder = recorded(step=5.0)
    found = FineTune().fit(subject)
    assert found.settings["share"] == 0.0 and len(recorder.calls) == 1
    FineTune(keep_mixes=True).fit(subject)
    assert len(recorder.calls) == 3


@pytest.mark.parametrize(
    ("refit", "n", "expected"), [(None, 24, 2), (None, 500, 1), (True, 500, 2), (False, 24, 1)]
)
def test_who_trains_again(refit, n, expected, subject):
    labels = replace(subject.labels, values=np.zeros(n, np.int64))
    inputs = subject.inputs.take(np.arange(n) % len(subject.inputs))
    made = replace(subject, labels=labels, inputs=inputs)
    assert FineTune(refit=refit).trains_again(made) == (expected == 2)


def test_without_validation_rows_there_is_one_training_and_no_choice(recorded, subject):
    recorder = recorded()
    found = FineTune(refit=True).fit(replace(subject, validation=np.zeros(24, bool)))
    assert len(recorder.calls) == 1
    assert found.mixes == () and found.member.temperature == 1.0
    assert found.validation.shape == (0, 2)


def test_the_time_is_divided_between_both_trainings(recorded, subject):
    recorder = recorded()
    FineTune(mix=False).fit(replace(subject, seconds=100.0))
    first, second = (call["subject"].seconds for call in recorder.calls)
    assert first == pytest.approx(100.0 * 16 / 40)
    assert second == pytest.approx(100.0 - 3.0)
    FineTune(mix=False, refit=False).fit(replace(subject, seconds=100.0))
    assert recorder.calls[2]["subject"].seconds == 100.0


def test_what_was_ended_by_hand_is_finished_and_not_kept(recorded, subject):
    recorder = recorded(interrupted=True)
    found = FineTune().fit(subject)
    assert len(recorder.calls) == 1
    assert resolve(found.uri).load() is not None
    FineTune().fit(subject)
    assert len(recorder.calls) == 2


def test_a_second_training_that_was_ended_by_hand_leaves_the_first(recorded, subject):
    recorder = recorded(step=1e-3, interrupted_from=2)
    found = FineTune(mix=False).fit(subject)
    first, second = recorder.calls
    weights = resolve(found.uri).load().weights()
    name = next(n for n in first["weights"] if n.endswith("conv1.weight"))
    assert torch.equal(weights[name.removeprefix("encoder.model.")], first["weights"][name])
    assert not torch.equal(first["weights"][name], second["weights"][name])
    head = first["weights"]["linear.weight"].numpy()
    np.testing.assert_array_equal(found.member.head.arrays()["weight"], head)
    assert found.settings["refit"] is False
    assert course.ENDED_AGAIN in found.notes
    assert found.cost.seconds == 3.0 + 4.0
    FineTune(mix=False).fit(subject)
    assert len(recorder.calls) > 2


def test_encoders_of_mixtures_are_kept_where_that_is_asked_for(recorded, subject):
    recorder = recorded(step=1e-3)
    found = FineTune(keep_mixes=True, refit=False).fit(subject)
    call = recorder.calls[0]
    kept_ones = {m.share: m for m in found.mixes if m.uri}
    assert set(kept_ones) == {0.25, 0.5, 0.75, 1.0}
    for share, mix in kept_ones.items():
        weights = resolve(mix.uri).load().weights()
        name = next(n for n in call["weights"] if n.endswith("conv1.weight"))
        expected = torch.lerp(call["start"][name], call["weights"][name], share)
        assert torch.equal(weights[name.removeprefix("encoder.model.")], expected)
        head = torch.lerp(call["start"]["linear.weight"], call["weights"]["linear.weight"], share)
        np.testing.assert_array_equal(mix.member.head.arrays()["weight"], head.numpy())
    again = FineTune(keep_mixes=True, refit=False).fit(subject)
    assert len(recorder.calls) == 1
    for a, b in zip(again.mixes, found.mixes, strict=True):
        assert (a.share, a.validation_loss, a.uri) == (b.share, b.validation_loss, b.uri)
        assert (a.member is None) == (b.member is None)
        if a.member is not None:
            np.testing.assert_array_equal(
                a.member.head.arrays()["weight"], b.member.head.arrays()["weight"]
            )


def test_everything_lies_below_the_cache(recorded, subject):
    recorded()
    found = FineTune().fit(subject)
    folders = list((cache_dir() / "tuned").iterdir())
    assert len(folders) == 1
    assert found.uri == f"file:{folders[0] / kept.ENCODER}"


@pytest.mark.parametrize("kind", ["multilabel", "regression"])
def test_labels_and_numbers_are_learned_too(kind, toy, subject):
    colours = np.stack([np.asarray(p).mean((0, 1)) for p in subject.inputs.references])
    if kind == "regression":
        values, outputs, metric = 5000.0 + 40.0 * colours[:, 0], 1, "rmse"
    else:
        values, outputs, metric = (colours > 125).astype(float), 3, "average_precision"
    labels = replace(subject.labels, kind=kind, values=values, outputs=outputs)
    made = replace(subject, labels=labels, metric=metric)
    found = FineTune(**SHORT, lr=1e-3).fit(made)
    assert found.validation.shape == (8, outputs)
    encoder = resolve(found.uri).load()
    batch = torch.stack([encoder.prepare(p) for p in subject.inputs.references])
    with torch.no_grad():
        layers = encoder.pooled(batch, "mean")
    predicted = found.member.outputs(lambda name: layers[name].numpy())
    if kind == "regression":
        error = np.sqrt(np.mean((predicted[:, 0] - values) ** 2))
        assert error < 0.6 * values.std()
        assert found.member.temperature == 1.0
    else:
        assert ((predicted > 0) == (values > 0.5)).mean() > 0.7


@pytest.mark.slow
def test_two_processes_train_one_encoder_and_write_it_once(together, own_cache):
    toy = Path(__file__).with_name("toy.py")
    code = f"""
import sys
sys.path.insert(0, {str(toy.parent)!r})
import toy
from retarget.core import processes
from retarget.methods import kept
from retarget.methods.finetune import FineTune
from retarget.sources.registry import resolve
wrote = []
keep = kept.keep
kept.keep = lambda *a: (wrote.append(1), keep(*a))
subject = toy.subject("test_vit", n=24, judging=8)
how = FineTune(epochs=2, batch=8, augment=0.0, lr=1e-3)
made, again = how.fit(subject), how.fit(subject)
found["uri"], found["again"], found["wrote"] = made.uri, again.uri, len(wrote)
found["fingerprint"] = resolve(made.uri).fingerprint
found["outputs"] = made.validation.tolist()
"""
    first, second = together(code)
    assert (first["status"], second["status"]) == (0, 0), first["errors"] + second["errors"]
    assert (first["wrote"], second["wrote"]) == (1, 0)
    for name in ("uri", "again", "fingerprint", "outputs"):
        assert first[name] == second[name]
    assert first["uri"] == first["again"]
