"""`Intake`: what a graph of encoders takes in where it runs by itself, and what goes beside it."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

if TYPE_CHECKING:
    from torch import Tensor

    from retarget.sources.encoder import Encoder


@dataclass(frozen=True)
class Entry:
    """One input of a graph.

    Attributes:
        name: the graph's for it.
        shape: sizes, or names of those that are free; the first is the batch.
        type: of its numbers.
        told: what else a person should know of it, JSON-able.
    """

    name: str
    shape: tuple[int | str, ...]
    type: Literal["float32", "int64"]
    told: Mapping[str, Any] = field(default_factory=dict)

    def record(self) -> dict[str, Any]:
        """Return it, JSON-able."""
        return {"name": self.name, "shape": list(self.shape), "type": self.type, **self.told}

    def free(self) -> dict[int, str]:
        """Return the names of its free axes."""
        return {i: size for i, size in enumerate(self.shape) if isinstance(size, str)}


class Intake(ABC):
    """What the encoders of one model take in. Those that read alike share a batch.

    Attributes:
        raw: what a person gives the example, as its command line shows it.
        numbers: which batch each encoder reads, counted from 0.
        owners: an encoder of each batch, which prepares it.
        entries: of each batch the graph's inputs that it is made of.
        tried: raw inputs on which a graph is compared with the model.
        compared: what these are, in words.
        files: what goes beside the graph to read raw inputs: name → content.
        card: what there is to say of reading besides the entries, JSON-able.
    """

    raw: ClassVar[str]
    entries: tuple[tuple[Entry, ...], ...]
    tried: Sequence[Any]
    compared: str
    files: Mapping[str, str]
    card: Mapping[str, Any]

    def __init__(self, encoders: "Sequence[Encoder]", told: Sequence[Any]) -> None:
        """Have those encoders share a batch of which the same is `told`."""
        different = [one for i, one in enumerate(told) if one not in told[:i]]
        self.numbers = tuple(different.index(one) for one in told)
        self.owners = tuple(encoders[self.numbers.index(i)] for i in range(len(different)))

    def apart(self, batch: "Tensor") -> "tuple[Tensor, ...]":
        """Return a batch as its entries."""
        return (batch,)

    def joined(self, parts: "Sequence[Tensor]") -> "Tensor":
        """Return entries as the batch that encoders read: part of the graph."""
        (batch,) = parts
        return batch

    @abstractmethod
    def example(self, answer: str = "") -> str:
        """Return a program that reads raw inputs with the files beside it, without this package.

        `answer` stands in place of its last lines where what the graph gives isn't yet what is
        asked for. It finds `CARD`, `fed(raw)`, `SESSION` and `given()`, the raw inputs.
        """

    def batches(self, raws: Sequence[Any]) -> "list[Tensor]":
        """Return the batches that hold some raw inputs."""
        return [e.collate([e.prepare(raw) for raw in raws]) for e in self.owners]

    def fed(self, raws: Sequence[Any]) -> "dict[str, Tensor]":
        """Return what the graph takes in of some raw inputs, by the names of its inputs."""
        found: dict[str, Tensor] = {}
        for entries, batch in zip(self.entries, self.batches(raws), strict=True):
            parts = self.apart(batch)
            found |= {entry.name: part for entry, part in zip(entries, parts, strict=True)}
        return found
