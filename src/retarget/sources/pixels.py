"""`pixels:`: the picture itself, the denominator that no model needs."""

import struct
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from retarget.core.errors import SourceError, UsageError
from retarget.core.hashing import hash_file, hash_json
from retarget.core.paths import written_whole
from retarget.sources import saved
from retarget.sources.blueprint import Blueprint
from retarget.sources.registry import PLAIN, register
from retarget.sources.source import Facts, Source

if TYPE_CHECKING:
    from retarget.sources.encoder import Encoder

# Raised whenever what the encoder computes changes.
EDITION = 2


class PixelSource(Source):
    """Small pixels and histograms of gradients."""

    uri = "pixels:"

    @property
    def facts(self) -> Facts:
        """What a person wants to know."""
        return Facts(
            modality="image",
            title="Pixels and gradient histograms",
            licence="Apache-2.0",
            parameters=0,
            megabytes=0.0,
            pretrained=False,
        )

    @property
    def blueprint(self) -> Blueprint:
        """What is built."""
        return Blueprint("pixels", "pixels")

    @cached_property
    def fingerprint(self) -> str:
        """Digest of the edition of the code and of the library versions."""
        return hash_json({"pixels": EDITION, "versions": self.blueprint.versions()})

    def load(self) -> "Encoder":
        """Return the encoder."""
        from retarget.sources.pixel_encoder import PixelEncoder

        return PixelEncoder()

    def random(self, seed: int = 0) -> Source:
        """Raise `SourceError`: there are no weights."""
        raise SourceError("pixels: has no weights, so there is no random version of it.")

    def save(self, folder: Path) -> None:
        """Write the record and an empty file of weights, without importing torch."""
        with written_whole(folder / saved.WEIGHTS) as part:
            part.write_bytes(struct.pack("<Q", 2) + b"{}")
            digest = hash_file(part)
        saved.write_record(self, self.blueprint, None, digest, folder)


PLAIN["image"] = PixelSource.uri


@register("pixels")
def pixels(name: str) -> Source:
    """Return `pixels:`."""
    if name:
        raise UsageError(f"pixels: takes no name, but {name!r} was given. Write pixels:")
    return PixelSource()
