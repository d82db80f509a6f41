"""`Features`: what extraction leaves: layers of one encoder for the examples of one task."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from retarget.core.types import FloatArray, IntArray, StrArray

if TYPE_CHECKING:
    from retarget.features.store import FeatureStore


@dataclass(frozen=True)
class StoredLayer:
    """A layer as stored: `shape` of one example's features, (d,) pooled or (t, d)."""

    name: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Numbers an example."""
        return int(np.prod(self.shape))


@dataclass(frozen=True)
class Space:
    """The features of one encoder under one pooling: a row holds all layers, shallow to deep.

    `engine` and `batch` are those that first filled it, kept so that later rows are equal to what
    they would have been then. `operations` counts one example's multiply-adds through the encoder,
    0 where they could not be counted.
    """

    fingerprint: str
    pooling: str
    layers: tuple[StoredLayer, ...]
    engine: str
    batch: int
    operations: float = 0.0

    @property
    def half(self) -> bool:
        """Whether numbers are stored in half precision: of words, of which there are many."""
        return self.pooling == "words"

    @property
    def width(self) -> int:
        """Numbers in a row."""
        return sum(layer.size for layer in self.layers)

    def columns(self, layer: str) -> slice:
        """Return where a layer lies in a row. Raises `KeyError`."""
        start = 0
        for known in self.layers:
            if known.name == layer:
                return slice(start, start + known.size)
            start += known.size
        raise KeyError(layer)


@dataclass(frozen=True)
class PassCost:
    """What one pass over the examples cost for one source.

    `extracted` examples went through the encoder, `reused` came from the store. `share_of_peak`
    is the forward pass's multiply-add rate as a share of the machine's measured matrix-multiply
    rate, `None` where the encoder's operations could not be counted or nothing was extracted.
    """

    source: str
    engine: str
    extracted: int
    reused: int
    seconds: float
    per_second: float | None
    share_of_peak: float | None = None


@dataclass(frozen=True)
class Features:
    """The features of a task's examples from one source, read from the store when asked for.

    `uri` names the source; `seconds_per_example` is what the forward pass was measured to cost
    when the space was filled.
    """

    uri: str
    store: "FeatureStore"
    space: Space
    ids: StrArray
    seconds_per_example: float

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers, shallow to deep."""
        return tuple(layer.name for layer in self.space.layers)

    def layer(self, name: str, rows: IntArray | None = None) -> FloatArray:
        """Return (n, *shape) float32 of one layer, of all examples or those at `rows`."""
        ids = self.ids if rows is None else self.ids[rows]
        return self.store.read(self.space, ids, (name,))

    def take(self, rows: IntArray) -> "Features":
        """Return the features of the examples at `rows`."""
        return Features(self.uri, self.store, self.space, self.ids[rows], self.seconds_per_example)
