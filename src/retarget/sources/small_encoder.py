"""`SmallCnn`: four convolutions on small pictures, what is learned without a pretrained model."""

from collections.abc import Mapping

from torch import Tensor, nn

from retarget.core.errors import SourceError
from retarget.sources.blueprint import Blueprint
from retarget.sources.random_state import own_random_state
from retarget.sources.recipe import Recipe
from retarget.sources.taps import TappedEncoder
from retarget.sources.weights import fill

ARCHITECTURE = "cnn"
SIDE = 64
CHANNELS = (32, 64, 128, 256)

RECIPE = Recipe(
    size=(SIDE, SIDE),
    resize="exact",
    to=(SIDE, SIDE),
    interpolation="bilinear",
    mean=(0.5, 0.5, 0.5),
    std=(0.25, 0.25, 0.25),
)


class SmallCnn(TappedEncoder):
    """Four stages of a 3 × 3 convolution, batch norm, ReLU and 2 × 2 maximum; then the mean.

    Pictures are squashed to 64 × 64, so that none of them is cut off. 388,896 parameters.
    """

    def __init__(self, recipe: Recipe = RECIPE) -> None:
        model = nn.Sequential()
        before = 3
        for i, channels in enumerate(CHANNELS, start=1):
            stage = nn.Sequential(
                nn.Conv2d(before, channels, 3, padding=1, bias=False),
                nn.BatchNorm2d(channels),
                nn.ReLU(inplace=True),
                nn.MaxPool2d(2),
            )
            model.add_module(f"stage{i}", stage)
            before = channels
        taps = {f"stage{i}": channels for i, channels in enumerate(CHANNELS, start=1)}
        super().__init__(model, recipe, taps, "small:")

    def last(self, batch: Tensor) -> Tensor:
        """Return the mean of the last stage (b, 256)."""
        maps: Tensor = self.model(batch)
        return maps.mean(dim=(2, 3))


def build_small(blueprint: Blueprint, weights: Mapping[str, Tensor] | int) -> SmallCnn:
    """Return the encoder with these weights, or random ones of this seed."""
    if blueprint.architecture != ARCHITECTURE:
        raise SourceError(
            f"There is no small model {blueprint.architecture!r}, but {ARCHITECTURE}."
        )
    recipe = blueprint.sized(blueprint.recipe or RECIPE)
    with own_random_state(weights if isinstance(weights, int) else 0):
        encoder = SmallCnn(recipe)
    if not isinstance(weights, int):
        fill(encoder.model, weights, "small:")
    return encoder
