"""Export of text models: from the ids of pieces to predictions, tokenizer and script beside."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from retarget.core.errors import StoreError
from retarget.core.paths import written_whole
from retarget.core.text import count
from retarget.core.types import FloatArray
from retarget.features.onnx_graphs import check_graph, export_graph
from retarget.methods.crf import CrfHead
from retarget.methods.model import TransferModel, combine
from retarget.runs.example_text import example
from retarget.runs.exported import CARD, EXAMPLE, GRAPH, Exported, checked
from retarget.runs.graph import WholeModel
from retarget.sources.source import Source
from retarget.sources.static_encoder import StaticEncoder
from retarget.sources.text_encoder import TextEncoder
from retarget.tasks.words import worded

COLUMNS = ("input_ids", "attention_mask", "token_type_ids", "words")
# A text of more than one window is tried where a window is no longer than this.
LONGEST_TRIED = 1024
TRIED = (
    "A quiet film with one good joke, told twice.",
    "no",
    "The lake near Zürich was frozen in January 1987, wrote Anna O'Neill.",
    "Don't buy it! The hinge broke after 3 days, and nobody at Acme Corp. answered :-(",
    "東京の夏は暑い。 Über naïve cafés ☕ and 👩‍🚀 in space",
)
PAIR = ("The shop opens at nine.", "It is closed before 9 a.m.")
_MEANINGS = (
    "pieces of the text by their number in the tokenizer",
    "1: read and counted; 2: read, but counted in another window; 0: padding",
    "0; for the second of a pair what the tokenizer says",
    "the word that a piece belongs to, counted from 1; 0: none",
)
_WINDOWS = (
    "A text of more pieces than `length` is read in windows of `length` pieces, laid one after the "
    "other in one row. All have the special pieces around the text; neighbours overlap by a "
    "quarter, the last two by more. A piece counts (mask 1) in the window whose middle is nearest, "
    "in others it is only read (mask 2)."
)


@dataclass(frozen=True)
class Reader:
    """What makes a graph's inputs of a text, for all encoders that read texts alike."""

    encoder: TextEncoder
    inputs: tuple[str, ...]
    tokenizer: str


def export_text(model: TransferModel, sources: Sequence[Source], folder: Path) -> Exported:
    """Write `model.onnx`, `model.json`, `example.py` and the tokenizers into `folder`.

    The graph maps `input_ids`, `attention_mask` and `token_type_ids` (b, T), of tagging `words`
    too, to what `WholeModel` gives. It is compared with the model on short texts, on one longer
    than a window, and on a pair.

    Raises:
        StoreError: the graph does not agree with the model to 1e-4.
    """
    encoders = [_of_texts(source) for source in sources]
    numbers, readers = _readers(encoders, tagging=model.kind == "tagging")
    whole = WholeModel(encoders, model, numbers)
    texts = tried(model, encoders)
    graph = _graph(whole, readers, texts)
    difference = max(_differences(model, encoders, readers, whole.apart, graph, texts))
    checked(difference, model)
    folder.mkdir(parents=True, exist_ok=True)
    with written_whole(folder / GRAPH) as part:
        part.write_bytes(graph)
    _write_beside(model, readers, whole, difference, folder)
    names = tuple(sorted({reader.tokenizer for reader in readers}))
    return Exported(
        folder,
        difference,
        files=(GRAPH, *names, CARD, EXAMPLE),
        compared=_told(encoders, texts),
        usage=f"python {folder / EXAMPLE} TEXT",
    )


def tried(model: TransferModel, encoders: Sequence[TextEncoder]) -> list[Any]:
    """Return what a model is compared on: raw inputs, as its encoders prepare them."""
    length = max(encoder.length for encoder in encoders)
    long = [" ".join(TRIED * (2 + length // 40))] if length <= LONGEST_TRIED else []
    if model.kind == "tagging":
        return [worded(text) for text in (*TRIED, *long)]
    return [*TRIED, *long, PAIR]


def _told(encoders: Sequence[TextEncoder], texts: Sequence[Any]) -> str:
    windows = [max(e.windows(e.prepare(text)) for e in encoders) for text in texts]
    pairs = sum(isinstance(text, tuple) for text in texts)
    told = [count(len(texts) - pairs - sum(w > 1 for w in windows), "short text")]
    told += [f"a text of {w} windows" for w in windows if w > 1]
    return ", ".join([*told, *(["a pair"] if pairs else [])])


def _of_texts(source: Source) -> TextEncoder:
    encoder = source.load()
    if not isinstance(encoder, TextEncoder):
        raise StoreError(f"{source.uri} reads no texts, so it can't be exported beside others.")
    return encoder


def _readers(
    encoders: Sequence[TextEncoder], *, tagging: bool
) -> tuple[list[int], tuple[Reader, ...]]:
    """Return the number of the reader of each encoder, and the readers. Encoders with equal
    tokenizers, prompts and lengths share one."""
    told = [
        (type(e.tokenizer), e.tokenizer.to_json(), e.length, e.pad, e.preprocessing().get("prompt"))
        for e in encoders
    ]
    different = [t for i, t in enumerate(told) if t not in told[:i]]
    if tagging and len(different) > 1:
        raise StoreError(
            "The encoders of this model divide texts into different pieces, so no one graph says "
            "what it says of words. Fit with one --source."
        )
    numbers = [different.index(t) for t in told]
    readers = []
    for i in range(len(different)):
        end = f"_{i}" if i else ""
        names = tuple(name + end for name in (COLUMNS if tagging else COLUMNS[:3]))
        readers.append(Reader(encoders[numbers.index(i)], names, f"tokenizer{end}.json"))
    return numbers, tuple(readers)


class _Natural(nn.Module):
    """A `WholeModel` that reads what tokenizers give, a tensor for each column."""

    def __init__(self, whole: WholeModel, each: int) -> None:
        super().__init__()
        self.whole, self.each = whole, each

    def forward(self, *columns: Tensor) -> Tensor:
        """Map columns (b, T), those of one reader together, to predictions."""
        groups = [columns[i : i + self.each] for i in range(0, len(columns), self.each)]
        return self.whole(*map(_assembled, groups))  # type: ignore[no-any-return]  # nn.Module.__call__ is untyped


def _assembled(columns: Sequence[Tensor]) -> Tensor:
    """Return columns as encoders read them (b, T, 5)."""
    ids, mask, types, *words = columns
    word = words[0] if words else torch.zeros_like(ids)
    return torch.stack([ids, (mask > 0).long(), types, (mask == 1).long(), word], dim=2)


def _columns(batch: Tensor) -> list[Tensor]:
    """Return what encoders read (b, T, 5) as columns: the other way round."""
    ids, attended, types, counted, word = batch.unbind(dim=2)
    return [ids, attended * (2 - counted), types, word]


def _graph(whole: WholeModel, readers: Sequence[Reader], texts: Sequence[Any]) -> bytes:
    each = len(readers[0].inputs)
    columns = [
        column
        for reader in readers
        for column in _columns(_batch(reader.encoder, texts[:2]))[:each]
    ]
    axes = {
        name: {0: "batch", 1: f"length{reader.inputs[0].removeprefix(COLUMNS[0])}"}
        for reader in readers
        for name in reader.inputs
    }
    axes["output"] = {0: "batch", **({1: "length"} if whole.kind == "tagging" else {})}
    natural = _Natural(whole, each).eval()
    graph = export_graph(natural, *columns, output="output", axes=axes)
    check_graph(graph)
    return graph


def _batch(encoder: TextEncoder, texts: Sequence[Any]) -> Tensor:
    return encoder.collate([encoder.prepare(text) for text in texts])


def _differences(
    model: TransferModel,
    encoders: Sequence[TextEncoder],
    readers: Sequence[Reader],
    apart: bool,
    graph: bytes,
    texts: Sequence[Any],
) -> Iterator[float]:
    """Yield the largest difference, between graph and model, of each text alone and of all of
    them in one batch."""
    import onnxruntime

    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    for some in (*([text] for text in texts), texts):
        fed = {
            name: column.numpy()
            for reader in readers
            for name, column in zip(
                reader.inputs, _columns(_batch(reader.encoder, some)), strict=False
            )
        }
        (output,) = session.run(None, fed)
        ours, owners = model_says(model, encoders, some)
        theirs = _rows(model, output, some)
        if apart:
            theirs = _joined(model, theirs, owners)
        yield difference_of(ours, theirs)


def difference_of(ours: FloatArray, theirs: FloatArray) -> float:
    """Return the largest difference; of values larger than one relative to the largest."""
    scale = max(1.0, float(np.abs(ours).max(initial=0.0)))
    return float(np.abs(theirs.reshape(ours.shape) - ours).max(initial=0.0)) / scale


def model_says(
    model: TransferModel, encoders: Sequence[TextEncoder], texts: Sequence[Any]
) -> tuple[FloatArray, Any]:
    """Return what the model says of texts, row by row, and the text of each row (tagging)."""
    owners = None
    if model.kind == "tagging":
        owners = np.repeat(np.arange(len(texts)), [len(text.words) for text in texts])
    layers = []
    with torch.inference_mode():
        for encoder in encoders:
            found = encoder.pooled(_batch(encoder, texts), model.pooling)
            rows = {name: _rows(model, value.numpy(), texts) for name, value in found.items()}
            layers.append(rows.__getitem__)
    return model.predict(layers, owners), owners


def _rows(model: TransferModel, found: FloatArray, texts: Sequence[Any]) -> FloatArray:
    """Return one row for each text, of tagging one for each word."""
    if model.kind != "tagging":
        return found
    words = [row[: len(text.words)] for row, text in zip(found, texts, strict=True)]
    return np.concatenate(words)


def _joined(model: TransferModel, scores: FloatArray, owners: Any) -> FloatArray:
    """Return probabilities from the outputs of all members (n, M, K)."""
    from retarget.methods.chain import log_marginals

    outputs = [
        log_marginals(scores[:, i].astype(np.float64), owners, m.head.chain) / m.temperature
        if isinstance(m.head, CrfHead)
        else scores[:, i]
        for i, m in enumerate(model.members)
    ]
    return combine(model.kind, outputs, model.temperature, [m.weight for m in model.members])


def _write_beside(
    model: TransferModel,
    readers: Sequence[Reader],
    whole: WholeModel,
    difference: float,
    folder: Path,
) -> None:
    files = {reader.tokenizer: reader.encoder.tokenizer.to_json() for reader in readers}
    card = _card(model, readers, whole, difference)
    files[CARD] = json.dumps(card, indent=1, ensure_ascii=False)
    static = any(isinstance(reader.encoder, StaticEncoder) for reader in readers)
    files[EXAMPLE] = example(model.kind, static=static)
    for name, text in files.items():
        with written_whole(folder / name) as part:
            part.write_text(text, encoding="utf-8")


def _card(
    model: TransferModel, readers: Sequence[Reader], whole: WholeModel, difference: float
) -> dict[str, Any]:
    meaning = "values" if model.kind == "regression" else "probabilities"
    apart = _members(model, whole) if whole.apart else {}
    return {
        "kind": model.kind,
        "classes": list(model.classes),
        "sources": list(model.sources),
        "pooling": model.pooling,
        "texts": [
            {
                "tokenizer": reader.tokenizer,
                "reader": type(reader.encoder.tokenizer).__name__,
                "length": reader.encoder.length,
                "pad": reader.encoder.pad,
                "inputs": list(reader.inputs),
                "preprocessing": dict(reader.encoder.preprocessing()),
            }
            for reader in readers
        ],
        "windows": _WINDOWS,
        "inputs": [
            {"name": name, "shape": ["batch", "length"], "type": "int64", "meaning": told}
            for reader in readers
            for name, told in zip(reader.inputs, _MEANINGS, strict=False)
        ],
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
