"""A small encoder that augments and can be cut in two, and inputs for it: for tests and their
processes."""

import hashlib
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from retarget.core.types import Pooling
from retarget.features.activations import Activations
from retarget.features.views import Inputs, Views
from retarget.sources.encoder import Encoder, Layer, Split

SIDE = 16
SHAPE = (4, 8, 8)


class Halves(Encoder):
    """Two convolutions; the first is followed by what behaves otherwise in training."""

    def __init__(self, seed: int = 0, pause: float = 0.0, exports: bool = False) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.first = nn.Sequential(
            nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5)
        )
        self.second = nn.Conv2d(4, 8, 3, stride=2, padding=1)
        for parameter in self.parameters():
            parameter.data.copy_(torch.randn(parameter.shape, generator=generator) / 4)
        self.layers = (Layer("first", 4), Layer("pooled", 8))
        self.detail = SIDE
        self.input_shape = (3, SIDE, SIDE)
        self.pause = pause
        self.exports = exports
        self.batches: list[int] = []
        self.eval()

    def prepare(self, raw: Any) -> Tensor:
        pixels = np.asarray(raw.resize((SIDE, SIDE)), np.float32) / 255
        return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()

    def augment(self, raw: Any, random: np.random.Generator, strength: float) -> Tensor:
        shift, light = int(random.integers(SIDE)), float(random.uniform(-strength, strength))
        return self.prepare(raw).roll(shift, 2) + light

    def forward(self, batch: Tensor) -> dict[str, Tensor]:
        first = self.first(batch)
        return {"first": _tokens(first), "pooled": _tokens(self.second(first)).mean(1, True)}

    def split(self) -> Split:
        return Split("first", SHAPE, self._prefix, self._suffix)

    def _prefix(self, batch: Tensor) -> Tensor:
        if not torch.jit.is_tracing():
            self.batches.append(len(batch))
            time.sleep(self.pause)
        elif not self.exports:
            raise RuntimeError("no tracing here")
        out: Tensor = self.first(batch)
        return out

    def _suffix(self, activations: Tensor, pooling: Pooling) -> dict[str, Tensor]:
        return {"pooled": _tokens(self.second(activations)).mean(1)}


def _tokens(places: Tensor) -> Tensor:
    return places.flatten(2).transpose(1, 2)


def inputs_of(pictures: Sequence[Any]) -> Inputs:
    """Inputs with the pictures' content hashes."""
    hashes = [hashlib.blake2b(np.asarray(p).tobytes(), digest_size=16) for p in pictures]
    return Inputs("image", list(pictures), np.array([h.hexdigest() for h in hashes]))


def pictures(count: int, seed: int = 0) -> list[np.ndarray]:
    """Small random pictures."""
    rng = np.random.default_rng(seed)
    return list(rng.integers(0, 256, (count, 24, 20, 3), dtype=np.uint8))


def activations(
    count: int = 20,
    *,
    views: int = 2,
    seed: int = 7,
    strength: float = 0.5,
    key: str = "key",
    encoder: Halves | None = None,
    inputs: Inputs | None = None,
) -> tuple[Activations, Views, Halves]:
    """Activations over `count` pictures, with the views and the encoder behind them."""
    encoder = encoder or Halves()
    inputs = inputs or inputs_of(pictures(count))
    made = Views(inputs, encoder, seed=seed, strength=strength)
    cpu = torch.device("cpu")
    return Activations(made, encoder.split(), count=views, key=key, device=cpu), made, encoder


def fill_slowly(count: str, views: str) -> None:
    """Fill the cache, a batch at a time: to be killed."""
    import retarget.features.store as stores

    stores.COMMIT_SECONDS = 0.0
    feed, _, _ = activations(int(count), views=int(views), encoder=Halves(pause=0.05))
    print("started", flush=True)
    feed.fill()
    print("done", flush=True)


if __name__ == "__main__":
    fill_slowly(*sys.argv[1:])
