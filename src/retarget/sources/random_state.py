"""Random weights without touching anybody else's random numbers."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


@contextmanager
def own_random_state(seed: int) -> Iterator[None]:
    """Draw from `seed` inside the block; the global random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


# Of tensors and of `torch.nn.init`.
_DRAWS = frozenset(
    {
        *("normal_", "uniform_", "kaiming_uniform_", "kaiming_normal_"),
        *("xavier_uniform_", "xavier_normal_", "orthogonal_"),
    }
)


class Undrawn(TorchFunctionMode):
    """Inside the block no random weights are drawn: those of a new module are zero.

    For modules all of whose weights are filled afterwards. What was in memory before would do, but
    for libraries that draw again until they like what they see.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Make a tensor zero where it would be drawn."""
        told = kwargs or {}
        if getattr(func, "__name__", "") in _DRAWS and (args or "tensor" in told):
            drawn = args[0] if args else told["tensor"]
            with torch.no_grad():
                return drawn.zero_()
        return func(*args, **told)
