from types import ModuleType

import numpy as np
import pytest
import torch

from retarget.core.errors import SourceError
from retarget.core.progress import listening
from retarget.features import activations
from retarget.features.activations import estimate
from retarget.features.prefix import multiply_adds
from retarget.methods import feeding as feeding_module
from retarget.methods.decisions import decide
from retarget.methods.feeding import Feeding, cut_where_frozen, frozen_layers
from retarget.methods.settings import Training

CPU = torch.device("cpu")


def names(model: torch.nn.Module, *without: str) -> list[str]:
    return [n for n, _ in model.named_parameters() if not any(w in n for w in without)]


@pytest.mark.parametrize(
    "frozen,head,expected",
    [
        ((), "pooled", []),
        (("first",), "pooled", ["first"]),
        (("second",), "pooled", []),
        (("first", "second"), "pooled", ["first", "second"]),
        (("encoder",), "pooled", ["first", "second"]),
        (("encoder",), "second", ["first"]),
        (("encoder",), "first", []),
        (("first.1",), "pooled", []),
    ],
)
def test_frozen_are_the_first_layers_that_the_head_does_not_read(
    trainable: ModuleType, frozen: tuple[str, ...], head: str, expected: list[str]
) -> None:
    model = trainable.trainee(trainable.subject(), layers=(head,))
    assert frozen_layers(model, names(model, *frozen)) == expected


def cut(trainable: ModuleType, model, **settings) -> Feeding:
    made = trainable.subject(24, 8)
    how = Training(batch=6, epochs=20, **settings)
    feeding = Feeding(model, made, decide(how, made, model, CPU))
    trained = names(model, "first", "second")
    cut_where_frozen(feeding, model, trained, made, how, 20)
    return feeding


def test_cut_at_the_deepest_frozen_layer_with_a_view_for_every_few_epochs(
    trainable: ModuleType,
) -> None:
    model = trainable.trainee(trainable.subject())
    feeding = cut(trainable, model, augment=0.5)
    assert model.split.layer == "second" and feeding.cached.count == 4
    rows = [np.array([3, 1])]
    plain, found = next(feeding.plain.evaluation(rows)), next(feeding.evaluation(rows))
    with torch.no_grad():
        expected = model.split.prefix(plain)
    assert torch.allclose(found, expected, atol=1e-6)
    views = {next(feeding.training(rows, e)).sum().item() for e in range(1, 30)}
    assert len(views) > 4  # of four views of two examples
    assert feeding.megabytes > 0


def test_the_disk_that_activations_take_is_told_before_they_are_made(
    trainable: ModuleType,
) -> None:
    told: list[str] = []

    class Listening:
        def tell(self, text: str) -> None:
            told.append(text)

    model, made = trainable.trainee(trainable.subject()), trainable.subject(24, 8)
    with listening(Listening()):  # type: ignore[arg-type]  # nothing is counted here
        cut(trainable, model, augment=0.5)
    needed = estimate(made.inputs, model.split, 4)
    assert told == [
        f"{made.title}: activations of second are kept on disk, at most {needed.megabytes:,.0f} MB."
    ]


def test_nothing_is_cached_where_a_row_costs_more_than_the_layers_before_it(
    trainable: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, float] = {}

    def watched(epochs: int, count: int, **told: float) -> bool:
        asked.update(told)
        return activations.pays(epochs, count, **{**told, "row_bytes": 10**9})

    monkeypatch.setattr(feeding_module, "pays", watched)
    model, made = trainable.trainee(trainable.subject()), trainable.subject(24, 8)
    feeding = cut(trainable, model, augment=0.5)
    assert model.split is None
    assert feeding.cached is None
    assert "costs more than it saves" in feeding.notes[0]
    split = model.encoder.split_at("second")
    assert (
        asked["row_bytes"] == estimate(made.inputs, split, 4).row_bytes > 4 * np.prod(split.shape)
    )
    assert asked["operations"] == multiply_adds(model.encoder, split, CPU) > 0
    assert (asked["learning"], asked["validation"], asked["device"]) == (16, 8, "cpu")


def test_cut_further_up_where_it_cannot_be_cut(trainable: ModuleType, monkeypatch) -> None:
    model = trainable.trainee(trainable.subject())
    split_at = type(model.encoder).split_at

    def refusing(self, layer: str):
        if layer == "second":
            raise SourceError("no")
        return split_at(self, layer)

    monkeypatch.setattr(type(model.encoder), "split_at", refusing)
    cut(trainable, model, augment=0.0)
    assert model.split.layer == "first"


def test_says_that_a_model_cannot_be_cut_or_followed(trainable: ModuleType, monkeypatch) -> None:
    model = trainable.trainee(trainable.subject())

    def refuse(*_):
        raise SourceError("It can't be followed.")

    monkeypatch.setattr(type(model.encoder), "split_at", refuse)
    feeding = cut(trainable, model)
    assert feeding.cached is None and "can't be cut" in feeding.notes[0]
    monkeypatch.setattr(type(model.encoder), "groups", refuse)
    assert "can't be followed" in cut(trainable, model).notes[0]
    assert feeding.megabytes == 0.0


def test_no_cache_where_none_is_wanted(trainable: ModuleType) -> None:
    model = trainable.trainee(trainable.subject())
    feeding = cut(trainable, model, views=0)
    assert feeding.cached is None and feeding.notes == [] and model.split is None


def test_other_weights_in_the_prefix_have_other_activations(trainable: ModuleType) -> None:
    rows, found = [np.array([0])], []
    for shift in (0.0, 1.0):
        model = trainable.trainee(trainable.subject())
        with torch.no_grad():
            model.encoder.first[0].bias += shift
        found.append(next(cut(trainable, model, augment=0.0).evaluation(rows)))
    assert not torch.allclose(*found)
