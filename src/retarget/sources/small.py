"""`small:`: a small network without pretraining, the fair rival of transfer on small data."""

from functools import cached_property

from retarget.core.errors import UsageError
from retarget.core.hashing import hash_json
from retarget.sources.blueprint import Blueprint
from retarget.sources.model_source import ModelSource
from retarget.sources.registry import register
from retarget.sources.source import Facts

# Raised whenever what the network computes from its weights changes.
EDITION = 1


class SmallSource(ModelSource):
    """Four convolutions with random weights of seed 0; `random` gives those of other seeds."""

    uri = "small:"

    @property
    def facts(self) -> Facts:
        """What a person wants to know."""
        return Facts(
            modality="image",
            title="Small CNN at 64 pixels",
            licence="Apache-2.0",
            parameters=388_896,
            megabytes=1.6,
            pretrained=False,
        )

    @cached_property
    def blueprint(self) -> Blueprint:
        """What is built."""
        return Blueprint("small", "cnn", {"edition": EDITION})

    def weights_digest(self) -> str:
        """Return the digest of the seed: it decides the weights."""
        return hash_json({"random": 0})

    def weights(self) -> int:
        """Return the seed."""
        return 0


@register("small")
def small(name: str) -> SmallSource:
    """Return `small:`."""
    if name:
        raise UsageError(f"small: takes no name, but {name!r} was given. Write small:")
    return SmallSource()
