"""Layers that the makers of a model put behind its pooling: sentence-transformers' Dense."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from retarget.core.errors import SourceError
from retarget.core.text import listed, printable
from retarget.sources.random_state import own_random_state
from retarget.sources.weights import fill

PREFIX = "dense."  # of their tensors, beside those of the model
MOST_WIDE, MOST_DEEP = 16_384, 8
ACTIVATIONS: Mapping[str, type[nn.Module]] = {
    kind.__name__: kind for kind in (nn.Identity, nn.Tanh, nn.ReLU, nn.GELU, nn.SiLU, nn.Sigmoid)
}


@dataclass(frozen=True)
class DenseShape:
    """A linear layer and what bends its outputs.

    Attributes:
        inputs: numbers that it reads.
        outputs: numbers that it gives.
        bias: whether something is added before the bend.
        activation: the bend, by its name in `ACTIVATIONS`.
        residual: whether its input is added to what comes out, by another linear layer where
            that has another width.
    """

    inputs: int
    outputs: int
    bias: bool
    activation: str
    residual: bool

    def record(self) -> dict[str, Any]:
        """Return it, JSON-able."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: Any) -> "DenseShape":
        """Return what `record()` described. Raises `SourceError`."""
        names = [field.name for field in fields(cls)]
        if not isinstance(record, dict) or set(record) != set(names):
            raise SourceError(f"A dense layer is said by {', '.join(names)}, all of them.")
        wide = [record["inputs"], record["outputs"]]
        good = all(type(n) is int and 1 <= n <= MOST_WIDE for n in wide)
        if not good or not all(isinstance(record[name], bool) for name in ("bias", "residual")):
            raise SourceError(
                f"A dense layer behind the pooling is not valid: it has 1 to {MOST_WIDE:,} inputs "
                "and outputs, and is true or false of a bias and of a residual."
            )
        if record["activation"] not in ACTIVATIONS:
            raise SourceError(
                f"A dense layer behind the pooling ends in {printable(str(record['activation']))}, "
                f"which is not known. Known are {listed(tuple(ACTIVATIONS))}."
            )
        return cls(**record)


class DenseLayer(nn.Module):
    """A dense layer: vectors (b, inputs) → (b, outputs), float32."""

    def __init__(self, shape: DenseShape) -> None:
        super().__init__()
        self.linear = nn.Linear(shape.inputs, shape.outputs, bias=shape.bias)
        self.activation = ACTIVATIONS[shape.activation]()
        self.adds = shape.residual
        if shape.residual and shape.inputs != shape.outputs:
            self.residual = nn.Linear(shape.inputs, shape.outputs, bias=False)

    def forward(self, vectors: Tensor) -> Tensor:
        """Return what becomes of the vectors."""
        found: Tensor = self.activation(self.linear(vectors))
        if not self.adds:
            return found
        return found + (self.residual(vectors) if hasattr(self, "residual") else vectors)


def dense_layers(
    shapes: Sequence[DenseShape], weights: Mapping[str, Tensor] | int
) -> nn.Sequential | None:
    """Return layers one behind the other with these weights, or random ones of this seed; `None`
    for none. Raises `SourceError` where one doesn't fit the next, or its weights."""
    if len(shapes) > MOST_DEEP:
        raise SourceError(f"{len(shapes)} dense layers behind the pooling are too many.")
    for one, other in pairwise(shapes):
        if one.outputs != other.inputs:
            raise SourceError(
                f"A dense layer gives {one.outputs:,} numbers, and the next reads {other.inputs:,}."
            )
    if not shapes:
        return None
    with own_random_state(weights if isinstance(weights, int) else 0):
        made = nn.Sequential(*map(DenseLayer, shapes))
    if not isinstance(weights, int):
        fill(made, weights, "the dense layers behind the pooling")
    return made.float().eval()


def apart(
    weights: Mapping[str, Tensor] | int, has_dense: bool
) -> tuple[Mapping[str, Tensor] | int, Mapping[str, Tensor] | int]:
    """Return the weights of the model, and those of its dense layers under their own names; both
    the seed where there is one."""
    if isinstance(weights, int) or not has_dense:
        return weights, weights
    own = {k.removeprefix(PREFIX): v for k, v in weights.items() if k.startswith(PREFIX)}
    return {k: v for k, v in weights.items() if not k.startswith(PREFIX)}, own


def beside(tensors: Mapping[str, Tensor], place: int) -> dict[str, Tensor]:
    """Return the tensors of a dense layer, at its place from 0, as they are named beside those
    of the model."""
    return {f"{PREFIX}{place}.{k}": v.to(torch.float32) for k, v in tensors.items()}
