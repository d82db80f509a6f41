"""What a pass is asked to do, known before anything heavy is imported."""

from dataclasses import dataclass

from retarget.core.types import IntArray, Pooling
from retarget.features.features import Space
from retarget.sources.source import Source


@dataclass(frozen=True)
class Order:
    """How a pass is to be run: see `extract`."""

    pooling: Pooling
    engine: str
    device: str


@dataclass(frozen=True)
class Plan:
    """One encoder of a pass: `rows` are the examples that miss, in order, each id once."""

    source: Source
    space: Space | None
    rows: IntArray
