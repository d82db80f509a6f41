"""Less memory for more time: activations inside blocks are computed again when they are needed."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from retarget.methods.modes import without_taking_in


@contextmanager
def recomputing(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Inside the block, keep of each module only what goes in, not what its backward pass needs.

    Chen et al. 2016, Training Deep Nets with Sublinear Memory Cost. Gradients are the same, what
    is dropped is the same, and batch norms take in the statistics of a batch once.
    """
    before = {module: module.__dict__.get("forward") for module in modules}
    try:
        for module in modules:
            module.__dict__["forward"] = partial(_run, module, module.forward)
        yield
    finally:
        for module, own in before.items():
            module.__dict__.pop("forward", None)
            if own is not None:
                module.__dict__["forward"] = own


def _run(module: nn.Module, forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*args, **kwargs)

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), without_taking_in(module)

    return checkpoint(forward, *args, use_reentrant=False, context_fn=contexts, **kwargs)
