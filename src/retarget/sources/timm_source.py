"""`timm:NAME`: any timm model with its pretrained weights, from the hub or its local cache."""

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from retarget.core.errors import SourceError, UsageError
from retarget.core.hashing import hash_file_once, version_of
from retarget.core.paths import cache_dir, written_whole
from retarget.core.text import printable
from retarget.sources import hub, saved
from retarget.sources.blueprint import NAME, Blueprint
from retarget.sources.model_source import ModelSource
from retarget.sources.registry import lists, register
from retarget.sources.source import Facts, Source
from retarget.sources.well_known import KNOWN_TIMM

if TYPE_CHECKING:
    from torch import Tensor

_FILES = ("model.safetensors", "pytorch_model.bin")


class TimmSource(ModelSource):
    """A pretrained timm model. A name without a tag means timm's default weights for it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.uri = f"timm:{name}"

    @property
    def facts(self) -> Facts:
        """What a person wants to know; little for a model that isn't well known."""
        here = self._cached() is not None
        known = KNOWN_TIMM.get(self.name, Facts("image", self.name))
        how = "" if here else "fetched from the hub when first used"
        return replace(known, here=here, how_to_get=how)

    @cached_property
    def blueprint(self) -> Blueprint:
        """The model of that name, with timm's own preprocessing."""
        return Blueprint("timm", self.name)

    def _cached(self) -> Path | None:
        """Return the file of weights in the local caches, if timm need not be asked for it."""
        noted = _places().get(self.name)
        place = noted or (f"timm/{self.name}" if "." in self.name else None)
        if place is None:
            return None
        if place.startswith("https:"):
            home = os.environ.get("TORCH_HOME") or Path.home() / ".cache" / "torch"
            path = Path(home) / "hub" / "checkpoints" / place.rsplit("/", 1)[-1]
            return path if path.is_file() else None
        return hub.cached_file(place, *_FILES)

    def weights_digest(self) -> str:
        """Return the digest of the cached file, fetching it if it isn't there."""
        return hash_file_once(self._file())

    def weights(self) -> "Mapping[str, Tensor]":
        """Return the tensors, from the converted copy if there is one, else through timm."""
        if (kept := saved.kept_tensors(self.fingerprint)) is not None:
            return kept
        from retarget.sources.timm_encoder import pretrained_tensors

        return pretrained_tensors(self.name, self._file())

    def _file(self) -> Path:
        """Return the cached file of weights, fetching it if it isn't there."""
        if path := self._cached():
            return path
        place = self._remember_place()
        if path := self._cached():
            return path
        hub.check_reachable(self.uri, place)
        from retarget.sources.timm_encoder import fetch

        fetch(self.name)
        if path := self._cached():
            return path
        raise SourceError(f"The weights of {self.uri} were fetched to an unknown place.")

    def _remember_place(self) -> str:
        """Note where timm says the weights are, so that it need not be imported to know."""
        from retarget.sources.timm_encoder import place_of_weights

        place = place_of_weights(self.name)
        with written_whole(_notes()) as part:
            part.write_text(json.dumps({**_places(), self.name: place}), encoding="utf-8")
        return place


def _notes() -> Path:
    return cache_dir() / "encoders" / f"timm-{version_of('timm')}.json"


def _places() -> dict[str, str]:
    """Return name → hub repository or address of weights, as far as they were asked for."""
    try:
        places = json.loads(_notes().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return places if isinstance(places, dict) else {}


@register("timm")
def timm_source(name: str) -> Source:
    """Return `timm:NAME`."""
    if not NAME.fullmatch(name):
        raise UsageError(
            f"{printable(name)!r} is no name of a timm model, such as resnet18.a1_in1k."
        )
    return TimmSource(name)


@lists
def well_known_timm() -> list[Source]:
    """Return well-known timm models."""
    return [TimmSource(name) for name in KNOWN_TIMM]
