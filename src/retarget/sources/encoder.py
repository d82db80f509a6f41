"""`Encoder`: a source, loaded. Everything that is particular to a model is behind this."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from retarget.core.types import Pooling

if TYPE_CHECKING:
    from retarget.sources.hub_folder import HubFolder
    from retarget.sources.intake import Intake


@dataclass(frozen=True)
class Layer:
    """A tap point of an encoder.

    Attributes:
        name: the model's own name for it (`blocks.4`), or `pooled` for what its head would read.
        width: channels of one token.
        prefix: leading tokens that are no place in the input (CLS, registers).
    """

    name: str
    width: int
    prefix: int = 0


@dataclass(frozen=True)
class Group:
    """Parameters of one depth.

    Attributes:
        layer: the layer that they lead to; parameters of the first group are the shallowest.
        parameters: their names in `Encoder.named_parameters()`; may be empty.
    """

    layer: str
    parameters: tuple[str, ...]


@dataclass(frozen=True)
class Split:
    """An encoder cut in two at a layer; both halves use the encoder's own weights.

    `suffix(prefix(batch), pooling)` equals `pooled(batch, pooling)` of the layers beyond the cut.

    Attributes:
        layer: where it is cut.
        shape: of one example's activations.
        prefix: batch → activations (b, *shape), float32; in evaluation mode, without gradients.
        suffix: (activations, pooling) → layers deeper than the cut, pooled; runs none of the
            prefix, so it costs what is left of the model. Modes and gradients are as they are.
            One call at a time.
    """

    layer: str
    shape: tuple[int, ...]
    prefix: Callable[[Tensor], Tensor]
    suffix: Callable[[Tensor, Pooling], dict[str, Tensor]]


class Encoder(nn.Module, ABC):
    """A pretrained model that turns prepared inputs into features of all its layers in one pass.

    Attributes:
        layers: tap points, shallow to deep.
        detail: how much of the raw input it can make use of (images: pixels of the shorter side);
            loaders may decode at reduced scale down to that.
        input_shape: of one prepared example.
    """

    layers: tuple[Layer, ...]
    detail: int
    input_shape: tuple[int, ...]

    @abstractmethod
    def prepare(self, raw: Any) -> Tensor:
        """Return one raw example (images: PIL, RGB) as the model's input, as at evaluation."""

    def augment(self, raw: Any, random: np.random.Generator, strength: float) -> Tensor:
        """Return one raw example as the model's input, changed at random as for training.

        `strength` is from 0, which is `prepare`, to 1, the usual for large data sets. The same
        state of `random` gives the same view. Safe to call from several threads.
        """
        return self.prepare(raw)

    def collate(self, prepared: Sequence[Tensor]) -> Tensor:
        """Return prepared examples as one batch."""
        # By NumPy: PyTorch would copy with all cores, and wait for those that run a model.
        return torch.from_numpy(np.stack([one.numpy() for one in prepared]))

    def example_batch(self, count: int) -> Tensor:
        """Return a batch that the model can read and that means nothing, the same every time, on
        the model's device: what it is traced, cut and measured with."""
        generator = torch.Generator().manual_seed(count)
        batch = torch.randn(count, *self.input_shape, generator=generator)
        model = next(self.parameters(), None)
        return batch if model is None else batch.to(model.device)

    def bucket(self, prepared: Tensor) -> int:
        """Return what prepared examples that share a batch should have in common: for inputs of
        varying length how long they are when padded. 0 where all are alike."""
        return 0

    def windows(self, prepared: Tensor) -> int:
        """Return into how many parts a prepared example had to be divided to be read whole."""
        return 1

    def batch_size(self, bucket: int, usual: int) -> int:
        """Return how many examples of a bucket make a batch, where `usual` is what is usual."""
        return usual

    @abstractmethod
    def forward(self, batch: Tensor) -> dict[str, Tensor]:
        """Return, for every layer, its tokens (b, t, d); for layers without places t = 1.

        Deterministic, and each example's features are independent of the rest of the batch.
        """

    def pooled(self, batch: Tensor, pooling: Pooling) -> dict[str, Tensor]:
        """Return, for every layer, (b, width of the pooled layer) float32, or tokens (b, t, d)."""
        tokens = self.forward(batch)
        return {k.name: pool(tokens[k.name], k.prefix, pooling) for k in self.layers}

    def pooled_of(self, batch: Tensor, pooling: Pooling, names: Sequence[str]) -> dict[str, Tensor]:
        """Return the layers of those names, as `pooled` does, without the cost of the others."""
        pooled = self.pooled(batch, pooling)
        return {name: pooled[name] for name in names}

    def head_layer(self, pooling: Pooling) -> str:
        """Return the name of the layer that a head reads where weights are trained: the deepest,
        or the deepest that a pooling which was asked for makes a difference to."""
        return self.layers[-1].name

    def width_of(self, name: str, pooling: Pooling) -> int:
        """Return how many numbers `pooled` gives of a layer, or of each of its places."""
        width = next(layer.width for layer in self.layers if layer.name == name)
        return width * (2 if pooling == "mean+max" else 1)

    def weights(self) -> dict[str, Tensor]:
        """Return all tensors that make up the model, under its own names."""
        return dict(self.state_dict())

    def groups(self) -> tuple[Group, ...]:
        """Return every parameter once, by depth: one group a layer, shallow to deep.

        A parameter belongs to the first layer that depends on it. Runs two examples of noise.
        Raises `SourceError` for a model that can't be traced.
        """
        from retarget.sources.tracing import groups

        return groups(self)

    def split_at(self, layer: str) -> Split:
        """Return the encoder cut behind `layer`. Nothing is copied; a few examples are run.

        Raises `SourceError` for a layer behind which this model can't be cut.
        """
        from retarget.sources.cutting import split

        return split(self, layer)

    def preprocessing(self) -> Mapping[str, Any]:
        """Return, JSON-able, what `prepare` does, for people and for exported models: for images
        `size` [h, w], `resize`, `crop`, `interpolation`, `mean` and `std` (of 0 to 1)."""
        return {}

    def intake(self, encoders: "Sequence[Encoder]", pooling: Pooling) -> "Intake":
        """Return what a graph of `encoders`, of which this is the first, takes in where it runs
        by itself, and how raw inputs become that. Raises `SourceError` where no graph can."""
        from retarget.sources.picture_intake import PictureIntake

        return PictureIntake(encoders)

    def hub_folder(self, pooling: Pooling) -> "HubFolder | None":
        """Return what this encoder with one linear head is as a folder that transformers'
        pipelines open, `None` for nothing. Raises `UsageError` where no head would do."""
        return None


def pool(tokens: Tensor, prefix: int, pooling: Pooling) -> Tensor:
    """Pool tokens (b, t, d), of which `prefix` are no places, to (b, d) or (b, 2 d), float32.

    `mean` is over places; `cls` is the first prefix token, or the mean where there is none;
    `mean+max` concatenates both; `tokens` keeps all places (b, t − prefix, d).
    """
    tokens = tokens.float()
    places = tokens[:, prefix:] if tokens.shape[1] > prefix else tokens
    if pooling == "tokens":
        return places
    if pooling == "cls" and prefix:
        return tokens[:, 0]
    mean = places.mean(dim=1)
    return torch.cat([mean, places.amax(dim=1)], dim=1) if pooling == "mean+max" else mean
