"""A toy problem that frozen random features can't solve, and small random encoders."""

from dataclasses import replace

import numpy as np
from PIL import Image

from retarget.features.views import Inputs
from retarget.methods.base import Labels
from retarget.methods.tuning import Subject
from retarget.sources.blueprint import Blueprint
from retarget.sources.model_source import ModelSource
from retarget.sources.recipe import Recipe
from retarget.sources.source import Facts

SIDE = 32


def blueprint(architecture: str) -> Blueprint:
    recipe = Recipe((SIDE, SIDE), "exact", (SIDE, SIDE), "bilinear", (0.5,) * 3, (0.25,) * 3)
    arguments = {"img_size": SIDE} if "vit" in architecture else {}
    return Blueprint("timm", architecture, arguments, recipe)


class ToySource(ModelSource):
    """A tiny timm architecture with weights of a seed, taken for pretrained ones."""

    def __init__(self, architecture: str) -> None:
        self.uri = f"toy:{architecture}"
        self.blueprint = blueprint(architecture)

    @property
    def facts(self) -> Facts:
        return Facts("image", "Toy", trained_on="toys", licence="mit")

    def weights_digest(self) -> str:
        return "0" * 32

    def weights(self) -> int:
        return 7


def pictures(n: int, seed: int) -> tuple[list[Image.Image], np.ndarray]:
    """Faint stripes, upright or lying, on colours that differ far more between pictures."""
    random = np.random.default_rng(seed)
    values = np.arange(n) % 2
    found = []
    for value in values:
        stripes = np.where((np.arange(SIDE) + random.integers(4)) % 4 < 2, -20.0, 20.0)
        faint = stripes[:, None, None] if value else stripes[None, :, None]
        colour = random.uniform(60, 190, 3) + random.normal(0, 20, (SIDE, SIDE, 3))
        found.append(Image.fromarray(np.clip(colour + faint, 0, 255).astype(np.uint8)))
    return found, values


def subject(architecture: str = "test_vit", n: int = 96, judging: int = 32, **other) -> Subject:
    """Return a subject of n pictures, the last ones judging."""
    references, values = pictures(n, seed=1)
    ids = np.array([f"{i:032x}" for i in range(n)])
    made = Subject(
        source=ToySource(architecture),
        inputs=Inputs("image", references, ids),
        labels=Labels("classification", values, 2, np.ones(n)),
        validation=np.arange(n) >= n - judging,
        metric="accuracy",
        device="cpu",
    )
    return replace(made, **other)
