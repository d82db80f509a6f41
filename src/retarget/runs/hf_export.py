"""Export to a Hugging Face folder: what an encoder says of itself there, and one linear head."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from retarget.core.errors import UsageError
from retarget.core.paths import umask
from retarget.core.text import count
from retarget.methods.heads import LinearHead
from retarget.methods.model import Member, TransferModel
from retarget.runs.exported import Exported, checked, difference_of, model_says, tried
from retarget.sources.encoder import Encoder
from retarget.sources.hf_encoder import quiet
from retarget.sources.hub_folder import HubFolder, LinearOutput
from retarget.sources.source import Source


def export_huggingface(model: TransferModel, sources: Sequence[Source], folder: Path) -> Exported:
    """Write a folder that `transformers.pipeline` opens without a network or code.

    Raises:
        UsageError: no class of transformers says what the model says.
        StoreError: what was written does not agree with the model to 1e-4.
    """
    encoder = sources[0].load()
    written = encoder.hub_folder(model.pooling)
    if written is None:
        raise UsageError(
            f"{sources[0].uri} is no model that a pipeline of transformers opens; use --format "
            "onnx."
        )
    member = _only(model, sources, written)
    raws = tried(model, written.tried)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".export-") as stage, quiet():
        written.write(linear(model, member), Path(stage))
        difference, compared = _compared(model, encoder, written, Path(stage), raws)
        checked(difference, model, [encoder], raws)
        folder.mkdir(exist_ok=True)
        files = sorted(path.name for path in Path(stage).iterdir())
        for name in files:
            (Path(stage) / name).chmod(0o666 & ~umask())
            (Path(stage) / name).replace(folder / name)
    return Exported(
        folder,
        difference,
        files=tuple(files),
        compared=compared,
        usage=f"transformers.pipeline({written.pipeline!r}, model={str(folder)!r}) in Python",
        notes=written.notes,
    )


def _only(model: TransferModel, sources: Sequence[Source], written: HubFolder) -> Member:
    """Return the one head of a model that can be a folder."""
    (member, *others) = model.members
    told = ""
    if others or len(sources) > 1:
        told = f"this one is the average of {len(model.members)} heads"
    elif not isinstance(member.head, LinearHead):
        told = f"this one has a head of {member.method}"
    elif len(member.layers) != 1:
        told = f"this head reads {'+'.join(member.layers)}"
    if told:
        raise UsageError(
            "A Hugging Face folder holds one linear head on the last layer, and "
            f"{told}. Fit with {written.fit_with}, or use --format onnx."
        )
    written.refuse(member.layers[0])
    return member


def linear(model: TransferModel, member: Member) -> LinearOutput:
    """Return what a linear head makes of its layer, with scale and temperatures."""
    head, scale = member.head.arrays(), member.scale
    temperature = member.temperature * (1.0 if model.kind == "regression" else model.temperature)
    return LinearOutput(
        model.kind,
        model.classes,
        head["weight"].astype(np.float64) * scale.factor / temperature,
        scale.centre.astype(np.float64),
        head["bias"].astype(np.float64) / temperature,
    )


def _compared(
    model: TransferModel, encoder: Encoder, written: HubFolder, folder: Path, raws: Sequence[Any]
) -> tuple[float, str]:
    """Return the largest difference of what was written, and on what."""
    ours, owners = model_says(model, [encoder], raws)
    theirs, known = written.says(folder, raws, model.classes)
    told = count(len(raws), written.noun)
    told = told if owners is None else f"{count(len(theirs), 'word')} of {told}"
    return difference_of(ours[known], theirs), told
