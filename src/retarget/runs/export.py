"""Export: encoder and heads as one ONNX graph that runs with onnxruntime alone."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from retarget.core.errors import UsageError
from retarget.core.paths import written_whole
from retarget.core.types import ExportFormat, FloatArray, IntArray
from retarget.features.onnx_graphs import check_graph, export_graph
from retarget.methods.chain import log_marginals
from retarget.methods.crf import CrfHead
from retarget.methods.model import TransferModel, combine
from retarget.runs.example_tags import tagging
from retarget.runs.exported import (
    CARD,
    EXAMPLE,
    GRAPH,
    Exported,
    checked,
    difference_of,
    model_says,
    rows_of,
    tried,
)
from retarget.runs.graph import FedModel, WholeModel
from retarget.sources.encoder import Encoder
from retarget.sources.intake import Intake
from retarget.sources.source import Source


def export_model(
    model: TransferModel, sources: Sequence[Source], folder: Path, format: ExportFormat
) -> Exported:
    """Write a model in a format. Raises `UsageError` for one that there isn't."""
    if format == "huggingface":
        from retarget.runs.hf_export import export_huggingface

        return export_huggingface(model, sources, folder)
    if format != "onnx":
        raise UsageError(f"There is no format {format!r}. Choose from: onnx, huggingface.")
    return export_onnx(model, sources, folder)


def export_onnx(model: TransferModel, sources: Sequence[Source], folder: Path) -> Exported:
    """Write `model.onnx`, `model.json` (how to read, classes), a runnable `example.py`, and what
    the encoders want beside these, such as their tokenizers, into `folder`.

    The graph maps what the encoders' `Intake` says to what `WholeModel` gives.

    Raises:
        StoreError: the graph does not agree with the model to 1e-4.
    """
    encoders = [source.load() for source in sources]
    intake = encoders[0].intake(encoders, model.pooling)
    whole = WholeModel(encoders, model, intake.numbers).eval()
    raws = tried(model, intake.tried)
    graph = _graph(whole, intake, raws)
    difference = max(_differences(model, encoders, intake, graph, raws))
    checked(difference, model, encoders, raws)
    folder.mkdir(parents=True, exist_ok=True)
    with written_whole(folder / GRAPH) as part:
        part.write_bytes(graph)
    files = {**intake.files, **_described(model, whole, intake, difference)}
    for name, text in files.items():
        with written_whole(folder / name) as part:
            part.write_text(text, encoding="utf-8")
    return Exported(
        folder,
        difference,
        files=(GRAPH, *files),
        compared=intake.compared,
        usage=f"python {folder / EXAMPLE} {intake.raw}",
    )


def _graph(whole: WholeModel, intake: Intake, raws: Sequence[Any]) -> bytes:
    axes = {entry.name: entry.free() for entries in intake.entries for entry in entries}
    first = intake.entries[0][0].free()
    axes["output"] = {place: first[place] for place in (range(2) if whole.of_words else range(1))}
    batches = intake.fed(raws[:2]).values()
    graph = export_graph(FedModel(whole, intake).eval(), *batches, output="output", axes=axes)
    check_graph(graph)
    return graph


def _differences(
    model: TransferModel,
    encoders: Sequence[Encoder],
    intake: Intake,
    graph: bytes,
    raws: Sequence[Any],
) -> Iterator[float]:
    """Yield the largest difference, between graph and model, of each raw input alone and of all of
    them in one batch."""
    import onnxruntime

    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    for some in (*([raw] for raw in raws), raws):
        fed = {name: part.numpy() for name, part in intake.fed(some).items()}
        (output,) = session.run(None, fed)
        ours, owners = model_says(model, encoders, some)
        theirs = rows_of(model, output, some)
        yield difference_of(ours, _joined(model, theirs, owners))


def _joined(model: TransferModel, found: FloatArray, owners: IntArray | None) -> FloatArray:
    """Return what a graph gives as predictions: where there are chains, (n, M, K) of members."""
    if owners is None or not any(isinstance(m.head, CrfHead) for m in model.members):
        return found
    outputs = [
        log_marginals(found[:, i].astype(np.float64), owners, m.head.chain) / m.temperature
        if isinstance(m.head, CrfHead)
        else found[:, i]
        for i, m in enumerate(model.members)
    ]
    return combine(model.kind, outputs, model.temperature, [m.weight for m in model.members])


def _described(
    model: TransferModel, whole: WholeModel, intake: Intake, difference: float
) -> dict[str, str]:
    """Return the files that say how the graph is used."""
    card = _card(model, whole, intake, difference)
    return {
        CARD: json.dumps(card, indent=1, ensure_ascii=False),
        EXAMPLE: intake.example(tagging() if whole.of_words else ""),
    }


def _card(
    model: TransferModel, whole: WholeModel, intake: Intake, difference: float
) -> dict[str, Any]:
    meaning = "values" if model.kind == "regression" else "probabilities"
    apart = _members(model, whole) if whole.apart else {}
    return {
        "kind": model.kind,
        "classes": list(model.classes),
        "sources": list(model.sources),
        **intake.card,
        "inputs": [entry.record() for entries in intake.entries for entry in entries],
        "output": {"name": "output", "meaning": "scores" if apart else meaning},
        **apart,
        "difference": difference,
    }


def _members(model: TransferModel, whole: WholeModel) -> dict[str, Any]:
    """Return what makes probabilities of the members' outputs, where some are chains."""
    told = []
    for member, share in zip(model.members, whole.shares, strict=True):
        head, chain = member.head, None
        if isinstance(head, CrfHead):
            names = ("transitions", "start", "end")
            chain = {name: head.arrays()[name].tolist() for name in names}
        told.append({"share": share, "temperature": member.temperature, "chain": chain})
    return {"members": told, "temperature": model.temperature}
