"""`ModelSource`: what sources that are a blueprint and a file of weights have in common."""

from abc import abstractmethod
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from retarget.core.errors import SourceError
from retarget.core.hashing import hash_json
from retarget.sources import saved
from retarget.sources.blueprint import Blueprint
from retarget.sources.source import Source

if TYPE_CHECKING:
    from torch import Tensor

    from retarget.sources.encoder import Encoder


class ModelSource(Source):
    """A source whose encoder is built from a blueprint and filled with weights.

    The first `load` or `save` keeps a converted copy under the cache folder, from which later
    saves copy without importing torch.
    """

    @cached_property
    @abstractmethod
    def blueprint(self) -> Blueprint:
        """What is built. Imports nothing heavy. Raises `SourceError` where it can't be had."""

    @abstractmethod
    def weights_digest(self) -> str:
        """Return the digest of the weights' bytes, without importing torch."""

    @abstractmethod
    def weights(self) -> "Mapping[str, Tensor] | int":
        """Return tensors by the model's own names, or the seed of random ones."""

    @cached_property
    def fingerprint(self) -> str:
        """Digest of weights, blueprint and library versions. Raises `SourceError`."""
        return hash_json(
            {
                "blueprint": self.blueprint.record(),
                "versions": self.blueprint.versions(),
                "weights": self.weights_digest(),
            }
        )

    def load(self) -> "Encoder":
        """Return the model, in evaluation mode on the CPU. Raises `SourceError`."""
        encoder = self.blueprint.build(self.weights())
        if not saved.is_kept(self.fingerprint):
            saved.keep(self, self.blueprint, encoder)
        return encoder

    def random(self, seed: int = 0) -> Source:
        """Return the same architecture with random weights."""
        from retarget.sources.randomised import RandomSource

        return RandomSource(self, seed)

    def save(self, folder: Path) -> None:
        """Write `source.json` and `model.safetensors` into `folder`. Raises `SourceError`."""
        if saved.is_kept(self.fingerprint):
            try:
                saved.copy_kept(self.fingerprint, folder)
            except SourceError:
                # A damaged copy is made anew from where it came from.
                saved.discard(self.fingerprint)
            else:
                return
        encoder = self.blueprint.build(self.weights())
        saved.keep(self, self.blueprint, encoder)
        saved.write(self, self.blueprint, encoder, folder)
