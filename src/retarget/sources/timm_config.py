"""timm's configurations of pretrained models, read without timm."""

import math
from collections.abc import Mapping
from typing import Any

from retarget.core.errors import SourceError
from retarget.sources.recipe import Recipe

# What timm takes where a configuration says nothing (timm.data.resolve_data_config).
_DEFAULTS: dict[str, Any] = {
    "input_size": (3, 224, 224),
    "interpolation": "bicubic",
    "crop_pct": 0.875,
    "crop_mode": "center",
    "mean": (0.485, 0.456, 0.406),
    "std": (0.229, 0.224, 0.225),
}


def recipe_of(config: Mapping[str, Any]) -> Recipe:
    """Return the preprocessing that timm gives to a configuration of a pretrained model.

    `img_size`, where it is given, replaces the configuration's input size. Raises `SourceError`.
    """
    said = {name: config.get(name) or value for name, value in _DEFAULTS.items()}
    try:
        channels, height, width = said["input_size"]
        if size := config.get("img_size"):
            height, width = (size, size) if isinstance(size, int) else size
        if channels != 3:
            raise SourceError(f"The model wants {channels} channels; pictures have 3.")
        percent = said["crop_pct"]
        to = [math.floor(height / percent), math.floor(width / percent)]
        how = {"squash": "exact", "border": "contain"}.get(str(said["crop_mode"]))
        mean = [float(v) for v in said["mean"]]
        std = [float(v) for v in said["std"]]
    except (TypeError, ValueError, ZeroDivisionError, OverflowError) as error:
        raise SourceError(f"timm's configuration of the model is not valid ({error}).") from error
    return Recipe.from_record(
        {
            "size": [height, width],
            "resize": {"how": how or ("shorter" if to[0] == to[1] else "cover"), "to": to},
            "crop": {
                "offset": "round",
                "fill": [round(255 * v) for v in mean] if how == "contain" else [0, 0, 0],
            },
            "interpolation": said["interpolation"],
            "mean": mean,
            "std": std,
        }
    )
