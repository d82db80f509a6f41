"""`TimmEncoder`: any timm model, its layers found by feature info or module structure."""

import difflib
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from retarget.core.errors import SourceError
from retarget.sources.blueprint import Blueprint
from retarget.sources.recipe import Recipe
from retarget.sources.taps import TappedEncoder
from retarget.sources.weights import fill


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
    modules = dict(model.named_modules())
    found = {e["module"]: int(e["num_chs"]) for e in entries if e.get("module") in modules}
    return found or dict.fromkeys(stages(model), 0)


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
    return [f"{largest}.{child}".lstrip(".") for child, _ in chains[largest].named_children()]


@contextmanager
def own_random_state(seed: int) -> Iterator[None]:
    """Draw from `seed` inside the block; the global random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


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
    with own_random_state(weights if isinstance(weights, int) else 0):
        model = create(blueprint)
    if not isinstance(weights, int):
        fill(model, weights, blueprint.architecture)
    recipe = blueprint.recipe or timm_recipe(model, blueprint.arguments)
    return TimmEncoder(model, recipe, blueprint.architecture)


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


def pretrained_tensors(name: str) -> dict[str, Tensor]:
    """Return a pretrained model's tensors without its classifier, fetched by timm."""
    import timm

    check_known(name)
    try:
        with own_random_state(0):
            model: Any = timm.create_model(name, pretrained=True, num_classes=0)
    except Exception as error:  # of networks, hubs and files there are too many kinds
        reason = str(error).strip().partition("\n")[0]
        raise SourceError(f"The weights of timm:{name} could not be fetched: {reason}") from error
    return dict(model.state_dict())


def timm_recipe(model: nn.Module, arguments: Mapping[str, Any]) -> Recipe:
    """Return timm's own evaluation preprocessing of a model, as its `create_transform` does it."""
    from timm.data.config import resolve_data_config

    asked = {"img_size": arguments["img_size"]} if "img_size" in arguments else {}
    resolve: Any = resolve_data_config
    return recipe_of(resolve(asked, model=model))


def recipe_of(config: Mapping[str, Any]) -> Recipe:
    """Return the recipe of a timm data configuration. Raises `SourceError`."""
    channels, height, width = config["input_size"]
    if channels != 3:
        raise SourceError(f"The model wants pictures of {channels} channels; only 3 are served.")
    to = (math.floor(height / config["crop_pct"]), math.floor(width / config["crop_pct"]))
    how = {"squash": "exact", "border": "contain"}.get(config["crop_mode"])
    mean = [float(v) for v in config["mean"]]
    fill_with = [round(255 * v) for v in mean] if how == "contain" else [0, 0, 0]
    return Recipe.from_record(
        {
            "size": [height, width],
            "resize": {"how": how or ("shorter" if to[0] == to[1] else "cover"), "to": list(to)},
            "crop": {"offset": "round", "fill": fill_with},
            "interpolation": config["interpolation"],
            "mean": mean,
            "std": [float(v) for v in config["std"]],
        }
    )
