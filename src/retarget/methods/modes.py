"""What a training must not touch: statistics of batches and dropout, where layers are frozen."""

import os
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase


def set_modes(model: nn.Module, trained: Collection[str], batch_statistics: bool) -> None:
    """Put every module in training or evaluation mode.

    A module is in training mode if some parameter in it is trained; one without parameters, such
    as dropout, follows the module that it is in. So frozen layers neither drop anything nor take
    in statistics of batches. Batch norms that are trained are in training mode only with
    `batch_statistics`; else they keep normalising by the statistics that they came with, which
    small batches would wreck, while scale and shift are trained.

    Args:
        model: any module.
        trained: names of parameters.
        batch_statistics: whether batch norms use, and take in, the statistics of batches.
    """
    active = _holders(trained)
    filled = _holders(name for name, _ in model.named_parameters())
    _set(model, "", False, active, filled, batch_statistics)


def _set(
    module: nn.Module,
    name: str,
    inherited: bool,
    active: Collection[str],
    filled: Collection[str],
    batch_statistics: bool,
) -> None:
    on = name in active if name in filled else inherited
    module.training = on and (batch_statistics or not isinstance(module, _NormBase))
    for child, inner in module.named_children():
        path = f"{name}.{child}" if name else child
        _set(inner, path, on, active, filled, batch_statistics)


def _holders(parameters: Iterable[str]) -> set[str]:
    """Return the names of all modules that hold one of the parameters, "" for the whole."""
    found: set[str] = set()
    for name in parameters:
        parts = name.split(".")[:-1]
        found.update(".".join(parts[:i]) for i in range(len(parts) + 1))
    return found


@contextmanager
def without_taking_in(model: nn.Module) -> Iterator[None]:
    """Inside the block batch norms in training mode don't take in the statistics they see."""
    norms = [m for m in model.modules() if isinstance(m, _NormBase) and m.training]
    counts = [n.num_batches_tracked for n in norms]
    before = [
        (n.momentum, None if c is None else c.clone()) for n, c in zip(norms, counts, strict=True)
    ]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, count, (momentum, old) in zip(norms, counts, before, strict=True):
            norm.momentum = momentum
            if count is not None and old is not None:
                count.copy_(old)


def has_attention(model: nn.Module) -> bool:
    """Return whether any module attends, as its type says."""
    return any("attention" in type(m).__name__.lower() for m in model.modules())


def likes_bf16(model: nn.Module, device: torch.device) -> bool:
    """Return whether training is quicker with forward passes in bf16: on devices that multiply
    matrices in it. CPUs that do (AMX) gain 1.7 times with MiniLM and 2.5 with ResNet-18, but lose
    with convolutions in groups, which are no products of matrices."""
    grouped = any(isinstance(m, nn.Conv2d) and m.groups > 1 for m in model.modules())
    return multiplies_bf16(device) and not (device.type == "cpu" and grouped)


def multiplies_bf16(device: torch.device) -> bool:
    """Return whether a device multiplies matrices in bf16."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and _cpu_multiplies_bf16()


def _cpu_multiplies_bf16() -> bool:
    """Return whether there is AMX, and PyTorch's library of kernels may use it."""
    most = os.environ.get("ONEDNN_MAX_CPU_ISA", "DEFAULT").upper()
    # Older versions of torch don't say.
    told: dict[str, Any] = getattr(torch.cpu, "get_capabilities", lambda: {})()
    return bool(told.get("amx_bf16")) and ("AMX" in most or most == "DEFAULT")


def likes_channels_last(model: nn.Module, device: torch.device) -> bool:
    """Return whether training is quicker with the channels of maps last: of convolutions on GPUs;
    on CPUs of those in groups only (EfficientNet-Lite0 by a tenth; ResNet-18 loses a tenth)."""
    dora = any("dora" in type(m).__name__.lower() for m in model.modules())  # PEFT's breaks
    if device.type not in ("cpu", "cuda") or has_attention(model) or dora:
        return False
    found = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    return any(m.groups > 1 for m in found) if device.type == "cpu" else bool(found)
