"""What every registered tuning promises, on a CNN, a ViT and a user's own encoder."""

import importlib
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from retarget.methods import course
from retarget.methods.losses import calibrated, example_losses
from retarget.methods.training import train
from retarget.methods.tuning import TUNINGS
from retarget.sources.registry import resolve

for _room in ("contrastive", "finetune", "lora", "scratch"):
    importlib.import_module(f"retarget.methods.{_room}")

NAMES = ("bitfit", "contrastive", "dora", "finetune", "ia3", "lora", "norms", "scratch")
ENCODERS = ("test_vit", "test_resnet", "user")
PAIRS = [*((n, e) for n in NAMES for e in ENCODERS), ("small-cnn", "user")]
SLOW = {(n, "test_resnet") for n in ("bitfit", "dora", "ia3", "norms")}
CASES = [pytest.param(p, marks=pytest.mark.slow if p in SLOW else ()) for p in PAIRS]
# What the toy wants: its weights have further to go than pretrained ones.
RATES = {
    "test_vit": {
        "finetune": 1e-3,
        "contrastive": 1e-3,
        "bitfit": 1e-3,
        "lora": 5e-3,
        "dora": 5e-3,
        "scratch": 2e-3,
    },
    "test_resnet": {"finetune": 5e-3, "contrastive": 5e-3, "bitfit": 5e-3, "scratch": 5e-3},
    "user": {"contrastive": 3e-3},
}
HARDLY = {
    ("bitfit", "user"),
    ("ia3", "user"),
    ("contrastive", "user"),
    ("scratch", "test_vit"),
}
SETTINGS = {"epochs": 6, "batch": 8, "augment": 0.0, "refit": False}


def tuning(name: str, encoder: str = "test_vit", **settings):
    return TUNINGS[name](**{"lr": RATES[encoder].get(name, 2e-2), **SETTINGS, **settings})


@pytest.fixture(scope="module", params=CASES, ids="-".join)
def tuned(request, toy, tmp_path_factory):
    """A tuning, what it was given, and what it found, once for all tests that only look."""
    name, encoder = request.param
    patch = pytest.MonkeyPatch()
    patch.setenv("RETARGET_CACHE", str(tmp_path_factory.mktemp("tuned")))
    try:
        subject = toy.subject(encoder)
        found = tuning(name, encoder).fit(subject)
        yield name, subject, found
    finally:
        patch.undo()


def outputs(uri, member, subject, rows):
    """What a run predicts: the source opened by its URI, the member on its features."""
    encoder = resolve(uri).load()
    batch = torch.stack([encoder.prepare(subject.inputs.references[i]) for i in rows])
    with torch.inference_mode():
        found = encoder.pooled(batch, subject.pooling)
    return member.outputs(lambda layer: found[layer].numpy()) * member.temperature


def encoder_of(subject):
    name = subject.source.blueprint.architecture
    return "user" if name == "toy-user" else name


def mean_loss(subject, outputs):
    labels = subject.labels.take(subject.judging)
    return float(example_losses(labels, calibrated(labels, outputs)[1]).mean())


def test_every_registered_tuning_is_in_this_suite():
    assert {*NAMES, "small-cnn"} == set(TUNINGS)


def test_it_learns_what_frozen_features_do_not_tell(tuned):
    name, subject, found = tuned
    start, end = found.epochs[0].validation_loss, mean_loss(subject, found.validation)
    # The user's network has a hundred biases and as many outputs, too few to learn it by; pairs
    # leave its features about as good as they were, not better; and a transformer with random
    # weights learns next to nothing from so few pictures.
    assert end < (1.1 if (name, encoder_of(subject)) in HARDLY else 0.98) * start


@pytest.mark.parametrize("name", [n for n in NAMES if n != "contrastive"])
def test_weights_change_as_in_the_plainest_loop(name, toy, own_cache):
    made = toy.subject("test_vit", n=16, judging=0)
    asked = {"lr": 5e-3, "epochs": 2, "batch": 8, "augment": 0.0, "views": 0, "weight_decay": 0.1}
    asked |= {"head_lr": 2e-2, "warmup": 0.0, "clip": 0.5, "batch_statistics": False}
    how = TUNINGS[name](**asked)
    how = how.settled(how.start(made).load(), made)
    ours, theirs = (how.begin(how.start(made).load(), made) for _ in range(2))
    before = {k: v.clone() for k, v in theirs.trainee.state_dict().items()}
    train(ours.trainee, ours.parts, made, how, key="a" * 32, lesson=ours.lesson)

    model = theirs.trainee.eval()
    named, groups = dict(model.named_parameters()), []
    for part in theirs.parts:
        for own in part.names:
            weight, head = named[own], own.startswith("linear.")
            spared = weight.ndim <= 1 or "ia3_l" in own or "magnitude" in own
            groups.append({"params": [weight], "weight_decay": 0.0 if spared else 0.1})
            groups[-1]["peak"] = part.factor * (2e-2 if head else 5e-3)
    wanted = [weight for group in groups for weight in group["params"]]
    for weight in named.values():
        weight.requires_grad_(any(weight is one for one in wanted))
    optimiser = torch.optim.AdamW(groups, lr=1.0)
    inputs = torch.stack([model.encoder.prepare(p) for p in made.inputs.references])
    targets = torch.tensor(made.labels.values)
    for step, (epoch, half) in enumerate([(1, 0), (1, 1), (2, 0), (2, 1)]):
        order = np.random.default_rng([made.seed, epoch]).permutation(16)
        rows = order[8 * half : 8 * half + 8]
        for group in optimiser.param_groups:
            group["lr"] = group["peak"] * 0.5 * (1 + np.cos(np.pi * step / 4))
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(model(inputs[rows]), targets[rows]).backward()
        torch.nn.utils.clip_grad_norm_(wanted, 0.5)
        optimiser.step()

    found, expected = ours.trainee.state_dict(), model.state_dict()
    moved = {k for k, v in expected.items() if not torch.equal(v, before[k])}
    assert moved == {name for part in theirs.parts for name in part.names}
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, atol=1e-5, rtol=1e-3)


def share_right(name: str, toy: ModuleType, **settings: Any) -> float:
    """Return the share of validation pictures told bright from dark, from a head that knows
    nothing."""
    random = np.random.default_rng(3)
    bright = random.integers(0, 2, 64)
    level = np.where(bright, 150, 100)[:, None, None, None]
    pixels = np.clip(random.normal(level, 25, (64, toy.SIDE, toy.SIDE, 3)), 0, 255)
    pictures = [Image.fromarray(one.astype(np.uint8)) for one in pixels]
    subject = toy.subject("test_resnet", n=64, judging=24)
    inputs = replace(subject.inputs, references=pictures)
    subject = replace(subject, inputs=inputs, labels=replace(subject.labels, values=bright))
    blank = {"probe_first": False} if hasattr(TUNINGS[name], "probe_first") else {}
    found = tuning(name, "test_resnet", epochs=8, head_lr=2e-2, **blank, **settings).fit(subject)
    return float((found.validation.argmax(axis=1) == bright[subject.judging]).mean())


@pytest.mark.parametrize("name", NAMES)
def test_a_known_rule_is_recovered_by_every_method(name, toy, own_cache):
    assert share_right(name, toy) >= 0.95


@pytest.mark.parametrize(
    "option",
    [
        {"gradual": True},
        {"layer_decay": 0.5},
        {"from_layer": 2},
        {"average": 0.8},
        {"sharpness": 0.05},
        {"stay_near": 0.01},
        {"label_smoothing": 0.1},
        {"mixup": 0.2},
        {"recompute": True},
        {"lr": "auto"},
    ],
    ids=lambda option: next(iter(option)),
)
def test_a_known_rule_is_recovered_with_every_option(option, toy, own_cache):
    assert share_right("finetune", toy, **option) >= 0.95


@pytest.mark.parametrize("name", [n for n in NAMES if n != "scratch"])
def test_frozen_layers_are_computed_once_whatever_trains_the_others(name, toy, own_cache):
    subject = toy.subject("test_resnet", n=24, judging=8)
    how = tuning(name, "test_resnet", from_layer=2, epochs=4)
    cached, whole = (replace(how, views=views).fit(subject) for views in (None, 0))
    assert cached.settings["cached_behind"]
    assert cached.cost.disk_megabytes > 0
    assert whole.settings["cached_behind"] == ""
    assert [e.loss for e in cached.epochs[1:]] == pytest.approx(
        [e.loss for e in whole.epochs[1:]], abs=1e-4
    )
    np.testing.assert_allclose(cached.validation, whole.validation, atol=1e-3, rtol=1e-3)


def test_the_written_encoder_and_head_predict_as_they_were_judged(tuned):
    _, subject, found = tuned
    made = outputs(found.uri, found.member, subject, subject.judging)
    np.testing.assert_allclose(made, found.validation, atol=2e-4, rtol=1e-4)


def test_the_head_is_saved_under_the_name_of_the_method(tuned):
    name, subject, found = tuned
    assert found.member.method == name
    assert found.member.layers == (resolve(found.uri).load().layers[-1].name,)
    assert found.member.head.arrays()["weight"].shape[0] == subject.labels.outputs


def test_dropout_and_batch_statistics_are_off_at_prediction(tuned):
    _, subject, found = tuned
    encoder = resolve(found.uri).load()
    assert not any(module.training for module in encoder.modules())
    one = outputs(found.uri, found.member, subject, subject.judging[:1])
    np.testing.assert_allclose(one, found.validation[:1], atol=2e-4, rtol=1e-4)


def test_the_written_encoder_keeps_the_preprocessing_of_its_source(tuned):
    name, subject, found = tuned
    own, source = resolve(found.uri).load(), TUNINGS[name]().start(subject).load()
    picture = subject.inputs.references[0]
    assert own.preprocessing() == source.preprocessing()
    torch.testing.assert_close(own.prepare(picture), source.prepare(picture), rtol=0, atol=0)


def test_the_written_encoder_says_where_it_is_from(tuned):
    name, subject, found = tuned
    source = resolve(found.uri)
    assert source.fingerprint not in (subject.source.fingerprint, "")
    assert "this task" in source.facts.trained_on
    assert source.facts.licence == TUNINGS[name]().start(subject).facts.licence
    assert TUNINGS[name].from_random == ("toys" not in source.facts.trained_on)


def test_settings_are_told_with_nothing_left_open(tuned):
    import json

    _, _, found = tuned
    assert json.loads(json.dumps(found.settings)) == found.settings
    assert found.settings["lr"] > 0 and found.settings["epochs"] == 6
    assert 0 < found.cost.trainable <= found.cost.parameters


def test_the_same_asked_again_is_read_and_not_trained(tuned, monkeypatch):
    name, subject, found = tuned
    monkeypatch.setenv("RETARGET_CACHE", str(Path(found.uri.removeprefix("file:")).parents[2]))
    monkeypatch.setattr(course, "train", lambda *_, **__: pytest.fail("it was trained again"))
    again = tuning(name, encoder_of(subject)).fit(subject)
    np.testing.assert_array_equal(again.validation, found.validation)
    for key, value in found.member.head.arrays().items():
        np.testing.assert_array_equal(again.member.head.arrays()[key], value)
    assert (again.uri, again.epochs, again.taken) == (found.uri, found.epochs, found.taken)
    assert (again.settings, again.cost, again.adapter) == (
        found.settings,
        found.cost,
        found.adapter,
    )


@pytest.mark.parametrize("name", ["contrastive", "finetune", "lora", "scratch"])
def test_the_same_seed_gives_the_same_numbers_and_another_seed_others(
    name, toy, tmp_path, monkeypatch
):
    subject = toy.subject("test_vit", n=24, judging=8)
    found = []
    for i, seed in enumerate((0, 0, 1)):
        monkeypatch.setenv("RETARGET_CACHE", str(tmp_path / str(i)))
        torch.rand(i)  # the global state is nobody's
        made = tuning(name, epochs=2, augment=1.0).fit(replace(subject, seed=seed))
        losses = [(e.loss, e.validation_loss) for e in made.epochs]
        found.append((losses, resolve(made.uri).fingerprint, made.validation.tolist()))
    assert found[0] == found[1]
    assert found[0][0] != found[2][0]
