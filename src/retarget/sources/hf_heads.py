"""Heads of transformers' own classes, made to say what one linear head says.

Those classes lead a text's vector through a layer of their own that bends what it is given. What
comes out is straight nevertheless where a tanh or GELU gets numbers so small that nothing is bent,
where a ReLU gets none below zero, and where a LayerNorm gets two constants so large beside the
rest that its scale is theirs. Powers of two scale exactly, and what is subtracted first is not lost
in large sums. Where there is no layer between, the head is the class's own.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from retarget.core.errors import UsageError
from retarget.sources.hub_folder import LinearOutput

# tanh(t) = t (1 - t²/3 …), GELU(t) = t/2 (1 + 0.8 t …): neither to be seen at these in float32.
SMALL, SMALLER = 2.0**-20, 2.0**-40

Layer = tuple[Tensor, Tensor]  # weight and bias
Straight = Callable[[Any, nn.Linear, LinearOutput], tuple[Layer, Layer]]


@dataclass(frozen=True)
class Seat:
    """Where a class has its head.

    Attributes:
        layer: the layer before the head, by its name in the class.
        head: the head.
        straight: (class, layer, output) → the layer's and the head's weights.
        pooling: ways of pooling that the class knows → settings that ask for them.
        settings: others that `straight` needs.
        words: whether the class that decides about words has the same layer.
    """

    layer: str
    head: str
    straight: Straight
    pooling: Mapping[str, Mapping[str, str]] = field(default_factory=lambda: {"cls": {}})
    settings: Mapping[str, Any] = field(default_factory=dict)
    words: bool = False

    def fill(self, model: Any, output: LinearOutput) -> None:
        """Write a head into a model of the class. Raises `UsageError` where it has no room."""
        layer, head = model.get_submodule(self.layer), model.get_submodule(self.head)
        for module, (weight, bias) in zip(
            (layer, head), self.straight(model, layer, output), strict=True
        ):
            _fill(module, weight, bias)


def fill_plain(model: Any, head: str, output: LinearOutput) -> None:
    """Write a head into a model that has nothing between a layer and its head."""
    weight, bias, centre = _tensors(output)
    _fill(model.get_submodule(head), weight, bias - weight @ centre)


def _fill(module: Any, weight: Tensor, bias: Tensor) -> None:
    with torch.no_grad():
        module.weight.copy_(weight)
        module.bias.copy_(bias)


def _tensors(output: LinearOutput) -> tuple[Tensor, Tensor, Tensor]:
    return (
        torch.from_numpy(output.weight),
        torch.from_numpy(output.bias),
        torch.from_numpy(output.centre),
    )


def _tanh(model: Any, layer: nn.Linear, output: LinearOutput) -> tuple[Layer, Layer]:
    return _small(output, SMALL, SMALL)


def _gelu(model: Any, layer: nn.Linear, output: LinearOutput) -> tuple[Layer, Layer]:
    return _small(output, SMALLER, SMALLER / 2)


def _small(output: LinearOutput, scale: float, gain: float) -> tuple[Layer, Layer]:
    """Have the layer give `scale` times what differs from the centre, of which `gain` is left."""
    weight, bias, centre = _tensors(output)
    return (torch.eye(len(centre)) * scale, -centre * scale), (weight / gain, bias)


def _relu(model: Any, layer: nn.Linear, output: LinearOutput) -> tuple[Layer, Layer]:
    """Have the layer add what leaves nothing below zero: what comes out of the LayerNorm at the
    end of DistilBERT is at most √d times its weight, and its bias."""
    weight, bias, centre = _tensors(output)
    norm = model.base_model.transformer.layer[-1].output_layer_norm
    reach = len(centre) ** 0.5 * norm.weight.detach().double().abs()
    lowest = norm.bias.detach().double() - reach
    return (torch.eye(len(centre)), -lowest), (weight, bias - weight @ (centre - lowest))


def _norm(model: Any, layer: nn.Linear, output: LinearOutput) -> tuple[Layer, Layer]:
    """Have the layer give 1, -1, the outputs, very small, and what makes the sum zero: the norm
    divides them by the root mean square, which is that of 1 and -1."""
    weight, bias, centre = _tensors(output)
    k, d = weight.shape
    if k + 3 > d:
        raise UsageError(
            f"{k:,} classes are too many for a model of {d:,} numbers to be a Hugging Face folder; "
            "use --format onnx."
        )
    rows, more = torch.zeros(d, d, dtype=weight.dtype), torch.zeros(d, dtype=weight.dtype)
    more[0], more[1] = 1.0, -1.0
    rows[2 : k + 2], more[2 : k + 2] = weight * SMALL, (bias - weight @ centre) * SMALL
    rows[k + 2], more[k + 2] = -rows[2 : k + 2].sum(0), -more[2 : k + 2].sum()
    read = torch.zeros(k, d, dtype=weight.dtype)
    norm = model.head.norm
    read[:, 2 : k + 2] = torch.eye(k) * (2.0 / d + norm.eps) ** 0.5 / SMALL
    with torch.no_grad():
        norm.weight.fill_(1.0)
        if norm.bias is not None:
            norm.bias.zero_()
    return (rows, more), (read, torch.zeros(k, dtype=weight.dtype))


_ROBERTA = Seat("classifier.dense", "classifier.out_proj", _tanh)
SEATS: dict[str, Seat] = {
    "bert": Seat("bert.pooler.dense", "classifier", _tanh),
    "albert": Seat("albert.pooler", "classifier", _tanh),
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
    "camembert": _ROBERTA,
    "mpnet": _ROBERTA,
    "distilbert": Seat("pre_classifier", "classifier", _relu),
    "electra": Seat("classifier.dense", "classifier.out_proj", _gelu),
    "eurobert": Seat(
        "dense",
        "classifier",
        _gelu,
        {"cls": {"classifier_pooling": "bos"}, "mean": {"classifier_pooling": "mean"}},
    ),
    "modernbert": Seat(
        "head.dense",
        "classifier",
        _norm,
        {"cls": {"classifier_pooling": "cls"}, "mean": {"classifier_pooling": "mean"}},
        {"classifier_bias": True, "classifier_activation": "linear"},
        words=True,
    ),
}
