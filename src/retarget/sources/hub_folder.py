"""`HubFolder`: an encoder with one linear head, as a folder that transformers' pipelines open."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from retarget.core.types import BoolArray, FloatArray, Kind


@dataclass(frozen=True)
class LinearOutput:
    """What a model makes of one layer: `weight @ (x - centre) + bias`, before softmax or sigmoid.

    Attributes:
        kind: of target.
        classes: in the order of the outputs.
        weight: (K, D) float64.
        centre: (D,) float64.
        bias: (K,) float64.
    """

    kind: Kind
    classes: tuple[str, ...]
    weight: FloatArray
    centre: FloatArray
    bias: FloatArray


class HubFolder(ABC):
    """What an encoder can be as a folder, with the pooling of a model.

    Attributes:
        pipeline: the task that `transformers.pipeline` opens it for.
        noun: what one raw input is called.
        fit_with: what to ask a fit for, so that a head is one that can be said there.
        tried: raw inputs on which it is compared with the model.
        notes: what a person should know of it.
    """

    pipeline: ClassVar[str]
    noun: ClassVar[str] = "input"
    fit_with: str
    tried: Sequence[Any]
    notes: tuple[str, ...]

    @abstractmethod
    def refuse(self, layer: str) -> None:
        """Raise `UsageError`, with what to do, where a head on that layer can't be said."""

    @abstractmethod
    def write(self, output: LinearOutput, folder: Path) -> None:
        """Write it. Raises `UsageError` where the library's class is another than is known."""

    @abstractmethod
    def says(
        self, folder: Path, raws: Sequence[Any], classes: Sequence[str]
    ) -> tuple[FloatArray, BoolArray]:
        """Return what the library, given the folder alone, says of raw inputs (n, K), and which of
        the model's rows it says something of."""
