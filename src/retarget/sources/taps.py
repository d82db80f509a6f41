"""Encoders over a model of another library: the outputs of its parts, brought to tokens."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from retarget.core.errors import SourceError
from retarget.core.types import Pooling
from retarget.sources.encoder import Encoder, Layer, pool
from retarget.sources.recipe import Recipe
from retarget.sources.tracing import FAILURES

Format = Literal["NCHW", "NHWC", "NLC", "NCL", "NC"]

MAX_TAPS = 12
MAX_PREFIX = 16
LAST = "pooled"


@dataclass(frozen=True)
class Grid:
    """What a model says of its tokens.

    Attributes:
        places: tokens that are places in the picture, `None` where it doesn't say.
        prefix: leading tokens that are none, `None` where that follows from the places.
    """

    places: int | None
    prefix: int | None

    def prefix_of(self, tokens: int) -> int:
        """Return how many of so many tokens are no places."""
        prefix = self.prefix
        if prefix is None:
            prefix = tokens - self.places if self.places else 0
            prefix = prefix if 0 < prefix <= MAX_PREFIX else 0
        return 0 if tokens == self.places or tokens <= prefix else prefix


class LayeredEncoder(Encoder):
    """An encoder over another library's model. One forward pass at a time.

    Attributes:
        model: the other library's module, in evaluation mode, without a classifier.
        recipe: its preprocessing.
    """

    def __init__(self, model: nn.Module, recipe: Recipe, name: str) -> None:
        super().__init__()
        self.model = model
        self.recipe = recipe
        self.detail = recipe.detail
        self.input_shape = (3, *recipe.size)
        self.eval()
        self._prepare_taps()
        self._formats = self._probe(name)

    def _prepare_taps(self) -> None:
        """Get ready to be run."""

    @abstractmethod
    def _raw(self, batch: Tensor) -> dict[str, Tensor]:
        """Return the model's outputs by layer, shallow to deep, and what its head would read."""

    @abstractmethod
    def _grid(self) -> Grid:
        """Return what the model says of its tokens."""

    def _channels(self, name: str) -> int:
        """Return a layer's channels as the model says; 0 where it doesn't."""
        return 0

    def prepare(self, raw: Any) -> Tensor:
        """Return an RGB picture as (3, h, w) float32. Safe to call from several threads."""
        return torch.from_numpy(self.recipe.apply(raw))

    def augment(self, raw: Any, random: np.random.Generator, strength: float) -> Tensor:
        """Return an RGB picture as (3, h, w) float32, changed at random: `Recipe.augment`."""
        return torch.from_numpy(self.recipe.augment(raw, random, strength))

    def preprocessing(self) -> Mapping[str, Any]:
        """Return the recipe of `prepare`, JSON-able: `Recipe` says how to follow it."""
        return self.recipe.record()

    def weights(self) -> dict[str, Tensor]:
        """Return the model's tensors under its own names."""
        return dict(self.model.state_dict())

    @torch.no_grad()
    def _probe(self, name: str) -> dict[str, Format]:
        """Run two empty pictures through the model, to see what its layers look like.

        Outputs that aren't laid out by picture (windows, inner patches) are no layers.
        """
        pictures = 2
        try:
            outputs = self._raw(torch.zeros(pictures, *self.input_shape))
        except FAILURES as error:
            raise SourceError(
                f"{name} can't be used as an encoder of pictures: its forward pass failed "
                f"({type(error).__name__}: {error})."
            ) from error
        channels_last = getattr(self.model, "output_fmt", None) == "NHWC"
        formats: dict[str, Format] = {}
        layers = []
        for layer, output in outputs.items():
            form = layout(output, self._channels(layer), channels_last)
            if form is None or output.shape[0] != pictures:
                continue
            formats[layer] = form
            tokens = as_tokens(output, form)
            prefix = self._grid().prefix_of(tokens.shape[1]) if form == "NLC" else 0
            layers.append(Layer(layer, tokens.shape[2], prefix))
        if formats.get(LAST) != "NC":
            raise SourceError(f"{name} gives no vector for a picture: it has no pooled features.")
        self.layers = tuple(layers)
        return formats

    def forward(self, batch: Tensor) -> dict[str, Tensor]:
        """Return, for every layer, its tokens (b, t, d); for `pooled` t = 1."""
        outputs = self._raw(batch)
        return {k.name: as_tokens(outputs[k.name], self._formats[k.name]) for k in self.layers}

    def pooled(self, batch: Tensor, pooling: Pooling) -> dict[str, Tensor]:
        """Return every layer pooled: (b, width) float32, or (b, t, d) for `tokens`.

        Maps are pooled where they lie, which spares turning large early layers around.
        """
        return self.pooled_of(batch, pooling, [k.name for k in self.layers])

    def pooled_of(self, batch: Tensor, pooling: Pooling, names: Sequence[str]) -> dict[str, Tensor]:
        """Return the layers of those names, as `pooled` does, without pooling the others."""
        outputs = self._raw(batch)
        prefix = {k.name: k.prefix for k in self.layers}
        return {n: _pool(outputs[n], self._formats[n], prefix[n], pooling) for n in names}


@dataclass(frozen=True)
class _Tap:
    """A forward hook that lays the output of a module, the first of several, into `seen`.

    Hook and encoder are copied together.
    """

    seen: dict[str, Tensor]
    name: str

    def __call__(self, module: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(output, (tuple, list)) and output:
            output = output[0]
        if isinstance(output, Tensor):
            self.seen[self.name] = output


class TappedEncoder(LayeredEncoder):
    """An encoder whose layers are outputs of the model's modules, in the order they are called."""

    def __init__(self, model: nn.Module, recipe: Recipe, taps: Mapping[str, int], name: str):
        """Tap the modules named in `taps` (with their channels, 0 where not known)."""
        self._taps = dict(taps)
        self._seen: dict[str, Tensor] = {}
        super().__init__(model, recipe, name)

    def _prepare_taps(self) -> None:
        for tap in spread(list(self._taps)):
            self.model.get_submodule(tap).register_forward_hook(_Tap(self._seen, tap))

    @abstractmethod
    def last(self, batch: Tensor) -> Tensor:
        """Run the model; return what its head would read (b, d)."""

    def _raw(self, batch: Tensor) -> dict[str, Tensor]:
        try:
            last = self.last(batch)
            return {**self._seen, LAST: last}
        finally:
            self._seen.clear()

    def _channels(self, name: str) -> int:
        return self._taps.get(name, 0)

    def _grid(self) -> Grid:
        """Return what timm's models say, where it is said."""
        model: Any = self.model
        places = getattr(getattr(model, "patch_embed", None), "num_patches", None)
        prefix = getattr(model, "num_prefix_tokens", None)
        return Grid(places if isinstance(places, int) else None, prefix)


def spread(names: list[str]) -> list[str]:
    """Return at most `MAX_TAPS` of the names, evenly spread, the last one included."""
    if len(names) <= MAX_TAPS:
        return names
    step = (len(names) - 1) / (MAX_TAPS - 1)
    return [names[round(i * step)] for i in range(MAX_TAPS)]


def layout(output: Tensor, channels: int, channels_last: bool) -> Format | None:
    """Return how an output lies, given its channels (0: not known)."""
    shape = output.shape
    if len(shape) == 2:
        return "NC"
    if len(shape) == 3:
        return "NCL" if channels and shape[2] != channels and shape[1] == channels else "NLC"
    if len(shape) != 4:
        return None
    first, final = shape[1] == channels, shape[3] == channels
    if first != final:
        return "NCHW" if first else "NHWC"
    return "NHWC" if channels_last else "NCHW"


def as_tokens(output: Tensor, form: Format) -> Tensor:
    """Return an output as tokens (b, t, d)."""
    if form == "NCHW":
        return output.flatten(2).transpose(1, 2)
    if form == "NHWC":
        return output.flatten(1, 2)
    if form == "NCL":
        return output.transpose(1, 2)
    return output if form == "NLC" else output[:, None]


def _pool(output: Tensor, form: Format, prefix: int, pooling: Pooling) -> Tensor:
    if form != "NCHW" or pooling == "tokens":
        return pool(as_tokens(output, form), prefix, pooling)
    maps = output.float()
    mean = maps.mean(dim=(2, 3))
    return torch.cat([mean, maps.amax(dim=(2, 3))], dim=1) if pooling == "mean+max" else mean
