from types import ModuleType

import numpy as np
import pytest
import torch

from retarget.methods.heads import LinearHead
from retarget.methods.scale import BlockScale
from retarget.methods.trainee import Trainee


@pytest.fixture
def batch() -> torch.Tensor:
    return torch.randn(5, 3, 6, 6, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("layers", [(), ("second",), ("first", "pooled")])
@pytest.mark.parametrize("spread", [1.0, 40.0])
def test_starts_from_a_head_on_frozen_features_and_ends_as_a_member(
    trainable: ModuleType, batch: torch.Tensor, layers: tuple[str, ...], spread: float
) -> None:
    encoder = trainable.Small()
    model = Trainee(encoder, 2, layers)
    with torch.no_grad():
        found = encoder.pooled(batch, "mean")
    x = np.concatenate([found[name].numpy() for name in model.layers], axis=1)
    rng = np.random.default_rng(0)
    width = x.shape[1]
    scale = BlockScale(rng.normal(size=width), rng.uniform(0.5, 2, width))
    head = LinearHead(rng.normal(size=(2, width)), rng.normal(size=2))
    model.start_from(scale, head, spread)
    expected = head.outputs(((x - scale.centre) * scale.factor).astype(np.float64))
    with torch.no_grad():
        assert np.allclose(model(batch).numpy(), expected, atol=1e-4)
        model.linear.bias.add_(1.0)
        moved = model(batch).numpy()
    member = model.member("finetune", temperature=1.0)
    assert member.method == "finetune" and member.layers == (layers or ("pooled",))
    assert np.allclose(member.outputs(lambda name: found[name].numpy()), moved, atol=1e-4)


def test_head_starts_at_zero_and_reads_the_last_layer(
    trainable: ModuleType, batch: torch.Tensor
) -> None:
    model = Trainee(trainable.Small(), 3, pooling="mean+max")
    assert model.layers == ("pooled",) and model.linear.in_features == 10
    assert not model(batch).any()


def test_behind_a_cut_only_the_rest_is_run(trainable: ModuleType, batch: torch.Tensor) -> None:
    model = trainable.trainee(trainable.subject())
    with torch.no_grad():
        whole = model(batch)
        split = model.encoder.split_at("first")
        inside = split.prefix(batch)
        model.split = split
        assert torch.allclose(model(inside), whole, atol=1e-5)
