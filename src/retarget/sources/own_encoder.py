"""A user's own network as an encoder, its layers found by structure."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from retarget.core.errors import SourceError
from retarget.core.hashing import hash_bytes
from retarget.sources.blueprint import Blueprint
from retarget.sources.encoder import Encoder
from retarget.sources.own import Own, registered
from retarget.sources.random_state import own_random_state
from retarget.sources.recipe import Recipe
from retarget.sources.taps import LayeredEncoder, TappedEncoder
from retarget.sources.timm_encoder import tap_points
from retarget.sources.weights import fill


class OwnModel(TappedEncoder):
    """A user's module. `pooled` is the vector it returns, or the mean of its map or tokens."""

    def __init__(self, model: nn.Module, recipe: Recipe, name: str) -> None:
        super().__init__(model, recipe, tap_points(model), name)

    def last(self, batch: Tensor) -> Tensor:
        """Return the module's output as a vector (b, d)."""
        output: Any = self.model(batch)
        if not isinstance(output, Tensor):
            raise TypeError(f"it returns {type(output).__name__}, not a tensor")
        if output.dim() == 4:
            return output.mean(dim=(2, 3))
        return output.mean(dim=1) if output.dim() == 3 else output


def made(own: Own) -> nn.Module:
    """Return a copy of what the user's function returns: training changes it. `SourceError` for
    anything but a module, and what the function raises."""
    with own_random_state(0):
        module = own.builder()
    if not isinstance(module, nn.Module):
        raise SourceError(
            f"The function registered as own:{own.name} returned {type(module).__name__}. "
            "It must return a torch.nn.Module with its weights loaded."
        )
    return copy.deepcopy(module).cpu().float().eval()


def own_tensors(own: Own) -> dict[str, Tensor]:
    """Return the weights of a user's module under its own names."""
    module = made(own)
    return module.weights() if isinstance(module, Encoder) else dict(module.state_dict())


def digest(tensors: Mapping[str, Tensor]) -> str:
    """Return the digest of tensors: names, kinds, shapes and bytes."""
    parts: list[bytes] = []
    for name, tensor in sorted(tensors.items()):
        parts.append(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        raw = tensor.detach().contiguous().reshape(-1).view(torch.uint8)
        parts.append(raw.numpy().tobytes())
    return hash_bytes(*parts)


def build_own(blueprint: Blueprint, weights: Mapping[str, Tensor] | int) -> Encoder:
    """Return the encoder of a user's module with these weights, or random ones of this seed."""
    own = registered(blueprint.architecture)
    if dict(own.arguments) != dict(blueprint.arguments):
        raise SourceError(
            f"own:{own.name} is registered with {dict(own.arguments)}, but this source was made "
            f"with {dict(blueprint.arguments)}: its code has changed since. Use the code of then."
        )
    module = made(own)
    target = module.model if isinstance(module, LayeredEncoder) else module
    if isinstance(weights, int):
        with own_random_state(weights):
            _reset(target)
    else:
        fill(target, weights, f"own:{own.name}")
    recipe = blueprint.recipe or own.recipe
    if isinstance(module, Encoder):
        if blueprint.side:
            raise SourceError(f"own:{own.name} is an Encoder, which has the size it says.")
        return module
    if recipe is None:
        raise SourceError(
            f"own:{own.name} doesn't say how pictures enter it. Give @own_source a size or a "
            "recipe."
        )
    return OwnModel(target, blueprint.sized(recipe), f"own:{own.name}")


@torch.no_grad()
def _reset(model: nn.Module) -> None:
    """Give a module random weights: by `reset_parameters` wherever there is one. Parameters that
    nothing resets are put in random order, which keeps their scale and nothing they learned."""
    reset: set[int] = set()
    for module in model.modules():
        renew = getattr(module, "reset_parameters", None)
        if callable(renew):
            renew()
            reset |= {id(parameter) for parameter in module.parameters(recurse=False)}
    for parameter in model.parameters():
        if id(parameter) not in reset:
            order = torch.randperm(parameter.numel())
            parameter.copy_(parameter.flatten()[order].view_as(parameter))
