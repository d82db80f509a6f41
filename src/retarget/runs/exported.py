"""What every export leaves, and how closely it must agree with the model."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from retarget.core.errors import StoreError
from retarget.core.types import FloatArray, IntArray
from retarget.methods.model import TransferModel
from retarget.sources.encoder import Encoder
from retarget.tasks.words import worded

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


def tried(model: TransferModel, raws: Sequence[Any]) -> list[Any]:
    """Return raw inputs as a model of this kind is given them: where it tags, with their words."""
    return [worded(raw) for raw in raws] if model.kind == "tagging" else list(raws)


def difference_of(ours: FloatArray, theirs: FloatArray) -> float:
    """Return the largest difference; of values larger than one relative to the largest."""
    scale = max(1.0, float(np.abs(ours).max(initial=0.0)))
    return float(np.abs(theirs.reshape(ours.shape) - ours).max(initial=0.0)) / scale


def model_says(
    model: TransferModel, encoders: Sequence[Encoder], raws: Sequence[Any]
) -> tuple[FloatArray, IntArray | None]:
    """Return what the model says of raw inputs, row by row, and the input of each row (tagging)."""
    owners = None
    if model.kind == "tagging":
        owners = np.repeat(np.arange(len(raws)), [len(raw.words) for raw in raws])
    layers = []
    with torch.inference_mode():
        for encoder in encoders:
            batch = encoder.collate([encoder.prepare(raw) for raw in raws])
            found = encoder.pooled(batch, model.pooling)
            rows = {name: rows_of(model, value.numpy(), raws) for name, value in found.items()}
            layers.append(rows.__getitem__)
    return model.predict(layers, owners), owners


def rows_of(model: TransferModel, found: FloatArray, raws: Sequence[Any]) -> FloatArray:
    """Return one row for each raw input, of tagging one for each word."""
    if model.kind != "tagging":
        return found
    words = [row[: len(raw.words)] for row, raw in zip(found, raws, strict=True)]
    return np.concatenate(words)
