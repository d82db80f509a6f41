import pytest
import torch
from torch import nn

from retarget.methods.modes import (
    has_attention,
    likes_bf16,
    likes_channels_last,
    set_modes,
    without_taking_in,
)


def block() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.Dropout(0.5))


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.low, self.high = block(), block()
        self.bare = nn.BatchNorm2d(3, affine=False)


def modes(trained: list[str], statistics: bool) -> dict[str, bool]:
    model = Model()
    set_modes(model, trained, statistics)
    return {name: module.training for name, module in model.named_modules()}


def test_frozen_modules_are_in_evaluation_mode() -> None:
    found = modes(["high.0.weight"], True)
    assert not any(found[n] for n in ("low", "low.0", "low.1", "low.2"))
    assert found["high"] and found["high.0"] and found["high.2"]
    assert not found["high.1"]  # its own scale is frozen


@pytest.mark.parametrize("statistics", [False, True])
def test_norms_that_are_trained_use_batches_only_if_wanted(statistics: bool) -> None:
    found = modes(["high.1.weight"], statistics)
    assert found["high.1"] is statistics and found["bare"] is statistics
    assert found["high.2"] and not found["high.0"]


def test_nothing_trained_is_all_evaluation() -> None:
    assert not any(modes([], True).values())


@pytest.mark.parametrize("momentum", [0.1, None])
def test_statistics_are_used_but_not_taken_in(momentum: float | None) -> None:
    norm, twin = (nn.BatchNorm1d(2, momentum=momentum).train() for _ in range(2))
    batch = torch.randn(8, 2) * 5 + 3
    expected = twin(batch)
    with without_taking_in(norm):
        found = norm(batch)
    assert torch.equal(found, expected)
    assert norm.running_mean.tolist() == [0.0, 0.0] and int(norm.num_batches_tracked) == 0
    assert norm.momentum == momentum
    norm(batch)
    assert torch.equal(norm.running_mean, twin.running_mean)
    assert int(twin.num_batches_tracked) == int(norm.num_batches_tracked) == 1


def test_norms_without_statistics_are_left_alone() -> None:
    norm = nn.BatchNorm1d(2, track_running_stats=False).train()
    with without_taking_in(norm):
        assert norm(torch.randn(4, 2)).shape == (4, 2)


def test_attention_is_known_by_its_type() -> None:
    import timm

    assert has_attention(timm.create_model("test_vit", num_classes=0))
    assert has_attention(nn.Sequential(nn.MultiheadAttention(4, 2)))
    assert not has_attention(timm.create_model("test_efficientnet", num_classes=0))


def test_where_channels_lie_last() -> None:
    cpu, cuda, mps = torch.device("cpu"), torch.device("cuda"), torch.device("mps")
    grouped = nn.Sequential(nn.Conv2d(4, 4, 3, groups=4))
    assert [likes_channels_last(block(), d) for d in (cpu, cuda, mps)] == [False, True, False]
    assert [likes_channels_last(grouped, d) for d in (cpu, cuda, mps)] == [True, True, False]
    assert not likes_channels_last(nn.Sequential(nn.Linear(2, 2)), cuda)
    attends = nn.Sequential(nn.Conv2d(4, 4, 3), nn.MultiheadAttention(4, 2))
    assert not likes_channels_last(attends, cuda)


@pytest.mark.parametrize(
    ("amx", "most", "groups", "expected"),
    [
        (True, None, 1, True),
        (True, "AVX512_CORE_AMX", 1, True),
        (True, "AVX512_CORE", 1, False),
        (True, None, 4, False),
        (False, None, 1, False),
    ],
)
def test_bf16_where_the_cpu_gains_by_it(
    amx: bool, most: str | None, groups: int, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": amx}, raising=False)
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    if most:
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", most)
    model = nn.Sequential(nn.Conv2d(4, 4, 3, groups=groups), nn.Flatten(), nn.LazyLinear(2))
    assert likes_bf16(model, torch.device("cpu")) == expected
    assert not likes_bf16(model, torch.device("mps"))
