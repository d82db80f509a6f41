"""`TimmEncoder`: any timm model, its layers found by feature info or module structure."""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from retarget.core.errors import SourceError
from retarget.sources.blueprint import Blueprint
from retarget.sources.random_state import Undrawn, own_random_state
from retarget.sources.recipe import Recipe
from retarget.sources.taps import TappedEncoder
from retarget.sources.timm_config import recipe_of
from retarget.sources.weights import check_safetensors, check_size, fill


class TimmEncoder(TappedEncoder):
    """A timm model without its classifier. The last layer, `pooled`, is what that would read."""

    def __init__(self, model: nn.Module, recipe: Recipe, name: str) -> None:
        super().__init__(model, recipe, tap_points(model), name)

    def last(self, batch: Tensor) -> Tensor:
        """Return what the classifier would read (b, d)."""
        model: Any = self.model
        out: Tensor = model.forward_head(model.forward_features(batch), pre_logits=True)
        return out


def tap_points(model: nn.Module) -> dict[str, int]:
    """Return module name → channels (0: not known) of the places to tap, shallow to deep."""
    info: Any = getattr(model, "feature_info", None)
    entries = info if isinstance(info, list) else getattr(info, "info", [])
    modules = dict(model.named_modules(remove_duplicate=False))
    found = {
        _called(modules, e["module"]): int(e["num_chs"])
        for e in entries
        if e.get("module") in modules
    }
    return found or dict.fromkeys(stages(model), 0)


def _called(modules: Mapping[str, nn.Module], name: str) -> str:
    """Return `name`, or its last inner module that is called where it is but a list of them."""
    while isinstance(inner := modules[name], nn.ModuleList) and len(inner):
        name = f"{name}.{len(inner) - 1}"
    return name


def stages(model: nn.Module) -> list[str]:
    """Return the names of a model's stages by structure alone: its largest chain of modules."""
    chains = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, (nn.Sequential, nn.ModuleList)) and len(module) > 1
    }
    if not chains:
        return [name for name, _ in model.named_children()]
    largest = max(chains, key=lambda name: sum(p.numel() for p in chains[name].parameters()))
    modules = dict(model.named_modules(remove_duplicate=False))
    children = [name for name, _ in chains[largest].named_children()]
    return [_called(modules, f"{largest}.{child}".lstrip(".")) for child in children]


def check_known(name: str) -> None:
    """Raise `SourceError` for a name that timm doesn't know, with those close to it."""
    import timm

    if not timm.is_model(name.partition(".")[0]):
        close = difflib.get_close_matches(name, timm.list_models(), n=3)
        hint = f" Close to it: {', '.join(close)}." if close else ""
        raise SourceError(f"timm {timm.__version__} has no model {name!r}.{hint}")


def create(blueprint: Blueprint) -> nn.Module:
    """Return timm's module, randomly initialised. Raises `SourceError`."""
    import timm

    name = blueprint.architecture
    check_known(name)
    try:
        model: nn.Module = timm.create_model(
            name, pretrained=False, num_classes=0, **dict(blueprint.arguments)
        )
    except (RuntimeError, TypeError, ValueError, AssertionError, KeyError) as error:
        raise SourceError(f"timm can't build {name}: {error}.") from error
    return model


def build_timm(blueprint: Blueprint, weights: Mapping[str, Tensor] | int) -> TimmEncoder:
    """Return the encoder of a blueprint with these weights, or random ones of this seed."""
    if isinstance(weights, int):
        with own_random_state(weights):
            model = create(blueprint)
    else:
        if blueprint.arguments:
            check_size(lambda: create(blueprint), weights, blueprint.architecture)
        with own_random_state(0), Undrawn():
            model = create(blueprint)
        fill(model, without_classifier(model, weights), blueprint.architecture)
    recipe = blueprint.recipe or timm_recipe(model, blueprint.arguments)
    return TimmEncoder(model, blueprint.sized(recipe), blueprint.architecture)


def without_classifier(model: nn.Module, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights less those of the classifiers that timm names for the model."""
    config: Any = model
    named = config.pretrained_cfg.get("classifier") or ()
    classifiers = (named,) if isinstance(named, str) else tuple(named)
    own = set(model.state_dict())
    return {
        name: value
        for name, value in weights.items()
        if name in own or not name.startswith(tuple(f"{c}." for c in classifiers))
    }


def encoder_names(architecture: str) -> list[str]:
    """Return the names of a timm model's tensors in order, without classifier and counters."""
    with torch.device("meta"):
        model = create(Blueprint("timm", architecture))
    return [name for name in model.state_dict() if not name.endswith("num_batches_tracked")]


def place_of_weights(name: str) -> str:
    """Return the hub repository or the address of a model's pretrained weights."""
    import timm

    check_known(name)
    config = timm.get_pretrained_cfg(name)
    place = config and (config.hf_hub_id or config.url)
    if not place:
        raise SourceError(f"timm {timm.__version__} knows no pretrained weights for {name}.")
    return str(place)


def fetch(name: str) -> None:
    """Have timm fetch a model's pretrained weights into its local cache. Raises `SourceError`."""
    _pretrained(name, {})


def pretrained_tensors(name: str, path: Path) -> dict[str, Tensor]:
    """Return a pretrained model's tensors without its classifier, from timm's own file of them."""
    if path.suffix == ".safetensors":
        check_safetensors(path)
    return dict(_pretrained(name, {"pretrained_cfg_overlay": {"file": str(path)}}).state_dict())


def _pretrained(name: str, where: Mapping[str, Any]) -> nn.Module:
    import timm

    check_known(name)
    try:
        with own_random_state(0):
            model: nn.Module = timm.create_model(name, pretrained=True, num_classes=0, **where)
    except Exception as error:  # of networks, hubs and files there are too many kinds
        reason = str(error).strip().partition("\n")[0]
        raise SourceError(f"The weights of timm:{name} could not be had: {reason}") from error
    return model


def timm_recipe(model: nn.Module, arguments: Mapping[str, Any]) -> Recipe:
    """Return timm's own evaluation preprocessing of a model, as its `create_transform` does it."""
    config: Any = model
    sized = {"img_size": arguments["img_size"]} if "img_size" in arguments else {}
    return recipe_of({**config.pretrained_cfg, **sized})
