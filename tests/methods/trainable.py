"""Tiny encoders that can be trained, and subjects for them: for tests and their processes."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from retarget.core.hashing import hash_bytes
from retarget.features.views import Inputs
from retarget.methods.base import Labels
from retarget.methods.settings import Part
from retarget.methods.trainee import Trainee
from retarget.methods.tuning import Subject
from retarget.sources.encoder import Encoder, Layer
from retarget.sources.source import Facts, Source

SIDE = 6


class Small(Encoder):
    """Two convolutions with norm and dropout, and a last linear layer.

    A pixel of 255 in the corner is taken for a number that is none.
    """

    def __init__(self, seed: int = 0, dropout: float = 0.0, norm: bool = True) -> None:
        super().__init__()
        self.first = self._block(3, 4, dropout, norm)
        self.second = self._block(4, 6, dropout, norm)
        self.last = nn.Linear(6, 5)
        generator = torch.Generator().manual_seed(seed)
        for name, parameter in self.named_parameters():
            if parameter.ndim > 1 or name.endswith("bias"):
                parameter.data.copy_(torch.randn(parameter.shape, generator=generator) / 3)
        self.layers = (Layer("first", 4), Layer("second", 6), Layer("pooled", 5))
        self.detail = SIDE
        self.input_shape = (3, SIDE, SIDE)
        self.most = 10**9
        self.seen: list[int] = []
        self.eval()

    @staticmethod
    def _block(inputs: int, outputs: int, dropout: float, norm: bool) -> nn.Module:
        norms = [nn.BatchNorm2d(outputs)] if norm else []
        return nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, padding=1), *norms, nn.Tanh(), nn.Dropout(dropout)
        )

    def prepare(self, raw: Any) -> Tensor:
        pixels = np.asarray(raw, np.float32)
        whole = torch.from_numpy(pixels / 128 - 1).permute(2, 0, 1).contiguous()
        return whole * float("nan") if pixels[0, 0, 0] == 255 else whole

    def augment(self, raw: Any, random: np.random.Generator, strength: float) -> Tensor:
        return self.prepare(raw) + strength * float(random.normal())

    def forward(self, batch: Tensor) -> dict[str, Tensor]:
        self.seen.append(len(batch))
        if len(batch) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB")
        first = self.first(batch)
        second = self.second(first)
        return {
            "first": first.flatten(2).transpose(1, 2),
            "second": second.flatten(2).transpose(1, 2),
            "pooled": self.last(second.mean((2, 3)))[:, None],
        }


class SmallSource(Source):
    """A source of `Small`, taken for pretrained or not."""

    def __init__(self, pretrained: bool = True) -> None:
        self.uri = "small:"
        self.pretrained = pretrained

    @property
    def facts(self) -> Facts:
        return Facts("image", "small", pretrained=self.pretrained)

    @property
    def fingerprint(self) -> str:
        return hash_bytes(b"small")

    def load(self) -> Encoder:
        return Small()

    def random(self, seed: int = 0) -> Source:
        return SmallSource(False)

    def save(self, folder: Any) -> None:
        raise NotImplementedError


def subject(
    n: int = 24,
    judging: int = 8,
    *,
    kind: str = "classification",
    classes: int = 3,
    seed: int = 0,
    weights: Any = None,
    **rest: Any,
) -> Subject:
    """Pictures whose mean colour says the class, the labels or the number."""
    rng = np.random.default_rng(seed)
    scale = rng.uniform(40, 200, (n, 1, 1, 3))
    pictures = np.clip(scale + rng.normal(0, 25, (n, SIDE, SIDE, 3)), 0, 250).astype(np.uint8)
    colour = pictures.mean((1, 2))
    values: Any = colour.argmax(1) % classes
    if kind == "regression":
        values, classes = colour[:, 0] * 3.0 + 100.0, 1
    elif kind == "multilabel":
        values, classes = (colour > 120).astype(float), 3
    ids = np.array([hash_bytes(p.tobytes()) for p in pictures])
    return Subject(
        source=rest.pop("source", SmallSource()),
        inputs=Inputs("image", list(pictures), ids),
        labels=Labels(kind, values, classes, np.ones(n) if weights is None else weights),
        validation=np.arange(n) >= n - judging,
        metric={"classification": "accuracy", "multilabel": "macro_f1", "regression": "rmse"}[kind],
        seed=seed,
        device="cpu",
        **rest,
    )


def trainee(made: Subject, encoder: Encoder | None = None, **rest: Any) -> Trainee:
    """An encoder with a head that isn't zero."""
    made = Trainee(encoder or Small(), made.labels.outputs, **rest)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in made.linear.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / 5)
    return made


def everything(model: nn.Module, **rest: Any) -> tuple[Part, ...]:
    """All parameters, in one part."""
    return (Part(tuple(name for name, _ in model.named_parameters()), **rest),)


def state(model: nn.Module) -> Mapping[str, Tensor]:
    """Copies of all tensors."""
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
