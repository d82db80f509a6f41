"""What every export leaves, and how closely it must agree with the model."""

from dataclasses import dataclass
from pathlib import Path

from retarget.core.errors import StoreError
from retarget.methods.model import TransferModel

PARITY = 1e-4
GRAPH, CARD, EXAMPLE = "model.onnx", "model.json", "example.py"


@dataclass(frozen=True)
class Exported:
    """What was written, and the largest difference in probabilities (or values, relative).

    Attributes:
        folder: where it lies.
        difference: the largest that was found.
        files: names of what lies there.
        compared: what it was compared with the model on, in words.
        usage: a command that uses it.
        notes: what a person should know of it.
    """

    folder: Path
    difference: float
    files: tuple[str, ...] = ()
    compared: str = ""
    usage: str = ""
    notes: tuple[str, ...] = ()


def checked(difference: float, model: TransferModel) -> None:
    """Raise `StoreError` where an export does not agree with the model to 1e-4."""
    if not difference <= PARITY:
        raise StoreError(
            f"The exported graph differs from the model by {difference:.2g}, more than "
            f"{PARITY:g}; it was not kept. Please report this with the source {model.source}."
        )
