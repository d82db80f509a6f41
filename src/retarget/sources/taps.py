"""Encoders over a model of another library: layers are tapped where its modules end."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from retarget.core.errors import SourceError
from retarget.sources.encoder import Encoder, Layer, Pooling, pool
from retarget.sources.recipe import Recipe

Format = Literal["NCHW", "NHWC", "NLC", "NCL", "NC"]

MAX_TAPS = 12
LAST = "pooled"


class ModelEncoder(Encoder):
    """An encoder over another library's model, with a recipe for its pictures.

    Attributes:
        model: the other library's module, in evaluation mode, without a classifier.
        recipe: its preprocessing.
    """

    def __init__(self, model: nn.Module, recipe: Recipe) -> None:
        super().__init__()
        self.model = model.eval()
        self.recipe = recipe
        self.detail = recipe.detail
        self.input_shape = (3, *recipe.size)

    def prepare(self, raw: Any) -> Tensor:
        """Return an RGB picture as (3, h, w) float32. Safe to call from several threads."""
        return torch.from_numpy(self.recipe.apply(raw))

    def preprocessing(self) -> Mapping[str, Any]:
        """Return the recipe of `prepare`, JSON-able: see `Recipe` for how to follow it."""
        return self.recipe.record()

    def weights(self) -> dict[str, Tensor]:
        """Return the model's tensors under its own names."""
        return dict(self.model.state_dict())


@dataclass(frozen=True)
class _Tap:
    """A forward hook that lays the output of a module into `seen`. Copies with its encoder."""

    seen: dict[str, Tensor]
    name: str

    def __call__(self, module: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            self.seen[self.name] = output


class TappedEncoder(ModelEncoder):
    """An encoder whose layers are outputs of the model's modules, then what its head would read.

    One forward pass gives all. An encoder serves one forward pass at a time.
    """

    def __init__(
        self, model: nn.Module, recipe: Recipe, taps: Mapping[str, int], name: str = ""
    ) -> None:
        """Tap the modules named in `taps` (with their channels, 0 where not known)."""
        super().__init__(model, recipe)
        self._seen: dict[str, Tensor] = {}
        for tap in spread(list(taps)):
            model.get_submodule(tap).register_forward_hook(_Tap(self._seen, tap))
        self._formats = self._probe(taps, name or type(model).__name__)

    @abstractmethod
    def last(self, batch: Tensor) -> Tensor:
        """Run the model; return what its head would read (b, d)."""

    def _raw(self, batch: Tensor) -> dict[str, Tensor]:
        """Return the outputs of the tapped modules as they are, in order of calling."""
        self._seen.clear()
        last = self.last(batch)
        outputs = {**self._seen, LAST: last}
        self._seen.clear()
        return outputs

    @torch.no_grad()
    def _probe(self, taps: Mapping[str, int], name: str) -> dict[str, Format]:
        """Run one picture through the model, to see what its layers look like."""
        try:
            outputs = self._raw(torch.zeros(1, *self.input_shape))
        except (RuntimeError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise SourceError(
                f"{name} can't be used as an encoder of pictures: its forward pass failed "
                f"({type(error).__name__}: {error})."
            ) from error
        patches = self._patches()
        formats: dict[str, Format] = {}
        layers = []
        for tap, output in outputs.items():
            known = None if tap == LAST else taps[tap]
            form = layout(output, known or 0, self._channels_last())
            if form is None:
                continue
            formats[tap] = form
            tokens = as_tokens(output, form)
            layers.append(Layer(tap, tokens.shape[2], self._prefix(form, tokens, patches)))
        if formats.get(LAST) != "NC":
            raise SourceError(f"{name} gives no vector for a picture: it has no pooled features.")
        self.layers = tuple(layers)
        return formats

    def _channels_last(self) -> bool:
        return getattr(self.model, "output_fmt", None) == "NHWC"

    def _patches(self) -> int | None:
        """Return the number of places of the model's token grid, where it says so."""
        number = getattr(getattr(self.model, "patch_embed", None), "num_patches", None)
        return number if isinstance(number, int) else None

    def _prefix(self, form: Format, tokens: Tensor, patches: int | None) -> int:
        """Return how many leading tokens are no places."""
        prefix = int(getattr(self.model, "num_prefix_tokens", 0) or 0)
        whole = tokens.shape[1] == patches or tokens.shape[1] <= prefix
        return prefix if form == "NLC" and not whole else 0

    def forward(self, batch: Tensor) -> dict[str, Tensor]:
        """Return, for every layer, its tokens (b, t, d); for `pooled` t = 1."""
        outputs = self._raw(batch)
        return {k.name: as_tokens(outputs[k.name], self._formats[k.name]) for k in self.layers}

    def pooled(self, batch: Tensor, pooling: Pooling) -> dict[str, Tensor]:
        """Return every layer pooled: (b, width) float32, or (b, t, d) for `tokens`.

        Maps are pooled where they lie, which spares turning large early layers around.
        """
        outputs = self._raw(batch)
        return {
            k.name: _pool(outputs[k.name], self._formats[k.name], k.prefix, pooling)
            for k in self.layers
        }


def spread(names: list[str]) -> list[str]:
    """Return at most `MAX_TAPS` of the names, evenly spread, the last one included."""
    if len(names) <= MAX_TAPS:
        return names
    step = (len(names) - 1) / (MAX_TAPS - 1)
    return [names[round(i * step)] for i in range(MAX_TAPS)]


def layout(output: Tensor, channels: int, channels_last: bool) -> Format | None:
    """Return how an output of one picture lies, given its channels (0: not known)."""
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
