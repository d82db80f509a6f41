"""A toy problem that frozen random features can't solve, and small random encoders."""

from dataclasses import replace

import numpy as np
import torch
from PIL import Image
from torch import nn

from retarget.features.views import Inputs
from retarget.methods.base import Labels
from retarget.methods.tuning import Subject
from retarget.sources.blueprint import Blueprint
from retarget.sources.model_source import ModelSource
from retarget.sources.own import own_source
from retarget.sources.recipe import Recipe
from retarget.sources.registry import resolve
from retarget.sources.source import Facts, Source

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


@own_source("toy-user", size=SIDE, trained_on="toys", licence="mit")
def user_net() -> nn.Module:
    """Return what a user might have: a plain network, with dropout and batch norm."""
    torch.manual_seed(7)
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU()),
        nn.Sequential(nn.Conv2d(16, 24, 3, 2, 1), nn.BatchNorm2d(24), nn.ReLU()),
        nn.Sequential(nn.Conv2d(24, 32, 3, 2, 1), nn.BatchNorm2d(32), nn.ReLU()),
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.1), nn.Linear(32, 24)),
    )


def source(name: str) -> Source:
    """Return a tiny timm architecture, or the user's network."""
    return resolve("own:toy-user") if name == "user" else ToySource(name)


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
        source=source(architecture),
        inputs=Inputs("image", references, ids),
        labels=Labels("classification", values, 2, np.ones(n)),
        validation=np.arange(n) >= n - judging,
        metric="accuracy",
        device="cpu",
    )
    return replace(made, **other)
