"""The loop against the plainest one, and all that may happen to it."""

import math
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from retarget.core.errors import TrainingError, UsageError
from retarget.core.progress import listening
from retarget.features.views import Views
from retarget.methods import loop as loops
from retarget.methods.callbacks import Callback
from retarget.methods.losses import calibrated, example_losses
from retarget.methods.settings import Part, Training
from retarget.methods.trainee import Trainee
from retarget.methods.training import Trained, train
from retarget.methods.tuning import Epoch, Subject

PLAIN = Training(
    epochs=4, lr=2e-3, batch=6, augment=0.0, weight_decay=0.1, views=0, patience=99, clip=1.0
)


def batches_of(made: Subject, how: Training, epoch: int) -> list[np.ndarray]:
    """The order of an epoch: a permutation by (seed, epoch), cut."""
    order = np.random.default_rng([made.seed, epoch]).permutation(np.flatnonzero(~made.validation))
    return [order[i : i + how.batch] for i in range(0, len(order), how.batch)]


def rate(how: Training, step: int, steps: int) -> float:
    rise = int(how.warmup * steps)
    if step < rise:
        return (step + 1) / (rise + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / (steps - rise)))


def targets_of(made: Subject) -> Tensor:
    kind = torch.int64 if made.labels.kind == "classification" else torch.float32
    return torch.tensor(made.labels.values).to(kind)


def plain_loop(
    model: Trainee,
    made: Subject,
    how: Training,
    names: Sequence[str] | None = None,
    loss_of: Callable[[Tensor, np.ndarray], Tensor] | None = None,
    after_backward: Callable[[], None] | None = None,
) -> Iterator[int]:
    """The loop as a tutorial has it; yields after every epoch."""
    named = {n: p for n, p in model.named_parameters() if names is None or n in names}
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in named)
    groups = [
        {
            "params": [parameter],
            "peak": how.lr * (10 if name.startswith("linear.") else 1),
            "weight_decay": how.weight_decay if parameter.ndim > 1 else 0.0,
        }
        for name, parameter in named.items()
    ]
    optimiser = torch.optim.AdamW(groups, lr=1.0)
    views = Views(made.inputs, model.encoder, seed=made.seed, strength=how.augment)
    targets = targets_of(made)
    loss_of = loss_of or (lambda z, rows: functional.cross_entropy(z, targets[rows]))
    step = 0
    for epoch in range(1, how.epochs + 1):
        batches = batches_of(made, how, epoch)
        for rows, batch in zip(batches, views.training(batches, epoch), strict=True):
            for group in optimiser.param_groups:
                group["lr"] = group["peak"] * rate(how, step, how.epochs * len(batches))
            optimiser.zero_grad()
            loss_of(model(batch), rows).backward()
            if after_backward:
                after_backward()
            nn.utils.clip_grad_norm_(list(named.values()), how.clip)
            optimiser.step()
            step += 1
        yield epoch


def run_plain(model: Trainee, made: Subject, how: Training, **rest: Any) -> None:
    for _ in plain_loop(model, made, how, **rest):
        pass


def distance(a: nn.Module, b: nn.Module) -> float:
    return max(
        float((a.state_dict()[n].float() - t.float()).abs().max())
        for n, t in b.state_dict().items()
    )


def pair(trainable: ModuleType, made: Subject, **rest: Any) -> tuple[Trainee, Trainee]:
    """Two trainees alike."""
    return tuple(trainable.trainee(made, trainable.Small(**rest)) for _ in range(2))


def fit(
    trainable: ModuleType, model: Trainee, made: Subject, how: Training, **rest: Any
) -> Trained:
    parts = rest.pop("parts", trainable.everything(model))
    return train(model, parts, made, how, key=rest.pop("key", "key"), **rest)


@pytest.mark.parametrize("augment", [0.0, 0.4])
@pytest.mark.parametrize("batch", [6, 7, 100])
def test_equals_the_plain_loop(trainable: ModuleType, augment: float, batch: int) -> None:
    made, how = trainable.subject(24, 0), replace(PLAIN, augment=augment, batch=batch)
    ours, theirs = pair(trainable, made)
    found = fit(trainable, ours, made, how)
    run_plain(theirs, made, how)
    assert distance(ours, theirs) < 1e-6
    assert distance(ours, trainable.trainee(made)) > 1e-3
    assert found.taken == 4 and found.outputs.shape == (0, 3)
    assert "last" in found.why and math.isnan(found.gap[0])


def test_learns_as_the_plain_loop_does_from_labels_and_numbers(trainable: ModuleType) -> None:
    for kind in ("multilabel", "regression"):
        made = trainable.subject(24, 0, kind=kind)
        ours, theirs = pair(trainable, made)
        targets = targets_of(made)
        fit(trainable, ours, made, PLAIN)

        def loss(z: Tensor, rows: np.ndarray, targets: Tensor = targets) -> Tensor:
            if targets.ndim == 2:
                return functional.binary_cross_entropy_with_logits(z, targets[rows])
            spread = float(np.std(made.labels.values))  # noqa: B023 - called inside the turn
            return ((z[:, 0] - targets[rows]) ** 2).mean() / spread**2

        run_plain(theirs, made, PLAIN, loss_of=loss)
        assert distance(ours, theirs) < 2e-6, kind


def test_weights_and_smoothing_and_classes_as_torch_has_them(trainable: ModuleType) -> None:
    random = np.random.default_rng(0)
    made = trainable.subject(24, 0, weights=random.uniform(0.5, 2.0, 24))
    how = replace(PLAIN, label_smoothing=0.1, class_weight="balanced")
    ours, theirs = pair(trainable, made)
    fit(trainable, ours, made, how)
    labels = made.labels
    mass = [labels.weights[labels.values == k].sum() for k in range(3)]
    each = torch.tensor([labels.weights[i] / mass[labels.values[i]] for i in range(24)]).float()
    targets = targets_of(made)

    def loss(z: Tensor, rows: np.ndarray) -> Tensor:
        losses = functional.cross_entropy(z, targets[rows], reduction="none", label_smoothing=0.1)
        return (each[rows] * losses).sum() / each[rows].sum()

    run_plain(theirs, made, how, loss_of=loss)
    assert distance(ours, theirs) < 2e-6


def test_l2_sp_pulls_towards_the_start_and_replaces_decay(trainable: ModuleType) -> None:
    made, how = trainable.subject(24, 0), replace(PLAIN, stay_near=0.3)
    ours, theirs = pair(trainable, made)
    start = trainable.state(theirs)
    fit(trainable, ours, made, how)

    def pull() -> None:
        for name, parameter in theirs.named_parameters():
            if name.startswith("encoder."):
                parameter.grad += 0.3 * (parameter.detach() - start[name])

    named = dict(theirs.named_parameters())
    for name in named:
        if name.startswith("encoder."):
            named[name].requires_grad_(True)
    original = torch.optim.AdamW

    class Spared(original):
        def __init__(self, groups: list[dict[str, Any]], lr: float) -> None:
            heads = {id(theirs.linear.weight)}
            for group in groups:
                if id(group["params"][0]) not in heads:
                    group["weight_decay"] = 0.0
            super().__init__(groups, lr=lr)

    torch.optim.AdamW = Spared
    try:
        run_plain(theirs, made, how, after_backward=pull)
    finally:
        torch.optim.AdamW = original
    assert distance(ours, theirs) < 2e-6
    free = trainable.trainee(made)
    fit(trainable, free, made, replace(how, stay_near=0.0), key="free")
    moved = [
        sum(
            float((m.state_dict()[n] - t).square().sum())
            for n, t in start.items()
            if "conv" in n or n.startswith("encoder.last")
        )
        for m in (ours, free)
    ]
    assert moved[0] < moved[1]


def test_sharpness_steps_along_the_gradient_at_the_worst_nearby(trainable: ModuleType) -> None:
    made, how = trainable.subject(24, 0), replace(PLAIN, sharpness=0.5, epochs=2)
    ours, theirs = pair(trainable, made)
    fit(trainable, ours, made, how)
    targets, seen = targets_of(made), []
    views = Views(made.inputs, theirs.encoder, seed=made.seed, strength=0.0)

    def loss(z: Tensor, rows: np.ndarray) -> Tensor:
        seen[:] = [rows]
        return functional.cross_entropy(z, targets[rows])

    def climb() -> None:
        parameters = [p for p in theirs.parameters() if p.grad is not None]
        norm = torch.stack([p.grad.norm() for p in parameters]).norm()
        steps = [0.5 * p.grad / norm for p in parameters]
        with torch.no_grad():
            for parameter, step in zip(parameters, steps, strict=True):
                parameter += step
        for parameter in parameters:
            parameter.grad = None
        batch = next(views.evaluation([seen[0]]))
        functional.cross_entropy(theirs(batch), targets[seen[0]]).backward()
        with torch.no_grad():
            for parameter, step in zip(parameters, steps, strict=True):
                parameter -= step

    run_plain(theirs, made, how, loss_of=loss, after_backward=climb)
    assert distance(ours, theirs) < 2e-5


def test_averaged_weights_are_judged_and_kept(trainable: ModuleType) -> None:
    made, how = trainable.subject(24, 0), replace(PLAIN, average=0.8, batch=24)
    ours, theirs = pair(trainable, made)
    fit(trainable, ours, made, how)
    mean = trainable.state(theirs)
    for update in plain_loop(theirs, made, how):  # one step an epoch
        decay = min(0.8, (1 + update) / (10 + update))
        for name, tensor in theirs.state_dict().items():
            if tensor.is_floating_point():
                mean[name] = decay * mean[name] + (1 - decay) * tensor
    found = ours.state_dict()
    assert max(float((found[n] - t).abs().max()) for n, t in mean.items()) < 1e-6
    assert distance(ours, theirs) > 1e-4


@pytest.mark.parametrize("mixup,cutmix", [(0.4, 0.0), (0.0, 1.0), (0.4, 1.0)])
def test_mixed_examples_are_learned_with_mixed_targets(
    trainable: ModuleType, mixup: float, cutmix: float
) -> None:
    made = trainable.subject(23, 0)
    how = replace(PLAIN, mixup=mixup, cutmix=cutmix, batch=23, epochs=2)
    ours, theirs = pair(trainable, made)
    fit(trainable, ours, made, how)
    targets = functional.one_hot(targets_of(made), 3).float()
    views = Views(made.inputs, theirs.encoder, seed=0, strength=0.0)
    epochs = iter(range(1, 3))

    def loss(_: Tensor, rows: np.ndarray) -> Tensor:
        random = np.random.default_rng([made.seed, next(epochs), 0])
        pairs = 12
        both = mixup and cutmix
        cut = random.random(pairs) < 0.5 if both else np.full(pairs, bool(cutmix))
        shares = random.beta(*[np.where(cut, cutmix, mixup)] * 2)
        centres = random.random((pairs, 2))
        batch = next(views.evaluation([rows]))
        mixed, answer = batch.clone(), targets[rows].clone()
        for i in range(22):
            other, share = i ^ 1, float(shares[i // 2])
            if cut[i // 2]:
                half = 6 * math.sqrt(1 - share) / 2
                edges = [
                    (round(max(c * 6 - half, 0)), round(min(c * 6 + half, 6)))
                    for c in centres[i // 2].tolist()
                ]
                (top, bottom), (left, right) = edges
                mixed[i, :, top:bottom, left:right] = batch[other, :, top:bottom, left:right]
                share = 1 - (bottom - top) * (right - left) / 36
            else:
                mixed[i] = share * batch[i] + (1 - share) * batch[other]
            answer[i] = share * targets[rows[i]] + (1 - share) * targets[rows[other]]
        return functional.cross_entropy(theirs(mixed), answer)

    run_plain(theirs, made, how, loss_of=loss)
    assert distance(ours, theirs) < 2e-6


def test_cached_training_equals_uncached(trainable: ModuleType) -> None:
    made, how = trainable.subject(24, 8), replace(PLAIN, views=None, epochs=6)
    models = [trainable.trainee(made) for _ in range(2)]
    names = [n for n, _ in models[0].named_parameters() if "first" not in n]
    found = []
    for model, views in zip(models, (None, 0), strict=True):
        parts = (Part(tuple(names)),)
        settings = replace(how, views=views)
        found.append(fit(trainable, model, made, settings, parts=parts, key=f"views {views}"))
    cached, whole = found
    assert cached.settings["cached_behind"] == "first" and cached.cost.disk_megabytes > 0
    assert whole.settings["cached_behind"] == "" and whole.cost.disk_megabytes == 0
    assert distance(*models) < 1e-5
    assert np.abs(cached.outputs - whole.outputs).max() < 1e-4
    assert cached.taken == whole.taken
    # What is cached was run once for each example: 24 rows, in batches that are filled up.
    assert models[0].split is None


def test_says_why_nothing_was_cached(trainable: ModuleType, monkeypatch: Any) -> None:
    made = trainable.subject(24, 0)

    def notes(**settings: Any) -> str:
        model = trainable.trainee(made)
        parts = (Part(tuple(n for n, _ in model.named_parameters() if "first" not in n)),)
        how = replace(PLAIN, **{"views": None, "epochs": 6, **settings})
        told = fit(trainable, model, made, how, parts=parts, key=str(settings))
        assert told.settings["cached_behind"] == ""
        return " ".join(told.notes)

    assert "cutmix" in notes(cutmix=1.0)
    assert "costs more than it saves" in notes(epochs=2, views=8, augment=0.5)
    monkeypatch.setenv("RETARGET_ACTIVATIONS_GB", "0")
    assert "MB are allowed" in notes()


def test_training_goes_on_without_a_cache_whose_disk_fails(
    trainable: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    from retarget.features.activations import Activations

    made = trainable.subject(24, 8)
    how = replace(PLAIN, views=None, epochs=6)
    models = [trainable.trainee(made) for _ in range(2)]
    parts = (Part(tuple(n for n, _ in models[0].named_parameters() if "first" not in n)),)
    fit(trainable, models[0], made, replace(how, views=0), parts=parts, key="uncached")
    taken = Activations.training

    def training(self: Activations, order: Any, epoch: int) -> Iterator[Tensor]:
        if epoch == 3:
            raise OSError("no space left on device")
        return taken(self, order, epoch)

    monkeypatch.setattr(Activations, "training", training)
    told = fit(trainable, models[1], made, how, parts=parts, key="cached")
    assert any("no space left" in note for note in told.notes)
    assert distance(*models) < 1e-5


class BreaksAt(Callback):
    """Raises at a step, as a kill would: not as an error of the callback."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, step: int, loss: float, lr: float) -> None:
        if step == self.step:
            raise KeyboardInterrupt


FULL = replace(
    PLAIN,
    augment=0.3,
    mixup=0.2,
    average=0.7,
    sharpness=0.05,
    stay_near=0.01,
    label_smoothing=0.1,
    epochs=5,
)


def figures(epochs: Sequence[Epoch]) -> list[tuple[float, ...]]:
    return [(e.number, e.loss, e.validation_loss, e.score, e.lr) for e in epochs]


@pytest.mark.parametrize("kill", [[1], [4, 5], [3, 8, 12]])
@pytest.mark.parametrize("how", [replace(FULL, batch_statistics=True), replace(FULL, views=None)])
def test_going_on_after_a_kill_ends_in_the_same_bits(
    trainable: ModuleType, monkeypatch: pytest.MonkeyPatch, kill: list[int], how: Training
) -> None:
    made = trainable.subject(24, 8)

    def run(subject: Subject, key: str) -> tuple[Trained, Trainee]:
        model = trainable.trainee(made, trainable.Small(dropout=0.3))
        parts = (Part(tuple(n for n, _ in model.named_parameters() if "first" not in n)),)
        return fit(trainable, model, subject, how, parts=parts, key=key), model

    whole, undisturbed = run(made, "undisturbed")
    monkeypatch.setattr(loops, "SAVE_EVERY", 0.0)  # after every step
    for step in kill:
        with pytest.raises(KeyboardInterrupt):
            run(replace(made, callbacks=(BreaksAt(step),)), "killed")
    found, resumed = run(made, "killed")
    assert distance(undisturbed, resumed) == 0.0
    assert figures(found.epochs) == figures(whole.epochs)
    assert np.array_equal(found.outputs, whole.outputs)
    assert (found.taken, found.why, found.gap) == (whole.taken, whole.why, whole.gap)
    again, _ = run(made, "killed")  # nothing is left to go on from
    assert figures(again.epochs) == figures(whole.epochs)
    assert again.cost.seconds < 60


def test_a_checkpoint_of_other_examples_is_not_gone_on_from(
    trainable: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loops, "SAVE_EVERY", 0.0)
    made = trainable.subject(24, 8)
    with pytest.raises(KeyboardInterrupt):
        broken = replace(made, callbacks=(BreaksAt(5),))
        fit(trainable, trainable.trainee(made), broken, PLAIN)
    other = trainable.subject(30, 6)
    models = pair(trainable, other)
    fit(trainable, models[0], other, PLAIN)
    fit(trainable, models[1], other, PLAIN, key="fresh")
    assert distance(*models) == 0.0


def test_a_checkpoint_that_cannot_be_written_becomes_one_note(
    trainable: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loops, "SAVE_EVERY", 0.0)
    monkeypatch.setattr(loops.Checkpoints, "save", lambda *_: "The disk is full.")
    made = trainable.subject(24, 8)
    found = fit(trainable, trainable.trainee(made), made, PLAIN)
    assert [n for n in found.notes if "disk" in n] == ["The disk is full."]


def test_two_runs_are_one(trainable: ModuleType) -> None:
    made = trainable.subject(24, 8)
    models = pair(trainable, made, dropout=0.4)
    for number, model in enumerate(models):
        torch.manual_seed(number)
        fit(trainable, model, made, FULL, key=str(number))
    assert distance(*models) == 0.0
    other = trainable.trainee(made, trainable.Small(dropout=0.4))
    fit(trainable, other, replace(made, seed=1), FULL, key="seed 1")
    assert distance(models[0], other) > 1e-3


def test_nobody_elses_random_numbers_are_touched(trainable: ModuleType) -> None:
    made = trainable.subject(12, 4)
    model = trainable.trainee(made, trainable.Small(dropout=0.4))
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    fit(trainable, model, made, FULL)
    assert torch.equal(torch.rand(4), expected)


def test_an_input_that_is_no_number_is_named(trainable: ModuleType) -> None:
    made = trainable.subject(24, 0)
    made.inputs.references[7][0, 0, 0] = 255
    with pytest.raises(TrainingError, match=r"epoch 1, step .*The input .* not finite"):
        fit(trainable, trainable.trainee(made), made, PLAIN)


def test_a_loss_that_is_no_number_says_where_and_what_to_try(trainable: ModuleType) -> None:
    made = trainable.subject(24, 0, title="fine-tuning, fold 2 of 5")
    model = trainable.trainee(made)
    steps = 0

    def poison(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        nonlocal steps
        steps += 1
        return output * (float("nan") if steps == 6 else 1.0)

    model.linear.register_forward_hook(poison)
    start = trainable.state(model)
    with pytest.raises(TrainingError) as caught:
        fit(trainable, model, made, PLAIN)
    said = str(caught.value)
    assert "fine-tuning, fold 2 of 5: the loss is not finite in epoch 2, step 2" in said
    assert "learning rate of 0.00" in said and "--lr" in said and "float32" in said
    assert all(
        torch.isfinite(t).all() for t in model.state_dict().values() if t.is_floating_point()
    )
    assert set(start) == set(model.state_dict())


def test_batches_are_halved_until_memory_is_enough(trainable: ModuleType) -> None:
    made, how = trainable.subject(24, 8), replace(PLAIN, batch=12)
    models = pair(trainable, made)
    whole = fit(trainable, models[0], made, how, key="whole")
    models[1].encoder.most = 4
    halved = fit(trainable, models[1], made, how, key="halved")
    assert (whole.settings["micro_batch"], halved.settings["micro_batch"]) == (12, 3)
    assert distance(*models) < 1e-6
    assert np.abs(whole.outputs - halved.outputs).max() < 1e-5


def test_gradients_of_a_batch_are_accumulated_over_as_many_parts_as_are_asked_for(
    trainable: ModuleType,
) -> None:
    made = trainable.subject(24, 0)
    for micro, most, part in ((None, 12, 12), (5, 5, 4), (1, 1, 1), (50, 12, 12)):
        how = replace(PLAIN, batch=12, micro_batch=micro)
        ours, theirs = pair(trainable, made)
        ours.encoder.seen.clear()
        found = fit(trainable, ours, made, how, key=f"micro {micro}")
        assert set(ours.encoder.seen) - {2} == {part}  # two are what a model is tried with
        assert found.settings["micro_batch"] == most
        run_plain(theirs, made, how)
        assert distance(ours, theirs) < 1e-6


def test_a_micro_batch_of_nothing_is_refused(trainable: ModuleType) -> None:
    made = trainable.subject(24, 0)
    with pytest.raises(UsageError, match="micro_batch"):
        fit(trainable, trainable.trainee(made), made, replace(PLAIN, micro_batch=0))


def test_gives_up_when_one_example_is_too_much(trainable: ModuleType) -> None:
    for judging in (0, 8):
        made = trainable.subject(24, judging)
        model = trainable.trainee(made)
        model.encoder.most = 0
        with pytest.raises(TrainingError, match="single example"):
            fit(trainable, model, made, PLAIN)


def test_other_errors_are_not_taken_for_lack_of_memory(trainable: ModuleType) -> None:
    made = trainable.subject(24, 0)
    model = trainable.trainee(made)

    def fail(*_: Any) -> None:
        raise RuntimeError("shapes don't fit")

    model.linear.register_forward_hook(fail)
    with pytest.raises(RuntimeError, match="shapes"):
        fit(trainable, model, made, PLAIN)


def test_parts_join_when_it_is_their_turn_at_their_rate(trainable: ModuleType) -> None:
    made = trainable.subject(24, 0)
    model = trainable.trainee(made)
    names = [n for n, _ in model.named_parameters()]
    head = tuple(n for n in names if n.startswith("linear."))
    last = tuple(n for n in names if ".last." in n)
    second = tuple(n for n in names if ".second." in n)
    seen: list[dict[str, Tensor]] = [trainable.state(model)]

    class Look(Callback):
        def on_epoch_end(self, epoch: Epoch) -> None:
            seen.append(trainable.state(model))

    parts = (Part(head), Part(last, from_epoch=2), Part(second, factor=0.01, from_epoch=3))
    watched = replace(made, callbacks=(Look(),))
    fit(trainable, model, watched, replace(PLAIN, weight_decay=0.0), parts=parts)

    def moved(epoch: int, some: Sequence[str]) -> float:
        return max(float((seen[epoch][n] - seen[epoch - 1][n]).abs().max()) for n in some)

    first = tuple(n for n in names if ".first." in n)
    assert [moved(e, first) for e in (1, 2, 3, 4)] == [0.0] * 4
    assert [moved(e, last) > 0 for e in (1, 2, 3, 4)] == [False, True, True, True]
    assert [moved(e, second) > 0 for e in (1, 2, 3, 4)] == [False, False, True, True]
    assert all(moved(e, head) > 0 for e in (1, 2, 3, 4))
    assert 0 < moved(3, second) < 0.1 * moved(3, last)


def test_statistics_of_batches_would_wreck_those_of_the_source_and_dont(
    trainable: ModuleType,
) -> None:
    made = trainable.subject(24, 0)

    def run(statistics: bool | None, pretrained: bool = True) -> float:
        source = trainable.SmallSource(pretrained)
        subject = replace(made, source=source)
        model = trainable.trainee(subject)
        before = trainable.state(model)["encoder.first.1.running_var"]
        how = replace(PLAIN, batch=2, batch_statistics=statistics, lr=0.0)
        fit(trainable, model, subject, how, key=f"{statistics} {pretrained}", epochs=3)
        after = trainable.state(model)["encoder.first.1.running_var"]
        return float((after / before).log().abs().max())

    assert run(True) > 0.5  # the damage, without one step of learning
    assert run(None) == 0.0  # the cure
    assert run(None, pretrained=False) > 0.5  # random weights have to learn them


def test_frozen_layers_take_in_nothing_and_drop_nothing(trainable: ModuleType) -> None:
    made = trainable.subject(24, 8)
    model = trainable.trainee(made, trainable.Small(dropout=0.5))
    modes: list[tuple[bool, bool, bool]] = []

    def look(module: nn.Module, inputs: Any) -> None:
        first, second = model.encoder.first, model.encoder.second
        modes.append((first[1].training, first[3].training, second[3].training))

    model.linear.register_forward_pre_hook(look)
    parts = (Part(tuple(n for n, _ in model.named_parameters() if ".first." not in n)),)
    before = trainable.state(model)
    how = replace(PLAIN, batch_statistics=True)
    fit(trainable, model, made, how, parts=parts)
    assert set(modes) == {(False, False, True), (False, False, False)}  # training, judging
    after = trainable.state(model)
    assert torch.equal(
        after["encoder.first.1.running_mean"], before["encoder.first.1.running_mean"]
    )
    moved = after["encoder.second.1.running_mean"] - before["encoder.second.1.running_mean"]
    assert float(moved.abs().max()) > 0.01


def test_a_last_batch_of_one_joins_the_one_before(trainable: ModuleType) -> None:
    made = trainable.subject(13, 0)
    for statistics, alone in ((True, False), (False, True)):
        model = trainable.trainee(made)
        how = replace(PLAIN, batch_statistics=statistics, epochs=1)
        fit(trainable, model, made, how, key=str(statistics))
        assert (1 in model.encoder.seen) is alone


def test_the_epoch_kept_is_judged_and_training_stops_when_it_is_over(trainable: ModuleType) -> None:
    made = trainable.subject(24, 8)
    model = trainable.trainee(made)
    found = fit(trainable, model, made, replace(PLAIN, lr=0.3, epochs=30, patience=3))
    losses = [e.validation_loss for e in found.epochs]
    assert int(np.argmin(losses)) <= found.taken == found.epochs[found.taken].number
    assert len(found.epochs) - 1 == min(30, found.taken + 3)
    labels = made.labels.take(made.judging)
    temperature, predictions = calibrated(labels, found.outputs)
    assert example_losses(labels, predictions).mean() == pytest.approx(losses[found.taken])
    views = Views(made.inputs, model.encoder, seed=0, strength=0.0)
    with torch.no_grad():
        again = model(next(views.evaluation([made.judging])))
        learned = model(next(views.evaluation([made.learning])))
    assert np.abs(again.numpy() - found.outputs).max() < 1e-5
    assert not model.training and all(not m.training for m in model.modules())
    known = made.labels.take(made.learning)
    logs = functional.log_softmax(learned.double() / temperature, 1)
    own = -logs[range(16), known.values].numpy()
    judged = example_losses(labels, predictions)
    assert found.gap[0] == pytest.approx(judged.mean() - own.mean(), abs=1e-5)
    scipy = pytest.importorskip("scipy.stats")
    interval = scipy.ttest_ind(judged, own, equal_var=False).confidence_interval(0.95)
    assert found.gap[1:] == pytest.approx((interval.low, interval.high), rel=1e-4)
    assert f"Epoch {found.taken} of" in found.why


def test_the_start_is_kept_where_training_never_helps(trainable: ModuleType) -> None:
    made = trainable.subject(24, 8)
    helped = trainable.trainee(made)
    fit(trainable, helped, made, replace(PLAIN, epochs=30, lr=1e-2), key="helped")
    start = trainable.state(helped)
    found = fit(trainable, helped, made, replace(PLAIN, lr=5.0, patience=2), key="hurt")
    assert found.taken == 0 and "started from" in found.why
    assert all(torch.equal(t, start[n]) for n, t in helped.state_dict().items())
    assert found.epochs[0].number == 0 and np.isfinite(found.epochs[0].loss)


def test_epochs_run_whatever_they_bring_along_the_course_of_more(trainable: ModuleType) -> None:
    made = trainable.subject(24, 0)
    models = pair(trainable, made)
    found = fit(trainable, models[0], made, PLAIN, epochs=2)
    stopped = plain_loop(models[1], made, PLAIN)
    next(stopped), next(stopped)
    assert distance(*models) < 1e-6
    assert (found.taken, found.schedule, len(found.epochs)) == (2, 4, 2)
    none = trainable.trainee(made)
    assert fit(trainable, none, made, PLAIN, epochs=0, key="none").taken == 0
    assert distance(none, trainable.trainee(made)) == 0.0


def test_the_course_is_shortened_to_the_time_there_is(
    trainable: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Slow(Callback):
        now = 0.0

        def on_step_end(self, step: int, loss: float, lr: float) -> None:
            Slow.now += 1.0

    monkeypatch.setattr(loops.time, "perf_counter", lambda: Slow.now)
    made = trainable.subject(24, 8, seconds=9.5, callbacks=(Slow(),))
    how = replace(PLAIN, batch=8, epochs=20)  # two steps, that is two seconds, an epoch
    found = fit(trainable, trainable.trainee(made), made, how)
    assert found.schedule == found.epochs[-1].number == 4
    assert any("20 epochs to 4" in note for note in found.notes)
    assert found.epochs[-1].lr < 0.3 * found.epochs[1].lr  # the rate fell all the way
    for seconds in (0.0, 1e9):
        subject = replace(made, seconds=seconds)
        told = fit(trainable, trainable.trainee(made), subject, how, key=str(seconds))
        assert told.schedule == (1 if seconds == 0 else 20)


class Interrupts(Callback):
    def on_step_end(self, step: int, loss: float, lr: float) -> None:
        if step == 5:
            signal.raise_signal(signal.SIGINT)


def test_ctrl_c_ends_well(trainable: ModuleType) -> None:
    made = trainable.subject(24, 8, callbacks=(Interrupts(),))
    found = fit(trainable, trainable.trainee(made), made, replace(PLAIN, epochs=20))
    assert found.interrupted and any(note.startswith("interrupted") for note in found.notes)
    assert [e.number for e in found.epochs] == [0, 1, 2]
    assert np.isfinite(found.outputs).all() and np.isfinite(found.gap).all()


class Hears(Callback):
    def __init__(self) -> None:
        self.heard: list[Any] = []

    def on_train_begin(self, title: str, settings: Any) -> None:
        self.heard.append((title, settings["lr"], settings["epochs"]))

    def on_step_end(self, step: int, loss: float, lr: float) -> None:
        self.heard.append((step, lr))

    def on_epoch_end(self, epoch: Epoch) -> bool:
        self.heard.append(epoch.number)
        return epoch.number == 2

    def on_train_end(self, epochs: Sequence[Epoch], taken: int) -> None:
        self.heard.append(("end", len(epochs), taken))


def test_callbacks_hear_all_and_may_stop_it(trainable: ModuleType) -> None:
    hears = Hears()
    made = trainable.subject(24, 8, callbacks=(hears,), title="Toy")
    found = fit(trainable, trainable.trainee(made), made, PLAIN)
    steps = [(i + 1, PLAIN.lr * rate(PLAIN, i, 12)) for i in range(6)]
    assert hears.heard[0] == ("Toy", PLAIN.lr, 4)
    assert hears.heard[1] == 0
    assert hears.heard[2:5] == [pytest.approx(s) for s in steps[:3]]
    assert hears.heard[5] == 1
    assert hears.heard[-1] == ("end", 3, found.taken)


def test_progress_shows_loss_and_score(trainable: ModuleType) -> None:
    class Shown:
        def __init__(self) -> None:
            self.what, self.done, self.notes = "", 0, []

        def start(self, what: str, total: int, unit: str) -> "Shown":
            self.what = f"{what}: {total} {unit}" if unit == "images" else self.what
            return self

        def finish(self, meter: object) -> None: ...

        def tell(self, text: str) -> None: ...

        def advance(self, steps: int = 1) -> None:
            self.done += steps

        def note(self, text: str) -> None:
            self.notes.append(text)

    made, shown = trainable.subject(24, 8, title="Toy"), Shown()
    with listening(shown):
        fit(trainable, trainable.trainee(made), made, PLAIN)
    assert shown.what == "Toy: 64 images" and shown.done == 64
    assert "loss 1." in shown.notes[0] and "validation" in shown.notes[-1]


def test_costs_are_told(trainable: ModuleType) -> None:
    made = trainable.subject(24, 8)
    model = trainable.trainee(made)
    head = tuple(n for n, _ in model.named_parameters() if n.startswith("linear."))
    cost = fit(trainable, model, made, PLAIN, parts=(Part(head),)).cost
    assert cost.parameters == sum(p.numel() for p in model.parameters())
    assert cost.trainable == 18
    assert 0 < cost.step_seconds < cost.seconds
    assert all(p.requires_grad for p in model.parameters())


def test_a_trainee_is_left_whole_whatever_happens(trainable: ModuleType) -> None:
    made = trainable.subject(24, 8)
    model = trainable.trainee(made)
    model.encoder.first.requires_grad_(False)
    wanted = {n: p.requires_grad for n, p in model.named_parameters()}
    parts = (Part(tuple(n for n, flag in wanted.items() if flag)),)
    how = replace(PLAIN, views=None, epochs=6)
    broken = replace(made, callbacks=(BreaksAt(4),))
    with pytest.raises(KeyboardInterrupt):
        fit(trainable, model, broken, how, parts=parts)
    assert model.split is None and not any(m.training for m in model.modules())
    assert {n: p.requires_grad for n, p in model.named_parameters()} == wanted
    assert all(p.grad is None for p in model.parameters())


def test_recovers_a_known_solution(trainable: ModuleType) -> None:
    made = trainable.subject(120, 40, seed=3)
    model = Trainee(trainable.Small(seed=1), 3)
    found = fit(trainable, model, made, replace(PLAIN, epochs=60, lr=1e-2, batch=16, patience=60))
    assert found.epochs[0].score < 0.6
    assert found.epochs[found.taken].score > 0.9


def test_recomputed_activations_change_nothing(trainable: ModuleType) -> None:
    made = trainable.subject(24, 8)
    models = pair(trainable, made, dropout=0.3)
    for recompute, model in enumerate(models):
        how = replace(PLAIN, recompute=bool(recompute), batch_statistics=True, sharpness=0.05)
        fit(trainable, model, made, how, key=str(recompute))
    assert distance(*models) < 1e-6
    model = trainable.trainee(made)
    parts = (Part(tuple(n for n, _ in model.named_parameters() if ".first." not in n)),)
    how = replace(PLAIN, recompute=True, views=None, epochs=6)
    assert any("recomputed" in n for n in fit(trainable, model, made, how, parts=parts).notes)


def test_refuses_cutmix_without_a_grid(trainable: ModuleType) -> None:
    made = trainable.subject(24, 8)
    model = trainable.trainee(made)
    model.encoder.input_shape = (108,)
    with pytest.raises(UsageError, match="mixup"):
        fit(trainable, model, made, replace(PLAIN, cutmix=1.0))


def test_bf16_comes_near_and_weights_stay_float32(trainable: ModuleType) -> None:
    made = trainable.subject(24, 8)
    models = pair(trainable, made)
    for precision, model in zip(("float32", "bf16"), models, strict=True):
        fit(trainable, model, made, replace(PLAIN, precision=precision), key=precision)
    assert 0 < distance(*models) < 0.05
    assert all(p.dtype == torch.float32 for p in models[1].parameters())


def test_outputs_that_are_no_numbers_are_not_judged(trainable: ModuleType) -> None:
    made = trainable.subject(24, 8, title="Toy")
    model = trainable.trainee(made)
    model.linear.register_forward_hook(lambda *a: a[2] * float("inf"))
    with pytest.raises(TrainingError, match="Toy: the model's outputs are not finite"):
        fit(trainable, model, made, PLAIN)


def test_numbers_are_predicted_from_their_mean_on(trainable: ModuleType) -> None:
    made = trainable.subject(40, 16, kind="regression")
    model = Trainee(trainable.Small(), 1)
    found = fit(trainable, model, made, replace(PLAIN, epochs=0))
    known = made.labels.values[made.learning]
    assert found.outputs[:, 0] == pytest.approx(known.mean(), rel=1e-5)
    assert found.taken == 0
