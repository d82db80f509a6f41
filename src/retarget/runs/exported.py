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
# What so many roundings of a model's features explain is no fault of what was written.
ROUNDINGS, DRAWS = 100, 3
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


def checked(
    difference: float, model: TransferModel, encoders: Sequence[Encoder], raws: Sequence[Any]
) -> None:
    """Raise `StoreError` where an export does not agree with the model to 1e-4, and say so where
    that is the rounding of float32."""
    if difference <= PARITY:
        return
    told = f"What was written differs from the model by {difference:.2g}, more than {PARITY:g}"
    moved = moved_by_rounding(model, encoders, raws)
    if difference <= ROUNDINGS * moved:
        raise StoreError(
            f"{told}, because the model's head is steep: rounding what it reads to float32 once "
            f"moves its predictions by {moved:.2g}, and a model rounds many times. It was not "
            "kept. Fit with another --layer or --pooling, whose features differ by more than "
            "rounding, or with more labels."
        )
    raise StoreError(f"{told}; it was not kept. Please report this with the source {model.source}.")


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
    layers, owners = _read(model, encoders, raws)
    return model.predict([found.__getitem__ for found in layers], owners), owners


def moved_by_rounding(
    model: TransferModel, encoders: Sequence[Encoder], raws: Sequence[Any]
) -> float:
    """Return how far the predictions move, at most, where all that heads read moves up or down by
    half of the last digit of its largest number."""
    layers, owners = _read(model, encoders, raws)
    random, said = np.random.default_rng(0), []
    for _ in range(DRAWS):
        near = [{k: _nudged(v, random) for k, v in found.items()} for found in layers]
        said.append(model.predict([found.__getitem__ for found in near], owners))
    ours = model.predict([found.__getitem__ for found in layers], owners)
    return max(difference_of(ours, theirs) for theirs in said)


def _nudged(features: FloatArray, random: np.random.Generator) -> FloatArray:
    step = float(np.finfo(np.float32).eps) / 2 * float(np.abs(features).max(initial=0.0))
    moved: FloatArray = features + step * random.choice([-1.0, 1.0], features.shape)
    return moved


def _read(
    model: TransferModel, encoders: Sequence[Encoder], raws: Sequence[Any]
) -> tuple[list[dict[str, FloatArray]], IntArray | None]:
    """Return what heads may read of each encoder, row by row, and the input of each row."""
    owners = None
    if model.kind == "tagging":
        owners = np.repeat(np.arange(len(raws)), [len(raw.words) for raw in raws])
    layers = []
    with torch.inference_mode():
        for encoder in encoders:
            batch = encoder.collate([encoder.prepare(raw) for raw in raws])
            found = encoder.pooled(batch, model.pooling)
            layers.append({k: rows_of(model, value.numpy(), raws) for k, value in found.items()})
    return layers, owners


def rows_of(model: TransferModel, found: FloatArray, raws: Sequence[Any]) -> FloatArray:
    """Return one row for each raw input, of tagging one for each word."""
    if model.kind != "tagging":
        return found
    words = [row[: len(raw.words)] for row, raw in zip(found, raws, strict=True)]
    return np.concatenate(words)
