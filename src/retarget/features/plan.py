"""What a pass is asked to do, known before anything heavy is imported."""

from dataclasses import dataclass

from retarget.core.errors import UsageError
from retarget.core.text import printable
from retarget.core.types import IntArray, Pooling
from retarget.features.devices import pick_device
from retarget.features.features import Space
from retarget.sources.source import Source

ENGINES = ("auto", "eager", "onnx", "compiled")


def check_means(engine: str, device: str) -> None:
    """Refuse an engine or a device that is not here, also where all features are kept already.

    Raises `UsageError`. PyTorch is imported only to ask about a device other than the CPU.
    """
    if engine not in ENGINES:
        raise UsageError(
            f"there is no engine {printable(engine)!r}. Say auto, eager, onnx or compiled"
        )
    if device not in ("auto", "cpu"):
        pick_device(device)


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
