"""Random weights without touching anybody else's random numbers."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def own_random_state(seed: int) -> Iterator[None]:
    """Draw from `seed` inside the block; the global random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
