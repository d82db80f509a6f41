import torch
from torch import nn

from retarget.methods.recompute import recomputing


def blocks() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(*[
        nn.Sequential(nn.Linear(16, 64), nn.BatchNorm1d(64), nn.GELU(), nn.Dropout(0.3),
                      nn.Linear(64, 16))
        for _ in range(4)
    ]).train()  # fmt: skip


def run(model: nn.Module, batch: torch.Tensor) -> tuple[int, list[torch.Tensor]]:
    """Return how many numbers are kept for the backward pass, and the gradients."""
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.data_ptr()] = tensor.numel()
        return tensor

    torch.manual_seed(1)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        loss = model(batch).square().sum()
    held = sum(kept.values())
    loss.backward()
    return held, [p.grad for p in model.parameters()]


def test_keeps_less_and_comes_to_the_same() -> None:
    plain, spared = blocks(), blocks()
    batch = torch.randn(256, 16)
    many, expected = run(plain, batch)
    with recomputing(list(spared)):
        few, found = run(spared, batch)
    assert few < many / 5
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(found, expected, strict=True))
    for a, b in zip(plain.buffers(), spared.buffers(), strict=True):
        assert torch.equal(a, b)  # statistics were taken in once


def test_puts_forward_back() -> None:
    model = blocks()
    own = lambda x: x  # noqa: E731
    model[0].forward = own
    with recomputing(list(model)):
        assert model[0].forward is not own
        with torch.no_grad():
            model(torch.randn(2, 16))
    assert model[0].forward is own
    assert "forward" not in model[1].__dict__
