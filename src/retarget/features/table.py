"""`Table`: features of some examples, in memory, as methods and choices read them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from retarget.core.hashing import hash_array, hash_json
from retarget.core.types import FloatArray, IntArray
from retarget.features.features import Features


@dataclass(frozen=True)
class Table:
    """All layers of one source for some examples.

    Attributes:
        uri: the source.
        matrix: (n, width) float32, all layers side by side.
        columns: where each layer lies, shallow to deep.
        cost: of the encoder's pass for one example, in multiply-adds; only ever compared.
        seconds_per_example: what the pass was measured to take.
    """

    uri: str
    matrix: FloatArray
    columns: Mapping[str, slice]
    cost: float
    seconds_per_example: float

    @classmethod
    def read(cls, features: Features, rows: IntArray) -> "Table":
        """Read the examples at `rows` from the store."""
        columns = {name: features.space.columns(name) for name in features.layers}
        matrix = features.store.read(features.space, features.ids[rows], features.layers)
        return cls(
            features.uri,
            matrix,
            columns,
            features.space.operations,
            features.seconds_per_example,
        )

    @cached_property
    def digest(self) -> str:
        """Digest of what makes it what it is: its numbers, and where each layer's lie."""
        columns = [(name, at.start, at.stop) for name, at in self.columns.items()]
        return hash_json([self.uri, columns, hash_array(self.matrix)])

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers, shallow to deep."""
        return tuple(self.columns)

    def layer(self, name: str) -> FloatArray:
        """Return (n, d) float32 of one layer."""
        return self.matrix[:, self.columns[name]]

    def take(self, rows: IntArray) -> "Table":
        """Return the table of the examples at `rows`."""
        return replace(self, matrix=self.matrix[rows])
