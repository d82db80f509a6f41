"""How gradients become weights: AdamW in groups, averages of weights, sharpness, the pull back."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from retarget.methods.adapters import SCALES
from retarget.methods.settings import Part

HEAD = "linear."
TINY = 1e-12


def adamw(
    named: Mapping[str, nn.Parameter],
    parts: Sequence[Part],
    lr: float,
    head_lr: float,
    weight_decay: float,
    stay_near: float = 0.0,
) -> AdamW:
    """Return AdamW (Loshchilov and Hutter 2019) over the parameters of all parts.

    Groups carry their peak learning rate as `peak`. Weight decay spares what has one dimension,
    norms and biases, and scales of adapters, which change nothing at one and not at zero. Under
    L2-SP the encoder is pulled to its start instead of to zero.
    """
    groups: list[dict[str, Any]] = []
    for part in parts:
        for head in (False, True):
            own = [name for name in part.names if name.startswith(HEAD) is head]
            peak = part.factor * (head_lr if head else lr)
            shrunk = 0.0 if stay_near and not head else weight_decay
            for flat, decay in ((False, shrunk), (True, 0.0)):
                found = [named[name] for name in own if _is_spared(name, named[name]) is flat]
                if found:
                    groups.append(
                        {"params": found, "lr": peak, "peak": peak, "weight_decay": decay}
                    )
    devices = {named[name].device.type for part in parts for name in part.names}
    # One call for all tensors: a tenth of the time that a loop over them takes on a CPU.
    return AdamW(groups, lr=lr, fused=devices <= {"cpu", "cuda"})


def _is_spared(name: str, parameter: nn.Parameter) -> bool:
    return parameter.ndim <= 1 or any(scale in name for scale in SCALES)


def set_lr(optimiser: Optimizer, factor: float) -> None:
    """Set every group to `factor` of its peak."""
    for group in optimiser.param_groups:
        group["lr"] = factor * group["peak"]


def norm_of(gradients: Iterable[Tensor]) -> Tensor:
    """Return the norm of all gradients together."""
    return nn.utils.get_total_norm(list(gradients))


def clip(parameters: Sequence[nn.Parameter], norm: Tensor, most: float) -> None:
    """Scale the gradients, of that norm together, to at most `most`."""
    nn.utils.clip_grads_with_norm_(parameters, most, norm)


@torch.no_grad()
def pull_back(
    named: Mapping[str, nn.Parameter], start: Mapping[str, Tensor], strength: float
) -> None:
    """Add the gradient of strength/2 ‖w − w₀‖² over the encoder's weights that are trained.

    Li, Grandvalet and Davoine 2018, Explicit inductive bias for transfer learning (L2-SP).
    """
    for name, parameter in named.items():
        if parameter.grad is not None and not name.startswith(HEAD):
            parameter.grad.add_(parameter - start[name], alpha=strength)


@contextmanager
def sharpened(parameters: Sequence[nn.Parameter], radius: float) -> Iterator[None]:
    """Run the block at the weights w + radius · g/‖g‖, and clear the gradients for it.

    The gradient there is the one that sharpness-aware minimisation steps along (Foret et al.
    2021). The weights come back as they were, to the bit.
    """
    moved = [p for p in parameters if p.grad is not None]
    before = [p.detach().clone() for p in moved]
    with torch.no_grad():
        gradients = [p.grad for p in moved if p.grad is not None]
        scale = radius / (norm_of(gradients) + TINY)
        for parameter, gradient in zip(moved, gradients, strict=True):
            parameter.add_(gradient * scale)
            parameter.grad = None
    try:
        yield
    finally:
        with torch.no_grad():
            for parameter, value in zip(moved, before, strict=True):
                parameter.copy_(value)


class WeightAverage:
    """An exponential average of tensors, quick at first: its decay is at most (1 + t)/(10 + t)
    after t updates. What counts in whole numbers is taken as it is.

    Attributes:
        values: the average, by name.
        updates: t.
    """

    def __init__(self, tensors: Mapping[str, Tensor], decay: float) -> None:
        self._tensors = tensors
        self.decay = decay
        self.updates = 0
        self.values = {name: tensor.detach().clone() for name, tensor in tensors.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Take in the tensors as they are now."""
        self.updates += 1
        rest = 1.0 - min(self.decay, (1 + self.updates) / (10 + self.updates))
        for name, tensor in self._tensors.items():
            if tensor.is_floating_point():
                self.values[name].lerp_(tensor, rest)
            else:
                self.values[name].copy_(tensor)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Run the block with the average in place of the tensors, and put them back."""
        before = {name: tensor.detach().clone() for name, tensor in self._tensors.items()}
        with torch.no_grad():
            for name, tensor in self._tensors.items():
                tensor.copy_(self.values[name])
        try:
            yield
        finally:
            with torch.no_grad():
                for name, tensor in self._tensors.items():
                    tensor.copy_(before[name])
