"""Encoders whose weights were changed for a task, written as sources of their own."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from retarget.core.errors import SourceError, StoreError
from retarget.sources import saved
from retarget.sources.blueprint import Blueprint
from retarget.sources.model_source import ModelSource
from retarget.sources.source import Facts, Source

if TYPE_CHECKING:
    from torch import Tensor

    from retarget.sources.encoder import Encoder

THIS_TASK, ANOTHER = "this task", "another task"


class TunedSource(ModelSource):
    """An encoder that was built from another source's blueprint, its weights written since.

    Args:
        origin: the other source.
        encoder: in memory.
        digest: of the file of its weights.
    """

    def __init__(self, origin: ModelSource, encoder: "Encoder", digest: str) -> None:
        self.uri = origin.uri
        self.origin = origin
        self.encoder = encoder
        self._digest = digest

    @property
    def facts(self) -> Facts:
        """Those of the origin, trained on this task too."""
        known = self.origin.facts
        before = known.trained_on or ("other data" if known.pretrained else "")
        before = before.replace(THIS_TASK, ANOTHER)
        trained_on = f"{before} and {THIS_TASK}" if before else THIS_TASK
        return replace(known, trained_on=trained_on, here=True, how_to_get="")

    @property
    def blueprint(self) -> Blueprint:
        """That of the origin."""
        return self.origin.blueprint

    def weights_digest(self) -> str:
        """Return the digest of the file."""
        return self._digest

    def weights(self) -> "Mapping[str, Tensor]":
        """Return the tensors by the model's own names."""
        return self.encoder.weights()


def save_tuned(source: Source, encoder: "Encoder", folder: Path) -> str:
    """Write an encoder that was loaded from `source` and changed since; return its `file:` URI.

    Its record names the source it came from. Its fingerprint is that of its own weights.

    Raises:
        SourceError: the source is no model that can be built from a blueprint.
        StoreError: the folder can't be written.
    """
    if not isinstance(source, ModelSource):
        raise SourceError(f"{source.uri} can't be saved with other weights than its own.")
    try:
        digest = saved.write_weights(encoder, folder)
        tuned, recipe = TunedSource(source, encoder, digest), saved.recipe_of(encoder)
        saved.write_record(tuned, tuned.blueprint, recipe, digest, folder)
    except OSError as error:
        raise StoreError(
            f"The tuned encoder can't be written to {folder} ({error.strerror or error}). Make "
            "room there, or point RETARGET_CACHE at a disk that has some."
        ) from error
    return f"file:{folder}"
