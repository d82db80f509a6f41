"""`Source`: what a pretrained model is, known without loading it."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from retarget.core.types import Modality

if TYPE_CHECKING:
    from retarget.sources.encoder import Encoder


@dataclass(frozen=True)
class Facts:
    """What a person wants to know before choosing a source. `None` and "" mean: not known."""

    modality: Modality
    title: str
    trained_on: str = ""
    licence: str = ""
    parameters: int | None = None
    megabytes: float | None = None
    here: bool = True
    pretrained: bool = True
    how_to_get: str = ""


class Source(ABC):
    """A pretrained model by its URI. Making one is cheap and imports nothing heavy.

    `uri` is canonical: resolving it again gives the same source.
    """

    uri: str

    @property
    @abstractmethod
    def facts(self) -> Facts:
        """What a person wants to know. Never touches a network."""

    @cached_property
    @abstractmethod
    def fingerprint(self) -> str:
        """Digest of all that decides the features: weights, architecture, preprocessing, library
        versions. Found without importing torch where the weights are a local file. Equal
        fingerprints mean equal features. Raises `SourceError` where the weights can't be had.
        """

    @abstractmethod
    def load(self) -> "Encoder":
        """Return the model, in evaluation mode on the CPU. Raises `SourceError`."""

    @abstractmethod
    def random(self, seed: int = 0) -> "Source":
        """Return the same architecture with random weights (`random:…`), the denominator of
        transfer gain. Raises `SourceError` for a source that has no weights to randomise."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write `source.json` and `model.safetensors` into `folder`, which `file:FOLDER` opens to
        an equal encoder (same fingerprint) with no network. Copies files, without importing
        torch, where this encoder was saved or loaded before on this machine.
        """
