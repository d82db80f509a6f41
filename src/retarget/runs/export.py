"""Export: encoder and heads as one ONNX graph that runs with onnxruntime alone."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from retarget.core.errors import UsageError
from retarget.core.paths import written_whole
from retarget.core.types import ExportFormat, Modality
from retarget.features.onnx_graphs import input_name
from retarget.methods.model import TransferModel
from retarget.runs.exported import CARD, EXAMPLE, GRAPH, Exported, checked
from retarget.sources.source import Source

if TYPE_CHECKING:
    from torch import Tensor

    from retarget.sources.encoder import Encoder

# Pictures of noise exercise every path of the graph; nothing of the user's is needed.
CHECKED = 8


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
    """Write `model.onnx`, `model.json` (preprocessing, classes) and a runnable `example.py`.

    Raises:
        StoreError: the graph does not agree with the model to 1e-4.
    """
    return _EXPORTS.get(sources[0].facts.modality, export_prepared)(model, sources, folder)


def _export_text(model: TransferModel, sources: Sequence[Source], folder: Path) -> Exported:
    from retarget.runs.export_text import export_text

    return export_text(model, sources, folder)


# Whose graphs don't read what encoders prepare as it is.
_EXPORTS: dict[Modality, Callable[[TransferModel, Sequence[Source], Path], Exported]] = {
    "text": _export_text
}


def export_prepared(model: TransferModel, sources: Sequence[Source], folder: Path) -> Exported:
    """Write the graph of encoders whose inputs are all of one shape, such as pictures.

    It maps prepared inputs, one for each preprocessing that its encoders have, to probabilities
    or values. It is run beside the model on random inputs before it is kept.

    Raises:
        StoreError: the graph does not agree with the model to 1e-4.
    """
    import torch

    from retarget.features.onnx_graphs import check_graph, export_graph
    from retarget.runs.graph import WholeModel

    encoders = [source.load() for source in sources]
    whole = WholeModel(encoders, model).eval()
    generator = torch.Generator().manual_seed(0)
    owners = [encoders[whole.inputs.index(i)] for i in range(max(whole.inputs) + 1)]
    batches = [torch.randn((CHECKED, *e.input_shape), generator=generator) for e in owners]
    folder.mkdir(parents=True, exist_ok=True)
    graph = export_graph(whole, *batches, output="output")
    check_graph(graph)
    difference = _difference(model, encoders, [batches[i] for i in whole.inputs], graph, batches)
    checked(difference, model)
    with written_whole(folder / GRAPH) as part:
        part.write_bytes(graph)
    _write_card(model, owners, difference, folder)
    return Exported(
        folder,
        difference,
        files=(GRAPH, CARD, EXAMPLE),
        compared=f"{CHECKED} inputs of noise",
        usage=f"python {folder / EXAMPLE} PICTURE",
    )


def _difference(
    model: TransferModel,
    encoders: "Sequence[Encoder]",
    fed: "Sequence[Tensor]",
    graph: bytes,
    batches: "Sequence[Tensor]",
) -> float:
    import onnxruntime
    import torch

    with torch.inference_mode():
        layers = [
            {k: v.numpy() for k, v in encoder.pooled(batch, model.pooling).items()}
            for encoder, batch in zip(encoders, fed, strict=True)
        ]
    ours = model.predict([found.__getitem__ for found in layers])
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    theirs = session.run(None, {input_name(i): b.numpy() for i, b in enumerate(batches)})[0]
    scale = max(1.0, float(np.abs(ours).max()))
    return float(np.abs(theirs.reshape(ours.shape) - ours).max()) / scale


def _write_card(
    model: TransferModel, owners: "Sequence[Encoder]", difference: float, folder: Path
) -> None:
    card = {
        "kind": model.kind,
        "classes": list(model.classes),
        "sources": list(model.sources),
        "inputs": [
            {
                "name": input_name(i),
                "shape": ["batch", *encoder.input_shape],
                "type": "float32",
                "preprocessing": dict(encoder.preprocessing()),
            }
            for i, encoder in enumerate(owners)
        ],
        "output": {
            "name": "output",
            "meaning": "values" if model.kind == "regression" else "probabilities",
        },
        "difference": difference,
    }
    with written_whole(folder / CARD) as part:
        part.write_text(json.dumps(card, indent=1, ensure_ascii=False), encoding="utf-8")
    with written_whole(folder / EXAMPLE) as part:
        part.write_text(_EXAMPLE, encoding="utf-8")


_EXAMPLE = '''"""Predict: python example.py PICTURE ... Needs onnxruntime, pillow and numpy."""
import json, sys
from pathlib import Path
import numpy as np, onnxruntime
from PIL import Image, ImageOps

def prepare(path, recipe):
    (H, W), (th, tw), crop = recipe["size"], recipe["resize"]["to"], recipe["crop"]
    image = ImageOps.exif_transpose(Image.open(path))
    assert image.mode[0] not in "IF", f"{path} has more than 8 bits a channel: convert it first"
    white = Image.new("RGBA", image.size, "white")
    image = Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    (w, h), how = image.size, recipe["resize"]["how"]
    if how == "shorter":
        th, tw = [int(th * side / min(h, w)) for side in (h, w)]
    elif how != "exact":
        ratio = (min if how == "cover" else max)(h / th, w / tw)
        th, tw = [max(1, round(side / ratio)) for side in (h, w)]
    image = image.resize((tw, th), Image.Resampling[recipe["interpolation"].upper()])
    half = [round if crop["offset"] == "round" and a > b else int for a, b in ((tw, W), (th, H))]
    framed = Image.new("RGB", (W, H), tuple(crop["fill"]))  # pasted in the middle: cut or padded
    framed.paste(image, (half[0]((W - tw) / 2), half[1]((H - th) / 2)))
    pixels = (np.float32(framed) / 255 - np.float32(recipe["mean"])) / np.float32(recipe["std"])
    return pixels.transpose(2, 0, 1)

card = json.loads(Path(__file__).with_name("model.json").read_text(encoding="utf-8"))
session = onnxruntime.InferenceSession(Path(__file__).with_name("model.onnx"))
for path in sys.argv[1:]:
    fed = {i["name"]: prepare(path, i["preprocessing"])[None] for i in card["inputs"]}
    print(path, dict(zip(card["classes"], session.run(None, fed)[0][0].round(4).tolist())))
'''
