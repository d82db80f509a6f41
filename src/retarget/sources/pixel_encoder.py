"""`PixelEncoder`: small pixels and histograms of gradients: what a picture says by itself."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from retarget.sources.encoder import Encoder, Layer
from retarget.sources.recipe import Recipe

SIDE = 64
SMALL = 16
CELL = 8
BINS = 9
BLOCK = 2
TOGETHER = 16  # usual batches in one
CLIP = 0.2
EPSILON = 1e-3
TINY = 1e-12
GREY = (0.299, 0.587, 0.114)

RECIPE = Recipe(
    size=(SIDE, SIDE),
    resize="exact",
    to=(SIDE, SIDE),
    interpolation="bilinear",
    mean=(0.0, 0.0, 0.0),
    std=(1.0, 1.0, 1.0),
)


class PixelEncoder(Encoder):
    """Two layers without any learning.

    `pixels` is the picture squashed to 16 × 16 RGB, 768 numbers from 0 to 1 (channel, row,
    column). `hog` holds histograms of oriented gradients of the grey picture at 64 × 64: 8 × 8
    pixels a cell, 9 unsigned orientations, blocks of 2 × 2 cells, 1,764 numbers (Dalal and Triggs
    2005, Histograms of oriented gradients for human detection).
    """

    def __init__(self) -> None:
        super().__init__()
        blocks = SIDE // CELL - BLOCK + 1
        self.layers = (
            Layer("pixels", 3 * SMALL * SMALL),
            Layer("hog", blocks * blocks * BLOCK * BLOCK * BINS),
        )
        # As much as encoders of usual size, so that a picture is decoded once for all.
        self.detail = RECIPE.detail
        self.input_shape = (3, SIDE, SIDE)
        self.eval()

    def prepare(self, raw: Any) -> Tensor:
        """Return an RGB picture squashed to (3, 64, 64), 0 to 1."""
        return torch.from_numpy(RECIPE.apply(raw))

    def augment(self, raw: Any, random: np.random.Generator, strength: float) -> Tensor:
        """Return an RGB picture squashed to (3, 64, 64), changed at random: `Recipe.augment`."""
        return torch.from_numpy(RECIPE.augment(raw, random, strength))

    def batch_size(self, bucket: int, usual: int) -> int:
        """Return more than is usual: a picture costs less here than beginning a batch does."""
        return TOGETHER * usual

    def preprocessing(self) -> Mapping[str, Any]:
        """Return the recipe of `prepare`, JSON-able."""
        return RECIPE.record()

    def forward(self, batch: Tensor) -> dict[str, Tensor]:
        """Return `pixels` (b, 1, 768) and `hog` (b, 1, 1764)."""
        small = F.avg_pool2d(batch, SIDE // SMALL)
        return {"pixels": small.flatten(1)[:, None], "hog": hog(batch)[:, None]}


def hog(batch: Tensor) -> Tensor:
    """Return histograms of oriented gradients (b, 1764) of pictures (b, 3, 64, 64).

    Gradients are central differences, zero at the border. A pixel's magnitude is shared between
    the two orientations nearest to its own. Blocks are scaled to length 1, cut at 0.2 and scaled
    again.
    """
    weights = batch.new_tensor(GREY)[:, None, None]
    grey = (batch * weights).sum(dim=1)  # (b, 64, 64)
    across = F.pad(grey[:, :, 2:] - grey[:, :, :-2], (1, 1))
    down = F.pad(grey[:, 2:] - grey[:, :-2], (0, 0, 1, 1))
    magnitude = (across * across + down * down).sqrt()
    # Orientation in bins. atan, not atan2: exported graphs make 0 / 0 of that one.
    steep = torch.where(across.abs() < TINY, torch.full_like(across, TINY), across)
    place = torch.atan(down / steep) * (BINS / math.pi)
    centres = torch.arange(BINS, dtype=batch.dtype, device=batch.device)[:, None, None]
    away = place[:, None] - centres  # (b, 9, 64, 64)
    away = (away - BINS * torch.round(away / BINS)).abs()
    shares = (1 - away).clamp(min=0) * magnitude[:, None]
    cells = F.avg_pool2d(shares, CELL)  # (b, 9, 8, 8)
    return _blocks(cells).flatten(1)


def _blocks(cells: Tensor) -> Tensor:
    """Return overlapping blocks of cells, normalised, (b, rows, columns, 36)."""
    last = SIDE // CELL - BLOCK + 1
    corners = [cells[:, :, i : i + last, j : j + last] for i in range(BLOCK) for j in range(BLOCK)]
    blocks = torch.cat(corners, dim=1).permute(0, 2, 3, 1)
    return _unit(_unit(blocks).clamp(max=CLIP))


def _unit(blocks: Tensor) -> Tensor:
    return blocks / (blocks.square().sum(dim=-1, keepdim=True) + EPSILON**2).sqrt()
