"""What a forward pass tells, on modules made for it."""

from collections import namedtuple

import pytest
import torch
from torch import nn

from retarget.core.errors import SourceError
from retarget.sources.encoder import Encoder, Layer
from retarget.sources.tracing import evaluating, random_batch, tensors_in, trace, with_tensors

Pair = namedtuple("Pair", "first second")


class Made(Encoder):
    """A chain of two modules, the first of which may be anything."""

    layers = (Layer("a", 4), Layer("b", 4))
    detail = 640
    input_shape = (4,)

    def __init__(self, first):
        super().__init__()
        self.first = first
        self.second = nn.Linear(4, 4)

    def prepare(self, raw):
        return raw

    def forward(self, batch):
        a = self.first(batch)
        b = self.second(self.take(a))
        return {"a": self.take(a)[:, None], "b": b[:, None]}

    def take(self, value):
        return value


class Several(nn.Module):
    """Returns its tensor among others, in a structure."""

    def __init__(self, form):
        super().__init__()
        self.form = form
        self.inner = nn.Linear(4, 4)

    def forward(self, x):
        return self.form(self.inner(x))


FORMS = {
    "tuple": (lambda x: (x.sum(), x, None), lambda v: v[1]),
    "list": (lambda x: [torch.ones(2), x], lambda v: v[1] * v[0][0]),
    "named": (lambda x: Pair(5, x), lambda v: v.second),
    "nested": (lambda x: {"some": [x * 2, {"deep": x}]}, lambda v: v["some"][1]["deep"]),
}


@pytest.mark.parametrize("form", FORMS)
def test_modules_that_return_several_things_are_cut_behind_all_the_same(form):
    build, take = FORMS[form]

    class Taking(Made):
        def take(self, value):
            return take(value)

    encoder = Taking(Several(build)).eval()
    split = encoder.split_at("a")
    batch = torch.randn(3, 4)
    found = split.suffix(split.prefix(batch), "mean")["b"]
    torch.testing.assert_close(found, encoder.pooled(batch, "mean")["b"])


def test_constants_of_modules_before_the_cut_reach_what_lies_behind():
    """As position embeddings that every block adds."""

    class Positions(nn.Module):
        def forward(self, x):
            return torch.arange(4.0, device=x.device), x.shape[0]

    class Adding(Made):
        def __init__(self):
            super().__init__(nn.Linear(4, 4))
            self.positions = Positions()

        def forward(self, batch):
            positions, _ = self.positions(batch)
            a = self.first(batch + positions)
            return {"a": a[:, None], "b": self.second(a + positions)[:, None]}

    encoder = Adding().eval()
    split = encoder.split_at("a")
    batch = torch.randn(7, 4)
    found = split.suffix(split.prefix(batch), "mean")["b"]
    torch.testing.assert_close(found, encoder.pooled(batch, "mean")["b"])


def test_structures_keep_their_kind_with_other_tensors():
    a, b, c = torch.zeros(1), torch.ones(2), torch.ones(3)
    value = Pair({"x": a, "y": "text"}, [b, (c, None, 7)])
    assert [tensor.shape[0] for tensor in tensors_in(value)] == [1, 2, 3]
    other = with_tensors(value, iter([c, a, b]))
    assert isinstance(other, Pair)
    assert other.first["x"] is c
    assert other.first["y"] == "text"
    assert other.second[0] is a
    assert other.second[1] == (b, None, 7)
    assert value.first["x"] is a


def test_outputs_of_transformers_keep_their_attributes():
    from transformers.modeling_outputs import BaseModelOutputWithPooling

    value = BaseModelOutputWithPooling(last_hidden_state=torch.zeros(2, 3, 4))
    other = with_tensors(value, iter([torch.ones(5, 3, 4)]))
    assert isinstance(other, BaseModelOutputWithPooling)
    assert other.last_hidden_state.shape == (5, 3, 4)
    assert value.last_hidden_state.shape == (2, 3, 4)


def test_frozen_parameters_are_grouped_too_and_stay_frozen():
    encoder = Made(nn.Linear(4, 4)).train()
    encoder.first.weight.requires_grad_(False)
    with torch.inference_mode():
        groups = encoder.groups()
    assert [group.parameters for group in groups] == [
        ("first.weight", "first.bias"),
        ("second.weight", "second.bias"),
    ]
    assert not encoder.first.weight.requires_grad
    assert encoder.first.bias.requires_grad
    assert encoder.second.training


def test_what_no_layer_depends_on_goes_with_its_neighbours():
    class Idle(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.idle = nn.Linear(4, 4), nn.Linear(2, 2)

        def forward(self, x):
            return self.used(x)

    encoder = Made(nn.Linear(4, 4))
    encoder.second, encoder.nobody = Idle(), nn.Linear(3, 3)
    first, second = encoder.groups()
    assert {"second.idle.weight", "second.idle.bias"} <= set(second.parameters)
    assert {"nobody.weight", "nobody.bias"} <= set(first.parameters)


def test_models_that_stop_gradients_or_fail_are_said():
    class Stopped(Made):
        @torch.no_grad()
        def forward(self, batch):
            return super().forward(batch)

    with pytest.raises(SourceError, match="can't be trained"):
        Stopped(nn.Linear(4, 4)).groups()
    with pytest.raises(SourceError, match="could not be followed"):
        Made(nn.Linear(3, 4)).groups()


def test_an_encoder_without_parameters_has_empty_groups():
    encoder = Made(nn.Identity())
    encoder.second = nn.Tanh()
    assert [group.parameters for group in encoder.groups()] == [(), ()]


def test_a_path_that_the_values_decide_is_not_cut():
    class Deciding(Made):
        def forward(self, batch):
            if len(batch) == 3:
                self.second(batch)
            return super().forward(batch)

    with pytest.raises(SourceError, match="depends on the input"):
        Deciding(nn.Linear(4, 4)).split_at("a")


def test_layers_that_do_not_lie_by_example_are_not_cut():
    class Turned(Made):
        def forward(self, batch):
            a = self.first(batch.T)
            return {"a": a.T[:, None], "b": self.second(a.T)[:, None]}

    class Turn(nn.Module):
        def forward(self, x):
            return 2 * x

    with pytest.raises(SourceError, match="example by example"):
        Turned(Turn()).split_at("a")


def test_modes_come_back_one_by_one():
    model = nn.Sequential(nn.Dropout(), nn.BatchNorm1d(2), nn.Sequential(nn.Dropout()))
    model[2].eval()
    before = [module.training for module in model.modules()]
    with pytest.raises(RuntimeError), evaluating(model):
        assert not any(module.training for module in model.modules())
        raise RuntimeError
    assert [module.training for module in model.modules()] == before


def test_calls_are_told_in_the_order_in_which_they_end():
    encoder = Made(nn.Sequential(nn.Linear(4, 4), nn.ReLU()))
    found = trace(encoder, random_batch(encoder, 2))
    modules = [encoder.first[0], encoder.first[1], encoder.first, encoder.second]
    assert [call.module for call in found.calls] == modules
    assert [len(call.path) for call in found.calls] == [1, 1, 0, 0]
    assert torch.equal(random_batch(encoder, 2), random_batch(encoder, 2))
