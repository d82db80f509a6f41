import pytest
import torch
from torch import nn

from retarget.methods.optimiser import (
    WeightAverage,
    adamw,
    clip,
    norm_of,
    pull_back,
    set_lr,
    sharpened,
)
from retarget.methods.settings import Part


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3))
        self.linear = nn.Linear(3, 2)


def made(*parts: Part, **rest: float) -> tuple[Model, torch.optim.AdamW]:
    model = Model()
    settings = {"lr": 0.1, "head_lr": 1.0, "weight_decay": 0.3, **rest}
    return model, adamw(dict(model.named_parameters()), parts, **settings)


def seen(model: nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, tuple[float, float]]:
    names = {id(p): n for n, p in model.named_parameters()}
    return {
        names[id(p)]: (pytest.approx(g["lr"]), g["weight_decay"])
        for g in optimiser.param_groups
        for p in g["params"]
    }


def test_groups_by_part_and_head_and_dimension() -> None:
    low = Part(("encoder.0.weight", "encoder.1.weight"), factor=0.5)
    rest = Part(("encoder.0.bias", "linear.weight", "linear.bias"))
    model, optimiser = made(low, rest)
    assert seen(model, optimiser) == {
        "encoder.0.weight": (0.05, 0.3),
        "encoder.1.weight": (0.05, 0.0),
        "encoder.0.bias": (0.1, 0.0),
        "linear.weight": (1.0, 0.3),
        "linear.bias": (1.0, 0.0),
    }
    set_lr(optimiser, 0.1)
    assert seen(model, optimiser)["linear.weight"][0] == 0.1
    set_lr(optimiser, 1.0)
    assert seen(model, optimiser)["encoder.0.weight"][0] == 0.05


def test_scales_of_adapters_are_not_pulled_to_zero() -> None:
    shapes = {
        "encoder.a.ia3_l.default": (1, 4, 1, 1),
        "encoder.a.lora_magnitude_vector.default.weight": (1, 4, 1, 1),
        "encoder.a.lora_B.default.weight": (4, 1),
        "linear.weight": (1, 4),
    }
    named = {name: nn.Parameter(torch.ones(shape)) for name, shape in shapes.items()}
    optimiser = adamw(named, [Part(tuple(named))], 0.1, 0.1, 0.5)
    for value in named.values():
        value.grad = torch.zeros_like(value)
    optimiser.step()
    shrunk = {name for name, value in named.items() if float(value.detach().max()) < 1.0}
    assert shrunk == {"encoder.a.lora_B.default.weight", "linear.weight"}


def test_under_l2_sp_only_the_head_decays_to_zero() -> None:
    both = Part(("encoder.0.weight", "linear.weight"))
    assert seen(*made(both, stay_near=0.1)) == {
        "encoder.0.weight": (0.1, 0.0),
        "linear.weight": (1.0, 0.3),
    }


def test_what_wants_no_gradient_does_not_decay_either() -> None:
    model, optimiser = made(Part(("encoder.0.weight", "linear.weight")))
    before = model.encoder[0].weight.detach().clone()
    model.linear(torch.ones(1, 3)).sum().backward()
    optimiser.step()
    assert torch.equal(model.encoder[0].weight, before)


def test_pull_is_the_gradient_of_the_squared_distance() -> None:
    model = Model()
    named = dict(model.named_parameters())
    start = {n: torch.randn_like(p) for n, p in named.items()}
    distance = sum((p - start[n]).square().sum() for n, p in named.items() if "encoder" in n)
    (0.7 / 2 * distance).backward()
    expected = {n: p.grad.clone() for n, p in named.items() if p.grad is not None}
    for parameter in named.values():
        parameter.grad = torch.zeros_like(parameter)
    named["encoder.1.bias"].grad = None
    pull_back(named, start, 0.7)
    for name, parameter in named.items():
        if name.startswith("linear."):
            assert not parameter.grad.any()
        elif name != "encoder.1.bias":
            assert torch.allclose(parameter.grad, expected[name])
    assert named["encoder.1.bias"].grad is None


def test_sharpened_weights_lie_at_the_radius_and_come_back() -> None:
    model = Model()
    parameters = list(model.parameters())
    for parameter in parameters[:-1]:
        parameter.grad = torch.randn_like(parameter)
    before = [p.detach().clone() for p in parameters]
    direction = torch.cat([p.grad.flatten() for p in parameters[:-1]])
    with pytest.raises(ZeroDivisionError), sharpened(parameters, 0.25):
        step = torch.cat([(p - b).flatten() for p, b in zip(parameters[:-1], before, strict=False)])
        assert torch.allclose(step, 0.25 * direction / direction.norm(), atol=1e-6)
        assert all(p.grad is None for p in parameters)
        assert torch.equal(parameters[-1], before[-1])
        raise ZeroDivisionError
    assert all(torch.equal(p, b) for p, b in zip(parameters, before, strict=True))


def test_nothing_happens_where_the_gradient_is_zero() -> None:
    weight = nn.Parameter(torch.ones(3))
    weight.grad = torch.zeros(3)
    with sharpened([weight], 0.5):
        assert torch.equal(weight, torch.ones(3))


def test_clipping_is_that_of_torch() -> None:
    ours, theirs = ([nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(2, 2))] for _ in "ab")
    for a, b in zip(ours, theirs, strict=True):
        a.grad = torch.randn_like(a)
        b.grad = a.grad.clone()
    norm = norm_of(p.grad for p in ours)
    assert norm == nn.utils.clip_grad_norm_(theirs, 0.5)
    clip(ours, norm, 0.5)
    assert all(torch.equal(a.grad, b.grad) for a, b in zip(ours, theirs, strict=True))


def test_average_follows_and_puts_back() -> None:
    weight, count = torch.zeros(2), torch.tensor(0)
    average = WeightAverage({"weight": weight, "count": count}, 0.9)
    expected = 0.0
    for t in range(1, 200):
        weight += 1
        count += 1
        average.update()
        decay = min(0.9, (1 + t) / (10 + t))
        expected = decay * expected + (1 - decay) * t
    assert average.values["weight"].tolist() == pytest.approx([expected] * 2, rel=1e-5)
    with pytest.raises(ZeroDivisionError), average.applied():
        assert weight.tolist() == pytest.approx([expected] * 2, rel=1e-5)
        raise ZeroDivisionError
    assert weight.tolist() == [199.0, 199.0]
    assert int(average.values["count"]) == int(count) == 199
