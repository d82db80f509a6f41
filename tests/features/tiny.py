"""A small encoder, a source of it and tasks of small pictures: for tests and their processes."""

import hashlib
import sys
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from retarget.core.hashing import hash_bytes
from retarget.sources.source import Facts, Source
from retarget.tasks.task import Examples, Task

SIDE = 16


class TinySource(Source):
    """A two-layer convolution with fixed random weights. `loads` counts how often it was loaded."""

    def __init__(self, uri: str = "tiny:a", seed: int = 0, encoder: str = "Plain") -> None:
        self.uri = uri
        self.seed = seed
        self.encoder = encoder
        self.loads = 0

    @property
    def facts(self) -> Facts:
        return Facts("image", "tiny")

    @cached_property
    def fingerprint(self) -> str:
        return hash_bytes(b"tiny", str(self.seed).encode(), self.encoder.encode())

    def load(self) -> Any:
        self.loads += 1
        return getattr(encoders(), self.encoder)(self.seed)

    def random(self, seed: int = 0) -> "TinySource":
        return TinySource(f"random:{self.uri}", seed + 1000)

    def save(self, folder: Path) -> None:
        raise NotImplementedError


def encoders() -> Any:
    """The encoders, in a namespace of their own: importing this file must not import torch."""
    import torch
    from torch import nn

    from retarget.sources.encoder import Encoder, Layer

    class Plain(Encoder):
        def __init__(self, seed: int) -> None:
            super().__init__()
            generator = torch.Generator().manual_seed(seed)
            self.first = nn.Conv2d(3, 4, 3, stride=2, padding=1)
            self.second = nn.Conv2d(4, 8, 3, stride=2, padding=1)
            for parameter in self.parameters():
                parameter.data.copy_(torch.randn(parameter.shape, generator=generator) / 4)
            self.requires_grad_(False)
            self.layers = (Layer("first", 4), Layer("second", 8), Layer("pooled", 8))
            self.detail = SIDE
            self.input_shape = (3, SIDE, SIDE)

        def prepare(self, raw: Any) -> torch.Tensor:
            pixels = np.asarray(raw.resize((SIDE, SIDE)), np.float32) / 255
            return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()

        def forward(self, batch: torch.Tensor) -> dict[str, torch.Tensor]:
            first = torch.relu(self.first(batch))
            second = torch.relu(self.second(first))
            tokens = {k: v.flatten(2).transpose(1, 2) for k, v in (("first", first),)}
            places = second.flatten(2).transpose(1, 2)
            return {**tokens, "second": places, "pooled": places.mean(1, keepdim=True)}

    class Fine(Plain):
        """Asks for more detail than the others."""

        def __init__(self, seed: int) -> None:
            super().__init__(seed)
            self.detail = 2 * SIDE

    class Unexportable(Plain):
        """Can't be traced."""

        def forward(self, batch: torch.Tensor) -> dict[str, torch.Tensor]:
            if torch.jit.is_tracing():
                raise RuntimeError("no tracing here")
            return super().forward(batch)

    class Lying(Plain):
        """Traces to something else than it computes."""

        def forward(self, batch: torch.Tensor) -> dict[str, torch.Tensor]:
            found = super().forward(batch)
            if torch.jit.is_tracing():
                found["second"] = found["second"] * 1.01
            return found

    class Normalised(Plain):
        """Normalises by the batch while it is being trained, and forgets at random."""

        def __init__(self, seed: int) -> None:
            super().__init__(seed)
            self.norm = nn.BatchNorm2d(4)
            self.norm.running_mean.fill_(0.3)
            self.drop = nn.Dropout(0.5)
            self.train()

        def forward(self, batch: torch.Tensor) -> dict[str, torch.Tensor]:
            first = self.drop(self.norm(self.first(batch)))
            places = self.second(first).flatten(2).transpose(1, 2)
            flat = first.flatten(2).transpose(1, 2)
            return {"first": flat, "second": places, "pooled": places.mean(1, keepdim=True)}

    class Slow(Plain):
        """Takes a while for every batch, so that it can be killed in the middle."""

        def forward(self, batch: torch.Tensor) -> dict[str, torch.Tensor]:
            import time

            time.sleep(0.04)
            return super().forward(batch)

    return type(
        "Encoders",
        (),
        {kind.__name__: kind for kind in (Plain, Fine, Unexportable, Lying, Normalised, Slow)},
    )


def pictures(count: int, seed: int = 0, side: int = 24) -> list[np.ndarray]:
    """Small random pictures (side, side, 3) uint8."""
    rng = np.random.default_rng(seed)
    return list(rng.integers(0, 256, (count, side, side, 3), dtype=np.uint8))


def make_task(references: Sequence[Any], ids: Sequence[str] | None = None) -> Task:
    """A task of images without labels; ids are of the content."""
    count = len(references)
    nothing = np.full(count, "")
    examples = Examples(
        ids=np.array(ids if ids is not None else [identity(r) for r in references]),
        names=tuple(f"row {i}" for i in range(count)),
        inputs={"image": references},
        targets=np.full(count, -1, np.int64),
        splits=nothing,
        groups=nothing,
        domains=nothing,
        weights=np.ones(count),
    )
    return Task("tiny", {"image": "image"}, "classification", ("a",), examples)


def identity(reference: Any) -> str:
    """The content hash of a path or an array."""
    data = (
        reference.read_bytes() if isinstance(reference, Path) else np.asarray(reference).tobytes()
    )
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def run_slow(folder: str, count: str, engine: str) -> None:
    """Extract `count` pictures slowly into the store at `folder`: to be killed."""
    import retarget.features.store as stores
    from retarget.features.extract import extract

    stores.COMMIT_SECONDS = 0.0
    store = stores.FeatureStore(Path(folder))
    sources = [TinySource("tiny:slow", 3, "Slow"), TinySource("tiny:b", 5)]
    print("started", flush=True)
    extract(make_task(pictures(int(count))), sources, store=store, engine=engine, device="cpu")
    print("done", flush=True)


if __name__ == "__main__":
    run_slow(*sys.argv[1:])
