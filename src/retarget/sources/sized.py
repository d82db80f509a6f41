"""`SOURCE?size=N`: the same weights on pictures of another size."""

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from retarget.core.errors import SourceError, UsageError
from retarget.sources.blueprint import Blueprint
from retarget.sources.model_source import ModelSource
from retarget.sources.source import Facts, Source

if TYPE_CHECKING:
    from torch import Tensor

    from retarget.sources.encoder import Encoder

SIZED = re.compile(r"(.*)[?&]size=([^?&]*)")
LEAST, MOST = 16, 2048


class SizedSource(ModelSource):
    """Another source whose pictures enter at another size: its recipe in proportion.

    Models that take pictures of one size only raise `SourceError` when they are loaded.
    """

    def __init__(self, inner: ModelSource, side: int) -> None:
        self.inner = inner
        self.side = side
        self.uri = f"{inner.uri}{'&' if '?' in inner.uri else '?'}size={side}"

    @property
    def facts(self) -> Facts:
        """What is known of the model."""
        known = self.inner.facts
        return replace(known, title=f"{known.title}, input of {self.side} pixels")

    @cached_property
    def blueprint(self) -> Blueprint:
        """That of the other source, at this size."""
        return replace(self.inner.blueprint, side=self.side)

    def weights_digest(self) -> str:
        """Return that of the other source."""
        return self.inner.weights_digest()

    def weights(self) -> "Mapping[str, Tensor] | int":
        """Return those of the other source."""
        return self.inner.weights()

    def load(self) -> "Encoder":
        """Return the model, in evaluation mode on the CPU. Raises `SourceError`."""
        try:
            return super().load()
        except SourceError as error:
            self.inner.load()  # where it fails at its own size as well, that is the trouble
            raise SourceError(
                f"{self.inner.uri} does not take pictures of {self.side} pixels ({error}) "
                f"Use it at its own size, as {self.inner.uri}, or try a multiple of its patches."
            ) from error


def sized(inner: Source, text: str) -> Source:
    """Return a source at the size that was asked for. Raises `UsageError`."""
    if not text.isdecimal() or not LEAST <= int(text) <= MOST:
        raise UsageError(f"size={text} is no size: give pixels from {LEAST} to {MOST:,}.")
    if not isinstance(inner, ModelSource):
        raise UsageError(f"{inner.uri} has one size only. Leave out ?size={text}.")
    return SizedSource(inner, int(text))
