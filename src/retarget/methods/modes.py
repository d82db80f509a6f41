"""What a training must not touch: statistics of batches and dropout, where layers are frozen."""

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager

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
    norms = [m for m in model.modules() if isinstance(m, _NormBase) and m.track_running_stats]
    for norm in norms:
        norm.track_running_stats = not norm.training
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True


def has_attention(model: nn.Module) -> bool:
    """Return whether any module attends, as its type says."""
    return any("attention" in type(m).__name__.lower() for m in model.modules())


def has_convolutions(model: nn.Module) -> bool:
    """Return whether any module is a convolution over pictures."""
    return any(isinstance(m, nn.Conv2d) and m.kernel_size != m.stride for m in model.modules())


def lies_anyhow(model: nn.Module) -> bool:
    """Return whether a model of convolutions runs with its channels last: PEFT's DoRA doesn't."""
    dora = any("dora" in type(m).__name__.lower() for m in model.modules())
    return has_convolutions(model) and not dora
