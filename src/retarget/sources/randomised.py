"""`random:…`: an architecture with random weights: what it knows without pretraining."""

import re
from dataclasses import replace
from functools import cached_property

from retarget.core.errors import SourceError, UsageError
from retarget.core.hashing import hash_json
from retarget.sources.blueprint import Blueprint
from retarget.sources.model_source import ModelSource
from retarget.sources.registry import register, resolve
from retarget.sources.source import Facts, Source

_SEED = re.compile(r"(.*)[?&]seed=(\d{1,9})")


class RandomSource(ModelSource):
    """The architecture of another source, its weights drawn from a seed of their own."""

    def __init__(self, inner: ModelSource, seed: int = 0) -> None:
        self.inner = inner
        self.seed = seed
        mark = "&" if "?" in inner.uri else "?"
        self.uri = f"random:{inner.uri}" + (f"{mark}seed={seed}" if seed else "")

    @property
    def facts(self) -> Facts:
        """What is known of the architecture."""
        known = self.inner.facts
        return replace(
            known,
            title=f"{known.title}, random weights",
            trained_on="",
            here=True,
            pretrained=False,
            how_to_get="",
        )

    @cached_property
    def blueprint(self) -> Blueprint:
        """That of the other source."""
        return self.inner.blueprint

    def weights_digest(self) -> str:
        """Return the digest of the seed: it decides the weights."""
        return hash_json({"random": self.seed})

    def weights(self) -> int:
        """Return the seed."""
        return self.seed

    def random(self, seed: int = 0) -> Source:
        """Return the same architecture with other random weights."""
        return RandomSource(self.inner, seed)


@register("random")
def random_source(name: str) -> Source:
    """Return `random:NAME`: NAME is another source's URI, or a plain timm name."""
    seed = 0
    if match := _SEED.fullmatch(name):
        name, seed = match[1], int(match[2])
    if not name:
        raise UsageError("random: needs the name of an architecture, as in random:resnet18.")
    inner = resolve(name if ":" in name else f"timm:{name}")
    try:
        return inner.random(seed)
    except SourceError as error:
        raise UsageError(str(error)) from error
