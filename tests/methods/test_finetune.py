"""Fine-tuning: what is trained, how fast each depth, and what stays as it was."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from torch import nn

from retarget.core.errors import UsageError
from retarget.features.table import Table
from retarget.methods.finetune import (
    BitFit,
    FineTune,
    NormTuning,
    parameters_of,
    parts,
    trained_groups,
)
from retarget.sources.encoder import Group
from retarget.sources.registry import resolve

GROUPS = (
    Group("stem", ("a.weight", "a.bias")),
    Group("middle", ("b.weight",)),
    Group("empty", ()),
    Group("pooled", ("c.weight", "c.bias")),
)
ALL = frozenset({"a.weight", "a.bias", "b.weight", "c.weight", "c.bias"})


@pytest.mark.parametrize(
    ("asked", "layers"),
    [
        (None, ["stem", "middle", "pooled"]),
        ("all", ["stem", "middle", "pooled"]),
        ("middle", ["middle", "pooled"]),
        ("empty", ["pooled"]),
        (0, []),
        (1, ["pooled"]),
        (2, ["middle", "pooled"]),
        (3, ["stem", "middle", "pooled"]),
    ],
)
def test_training_begins_at_the_layer_that_is_named_or_counted(asked, layers):
    assert [g.layer for g in trained_groups(GROUPS, asked)] == layers


@pytest.mark.parametrize("asked", ["nowhere", 4, -1])
def test_a_layer_that_is_not_there_is_refused_with_those_that_are(asked):
    with pytest.raises(UsageError, match=r"stem, middle, empty, pooled|3 have weights"):
        trained_groups(GROUPS, asked)


def test_learning_rates_fall_with_every_depth_that_has_weights():
    how = FineTune(layer_decay=0.5, epochs=4)
    found = {part.names: part.factor for part in parts(how, trained_groups(GROUPS, "all"), ALL)}
    assert found == {
        ("linear.weight", "linear.bias"): 1.0,
        ("encoder.c.weight", "encoder.c.bias"): 1.0,
        ("encoder.b.weight",): 0.5,
        ("encoder.a.weight", "encoder.a.bias"): 0.25,
    }


def test_unfreezing_goes_from_the_top_and_is_done_at_half_time():
    held = trained_groups(GROUPS, "all")
    found = parts(FineTune(gradual=True, epochs=12), held, ALL)
    assert [part.from_epoch for part in found] == [1, 1, 3, 5]
    assert all(part.from_epoch == 1 for part in parts(FineTune(epochs=12), held, ALL))
    assert all(part.from_epoch == 1 for part in parts(FineTune(gradual=True, epochs=1), held, ALL))


class Sorts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 2)
        self.norm = nn.LayerNorm(2)
        self.deep = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), nn.BatchNorm2d(1))


@pytest.mark.parametrize(
    ("which", "names"),
    [
        ("biases", {"linear.bias", "norm.bias", "deep.1.bias"}),
        ("norms", {"norm.weight", "norm.bias", "deep.1.weight", "deep.1.bias"}),
        (
            "all",
            {
                "linear.weight",
                "linear.bias",
                "norm.weight",
                "norm.bias",
                "deep.0.weight",
                "deep.1.weight",
                "deep.1.bias",
            },
        ),
    ],
)
def test_biases_and_norms_are_told_by_type(which, names):
    assert parameters_of(Sorts(), which) == names


def test_an_encoder_without_norms_is_refused():
    with pytest.raises(UsageError, match="no norms"):
        parameters_of(nn.Linear(2, 2, bias=False), "norms")


@pytest.mark.parametrize("decay", [0.0, 1.5, -1.0])
def test_an_impossible_decay_is_refused(decay):
    with pytest.raises(UsageError, match="layer_decay"):
        FineTune(layer_decay=decay)


@pytest.mark.parametrize("kind", [FineTune, BitFit, NormTuning])
def test_settings_are_json(kind):
    made = kind(from_layer="blocks.3", lr="auto", epochs=3)
    assert kind(**json.loads(json.dumps(asdict(made)))) == made


@pytest.mark.parametrize("name", ["test_vit", "test_resnet"])
def test_the_shallowest_layer_learns_at_a_tenth_of_the_rate(name, toy):
    subject, encoder = toy.subject(n=8), toy.ToySource(name).load()
    how = FineTune().settled(encoder, subject)
    found = parts(how, trained_groups(encoder.groups(), "all"), parameters_of(encoder, "all"))
    assert found[1].factor == 1.0
    assert found[-1].factor == pytest.approx(0.1)
    assert BitFit().settled(encoder, subject).layer_decay == 1.0
    assert FineTune(layer_decay=0.9).settled(encoder, subject).layer_decay == 0.9


@pytest.mark.parametrize(
    ("seconds", "how", "layer"),
    [
        (None, FineTune(), "all"),
        (80.0, FineTune(), "all"),
        (79.0, FineTune(), 2),
        (1.0, FineTune(from_layer="pooled"), "pooled"),
        (1.0, BitFit(), "all"),
    ],
)
def test_the_last_depths_are_trained_where_the_time_is_short(seconds, how, layer, toy):
    subject, encoder = toy.subject(n=8), toy.ToySource("test_resnet").load()
    table = Table("toy:", np.zeros((8, 1), np.float32), {"pooled": slice(0, 1)}, 1.0, 1 / 8)
    timed = replace(subject, table=table, seconds=seconds)
    assert how.settled(encoder, timed).from_layer == layer
    assert FineTune().settled(encoder, replace(timed, table=None)).from_layer == "all"


@pytest.mark.parametrize("encoder", ["test_vit", "test_resnet"])
def test_what_lies_before_the_first_trained_layer_stays_bit_equal(encoder, toy):
    subject = toy.subject(encoder, n=40, judging=16)
    source = subject.source.load()
    groups = [g for g in source.groups() if g.parameters]
    how = FineTune(
        from_layer=2, epochs=2, batch=8, lr=1e-2, mix=False, refit=False, batch_statistics=True
    )
    found = how.fit(subject)
    before, after = source.weights(), resolve(found.uri).load().weights()
    late = {name.removeprefix("model.") for g in groups[-2:] for name in g.parameters}
    trained = tuple({name.rpartition(".")[0] + "." for name in late})
    for name in before:
        if name not in late and not name.startswith(trained):
            assert torch.equal(before[name], after[name]), name
    if found.taken:
        assert all(not torch.equal(before[name], after[name]) for name in late if "weight" in name)


@pytest.mark.parametrize(("kind", "which"), [(BitFit, "biases"), (NormTuning, "norms")])
def test_only_the_parameters_of_that_sort_change(kind, which, toy):
    subject = toy.subject("test_vit", n=40, judging=16)
    encoder = subject.source.load()
    found = kind(epochs=2, batch=8, lr=1e-3, mix=False, refit=False).fit(subject)
    own = {name.removeprefix("model.") for name in parameters_of(encoder, which)}
    before, after = encoder.weights(), resolve(found.uri).load().weights()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed <= own
    assert not found.taken or changed
