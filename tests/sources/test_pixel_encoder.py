"""Pixels and gradient histograms against plain loops."""

import math

import numpy as np
import pytest
import torch
from PIL import Image

from retarget.sources.pixel_encoder import hog
from retarget.sources.registry import resolve


def plain_hog(picture: np.ndarray) -> np.ndarray:
    """Histograms of oriented gradients of (3, 64, 64), pixel by pixel."""
    grey = 0.299 * picture[0] + 0.587 * picture[1] + 0.114 * picture[2]
    cells = np.zeros((8, 8, 9))
    for r in range(64):
        for c in range(64):
            gx = grey[r, c + 1] - grey[r, c - 1] if 0 < c < 63 else 0.0
            gy = grey[r + 1, c] - grey[r - 1, c] if 0 < r < 63 else 0.0
            bins = (math.atan2(gy, gx) % math.pi) / math.pi * 9
            low = math.floor(bins)
            size = math.hypot(gx, gy) / 64
            cells[r // 8, c // 8, low % 9] += size * (1 - (bins - low))
            cells[r // 8, c // 8, (low + 1) % 9] += size * (bins - low)
    parts = []
    for r in range(7):
        for c in range(7):
            block = cells[r : r + 2, c : c + 2].ravel()
            for cut in (0.2, None):
                block = block / math.sqrt(sum(v * v for v in block) + 1e-6)
                block = np.minimum(block, cut) if cut else block
            parts.append(block)
    return np.concatenate(parts)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_hog_is_that_of_the_plain_loop(seed):
    random = np.random.default_rng(seed)
    rough = random.uniform(0, 1, (3, 64, 64))
    smooth = np.sin(np.arange(64) / (seed + 3))[None, None] * np.ones((3, 64, 64)) / 2 + 0.5
    for picture in (rough, smooth, (rough + smooth) / 2):
        found = hog(torch.from_numpy(picture)[None])[0].numpy()
        np.testing.assert_allclose(found, plain_hog(picture), atol=1e-4)


def test_an_even_picture_has_no_gradients_and_no_nonsense():
    found = hog(torch.full((1, 3, 64, 64), 0.5))
    assert torch.isfinite(found).all()
    assert found.abs().max() < 0.01


def test_orientation_does_not_know_the_sign_of_contrast():
    picture = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(hog(picture), hog(1 - picture), rtol=1e-3, atol=1e-4)


def test_pixels_are_the_squashed_picture():
    quarters = np.zeros((200, 320, 3), dtype=np.uint8)
    quarters[:100, :160] = (255, 0, 0)
    quarters[100:, 160:] = (0, 0, 255)
    encoder = resolve("pixels:").load()
    batch = encoder.prepare(Image.fromarray(quarters))[None]
    pixels = encoder.pooled(batch, "mean")["pixels"].reshape(3, 16, 16)
    expected = torch.zeros(3, 16, 16)
    expected[0, :8, :8] = expected[2, 8:, 8:] = 1
    inner = [i for i in range(16) if i not in (7, 8)]
    torch.testing.assert_close(pixels[:, inner][:, :, inner], expected[:, inner][:, :, inner])
    assert pixels.min() >= 0 and pixels.max() <= 1
