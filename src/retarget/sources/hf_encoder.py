"""`HfEncoder`: any vision encoder of transformers, its layers read from `hidden_states`."""

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from retarget.core.errors import SourceError
from retarget.sources.blueprint import Blueprint
from retarget.sources.random_state import Undrawn, own_random_state
from retarget.sources.recipe import Recipe
from retarget.sources.taps import LAST, Grid, LayeredEncoder, spread
from retarget.sources.weights import check_size, fill

_FAILURES = (RuntimeError, TypeError, ValueError, AttributeError, KeyError, ImportError, OSError)


class HfEncoder(LayeredEncoder):
    """A vision model of transformers. Layers are its hidden states, maps where it gives maps."""

    def _raw(self, batch: Tensor) -> dict[str, Tensor]:
        """Return chosen hidden states and the pooled output."""
        output = self.model(pixel_values=batch, output_hidden_states=True, return_dict=True)
        states = getattr(output, "reshaped_hidden_states", None) or output.hidden_states or ()
        names = [f"hidden_states.{i}" for i in range(len(states))]
        wanted = spread(names[1:] or names)
        outputs = {name: states[names.index(name)] for name in wanted}
        pooled = getattr(output, "pooler_output", None)
        if pooled is None:
            last = output.last_hidden_state
            pooled = last.mean(dim=1) if last.dim() == 3 else last.mean(dim=(2, 3))
        return {**outputs, LAST: pooled.flatten(1)}

    def _grid(self) -> Grid:
        config: Any = self.model.config
        size = getattr(config, "patch_size", None)
        if not isinstance(size, int) or size < 1:
            return Grid(None, 0)
        height, width = self.recipe.size
        return Grid((height // size) * (width // size), None)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers' reports and bars off the terminal inside the block."""
    from transformers.utils import logging

    control: Any = logging
    level, bars = control.get_verbosity(), control.is_progress_bar_enabled()
    control.set_verbosity_error()
    control.disable_progress_bar()
    try:
        yield
    finally:
        control.set_verbosity(level)
        if bars:
            control.enable_progress_bar()


def _configuration(arguments: Mapping[str, Any], name: str) -> Any:
    from transformers import CONFIG_MAPPING

    if name not in CONFIG_MAPPING:
        raise SourceError(f"This transformers knows no model type {name!r}. Upgrade it.")
    try:
        return CONFIG_MAPPING[name].from_dict(dict(arguments["config"]))
    except Exception as error:  # transformers' own checks raise many kinds
        raise SourceError(f"The configuration of a {name} is not valid: {error}.") from error


def create(blueprint: Blueprint) -> nn.Module:
    """Return transformers' module, randomly initialised; of an encoder and a decoder only the
    encoder. Raises `SourceError`."""
    import transformers

    auto: Any = transformers.AutoModel
    without = {} if blueprint.arguments.get("pooler", True) else {"add_pooling_layer": False}
    try:
        config = _configuration(blueprint.arguments, blueprint.architecture)
        try:
            model: nn.Module = auto.from_config(config, trust_remote_code=False, **without)
        except TypeError:
            model = auto.from_config(config, trust_remote_code=False)
        return encoder_of(model)
    except _FAILURES as error:
        raise SourceError(
            f"transformers can't build a {blueprint.architecture}: {type(error).__name__}: {error}."
        ) from error


def encoder_of(model: Any) -> nn.Module:
    """Return the encoder of a model of an encoder and a decoder, and any other model as it is."""
    whole: nn.Module = model
    if not getattr(model.config, "is_encoder_decoder", False):
        return whole
    encoder: nn.Module = model.get_encoder()
    return encoder


def filled_model(blueprint: Blueprint, weights: Mapping[str, Tensor] | int) -> nn.Module:
    """Return transformers' module with these weights, or random ones of this seed."""
    if isinstance(weights, int):
        with quiet(), own_random_state(weights):
            return create(blueprint).float()
    check_size(lambda: create(blueprint), weights, blueprint.architecture)
    with quiet(), own_random_state(0), Undrawn():
        model = create(blueprint)
    model = model.float()
    fill(model, weights, blueprint.architecture)
    return model


def build_hf(blueprint: Blueprint, weights: Mapping[str, Tensor] | int) -> HfEncoder:
    """Return the encoder of a blueprint with these weights, or random ones of this seed."""
    model = filled_model(blueprint, weights)
    recipe = blueprint.recipe or hf_recipe(blueprint.arguments)
    return HfEncoder(model, blueprint.sized(recipe), blueprint.architecture)


def converted(blueprint: Blueprint, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a checkpoint's tensors under the names of the bare encoder of this transformers.

    Heads are left out; renamings between versions are transformers' own. Raises `SourceError`
    where a tensor of the encoder is missing or misshapen.
    """
    from transformers import MODEL_MAPPING

    check_size(lambda: create(blueprint), tensors, blueprint.architecture)
    with quiet(), own_random_state(0):
        config = _configuration(blueprint.arguments, blueprint.architecture)
        try:
            cls: Any = MODEL_MAPPING[type(config)]
            model, found = cls.from_pretrained(
                None,
                config=config,
                state_dict=dict(tensors),
                output_loading_info=True,
                ignore_mismatched_sizes=True,
            )
        except _FAILURES as error:
            raise SourceError(
                f"The weights don't fit a {blueprint.architecture}: {error}."
            ) from error
    encoder = encoder_of(model)
    within = next(name for name, module in model.named_modules() if module is encoder)
    within = f"{within}." if within else ""
    missing = sorted(str(k) for k in found["missing_keys"] if str(k).startswith(within))
    if not blueprint.arguments.get("pooler", True):
        missing = [k for k in missing if not k.startswith("pooler.")]
    wrong = sorted(str(k[0] if isinstance(k, tuple) else k) for k in found["mismatched_keys"])
    wrong = [name for name in wrong if name.startswith(within)]
    if missing or wrong:
        raise SourceError(
            f"The weights don't fit a {blueprint.architecture}: {len(missing)} tensors missing, "
            f"{len(wrong)} misshapen ({', '.join([*missing, *wrong][:3])})."
        )
    with quiet(), torch.device("meta"):
        own = create(blueprint).state_dict()
    return {name: value for name, value in encoder.state_dict().items() if name in own}


def processor(arguments: Mapping[str, Any]) -> Any:
    """Return transformers' own image processor on PIL. Raises `SourceError`."""
    import transformers

    auto: Any = transformers.AutoImageProcessor
    pil: dict[str, Any] = (
        {"backend": "pil"}
        if find_spec("transformers.image_processing_backends")
        else {"use_fast": False}
    )
    with tempfile.TemporaryDirectory(prefix="retarget-") as folder, quiet():
        for name, key in (("config.json", "config"), ("preprocessor_config.json", "processor")):
            (Path(folder) / name).write_text(json.dumps(arguments[key]), encoding="utf-8")
        try:
            return auto.from_pretrained(
                folder, trust_remote_code=False, local_files_only=True, **pil
            )
        except _FAILURES as error:
            raise SourceError(f"The model's image processor can't be built: {error}.") from error


def hf_recipe(arguments: Mapping[str, Any]) -> Recipe:
    """Return a model's own preprocessing, checked against its processor on two pictures."""
    own = processor(arguments)
    kind = type(own).__name__
    try:
        recipe = _recipe_of(own)
        for shape in ((97, 61), (45, 160)):
            _check_equal(own, recipe, shape)
    except (TypeError, ValueError, AttributeError, KeyError, ZeroDivisionError) as error:
        raise SourceError(
            f"The model's preprocessing ({kind}) is of a kind that is not served: {error}."
        ) from error
    return recipe


def _recipe_of(own: Any) -> Recipe:
    from PIL import Image

    get = vars(own).get if not hasattr(own, "to_dict") else own.to_dict().get
    size, crop = (
        {k: v for k, v in dict(get(name) or {}).items() if v is not None}
        for name in ("size", "crop_size")
    )
    how, to, final = "exact", (0, 0), (0, 0)
    if "shortest_edge" in size:
        how, to = "shorter", (int(size["shortest_edge"]),) * 2
        final = to
        if (percent := getattr(own, "crop_pct", None)) is not None:
            how = "shorter" if to[0] < 384 else "exact"
            to = (int(to[0] / percent),) * 2 if to[0] < 384 else to
    elif "height" in size:
        to = final = (int(size["height"]), int(size["width"]))
    if get("do_center_crop") and "height" in crop:
        final = (int(crop["height"]), int(crop["width"]))
    if not get("do_resize", True) or not all(to):
        raise ValueError(f"it resizes to {size}")
    scale = 255 * float(get("rescale_factor", 1 / 255)) if get("do_rescale", True) else 255.0
    norm = bool(get("do_normalize", True))
    mean = [v / scale for v in get("image_mean")] if norm else [0.0] * 3
    std = [v / scale for v in get("image_std")] if norm else [1 / scale] * 3
    return Recipe.from_record(
        {
            "size": list(final),
            "resize": {"how": how, "to": list(to)},
            "crop": {"offset": "floor", "fill": [0, 0, 0]},
            "interpolation": Image.Resampling(int(get("resample", 2))).name.lower(),
            "mean": [float(v) for v in mean],
            "std": [float(v) for v in std],
        }
    )


def _check_equal(own: Any, recipe: Recipe, shape: tuple[int, int]) -> None:
    """Raise `ValueError` if the recipe and the processor differ on a picture of this shape."""
    from PIL import Image

    rows, columns = np.mgrid[: shape[0], : shape[1]]
    pixels = np.stack([rows * 5, columns * 3, rows * columns], axis=2) % 256
    picture = Image.fromarray(pixels.astype(np.uint8))
    theirs = np.asarray(own(picture, return_tensors="np")["pixel_values"][0])
    ours = recipe.apply(picture)
    if theirs.shape != ours.shape or float(np.abs(theirs - ours).max()) > 1e-4:
        raise ValueError("its result differs from the same resizing, cropping and scaling here")
