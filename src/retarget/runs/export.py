"""Export: encoder and heads as one ONNX graph that runs with onnxruntime alone."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from retarget.core.errors import StoreError
from retarget.core.paths import written_whole
from retarget.methods.model import TransferModel
from retarget.sources.source import Source

if TYPE_CHECKING:
    from torch import Tensor

    from retarget.sources.encoder import Encoder

PARITY = 1e-4
GRAPH, CARD, EXAMPLE = "model.onnx", "model.json", "example.py"
# Pictures of noise exercise every path of the graph; nothing of the user's is needed.
CHECKED = 8


@dataclass(frozen=True)
class Exported:
    """What was written, and the largest difference in probabilities (or values, relative)."""

    folder: Path
    difference: float


def export_onnx(model: TransferModel, source: Source, folder: Path) -> Exported:
    """Write `model.onnx`, `model.json` (preprocessing, classes) and a runnable `example.py`.

    The graph maps prepared inputs to probabilities or values. It is run beside the model on
    random inputs before it is kept.

    Raises:
        StoreError: the graph does not agree with the model to 1e-4.
    """
    import torch

    from retarget.features.onnx_graphs import check_graph, export_graph
    from retarget.runs.graph import WholeModel

    encoder = source.load()
    whole = WholeModel(encoder, model).eval()
    generator = torch.Generator().manual_seed(0)
    batch = torch.randn((CHECKED, *encoder.input_shape), generator=generator)
    folder.mkdir(parents=True, exist_ok=True)
    graph = export_graph(whole, batch, output="output")
    check_graph(graph)
    difference = _difference(model, encoder, batch, graph)
    if not difference <= PARITY:
        raise StoreError(
            f"The exported graph differs from the model by {difference:.2g}, more than "
            f"{PARITY:g}; it was not kept. Please report this with the source {source.uri}."
        )
    with written_whole(folder / GRAPH) as part:
        part.write_bytes(graph)
    _write_card(model, encoder, difference, folder)
    return Exported(folder, difference)


def _difference(model: TransferModel, encoder: "Encoder", batch: "Tensor", graph: bytes) -> float:
    import onnxruntime
    import torch

    with torch.inference_mode():
        layers = {k: v.numpy() for k, v in encoder.pooled(batch, model.pooling).items()}
    ours = model.predict(layers.__getitem__)
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    theirs = session.run(None, {"input": batch.numpy()})[0]
    scale = max(1.0, float(np.abs(ours).max()))
    return float(np.abs(theirs.reshape(ours.shape) - ours).max()) / scale


def _write_card(model: TransferModel, encoder: "Encoder", difference: float, folder: Path) -> None:
    card = {
        "kind": model.kind,
        "classes": list(model.classes),
        "source": model.source,
        "input": {"name": "input", "shape": ["batch", *encoder.input_shape], "type": "float32"},
        "output": {
            "name": "output",
            "meaning": "values" if model.kind == "regression" else "probabilities",
        },
        "preprocessing": dict(encoder.preprocessing()),
        "difference": difference,
    }
    with written_whole(folder / CARD) as part:
        part.write_text(json.dumps(card, indent=1, ensure_ascii=False), encoding="utf-8")
    with written_whole(folder / EXAMPLE) as part:
        part.write_text(_EXAMPLE, encoding="utf-8")


_EXAMPLE = '''"""Predict pictures with model.onnx: python example.py PICTURE ..."""
# Needs: pip install onnxruntime pillow numpy
import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

here = Path(__file__).parent
card = json.loads((here / "model.json").read_text(encoding="utf-8"))
recipe, (H, W) = card["preprocessing"], card["preprocessing"]["size"]


def prepare(path):
    picture = ImageOps.exif_transpose(Image.open(path)).convert("RGBA")
    white = Image.new("RGBA", picture.size, "white")
    picture = Image.alpha_composite(white, picture).convert("RGB")
    (w, h), how, (th, tw) = picture.size, recipe["resize"]["how"], recipe["resize"]["to"]
    if how == "shorter":
        long = int(th * max(w, h) / min(w, h))
        th, tw = (th, long) if h <= w else (long, th)
    elif how != "exact":
        ratio = (min if how == "cover" else max)(h / th, w / tw)
        th, tw = max(1, round(h / ratio)), max(1, round(w / ratio))
    picture = picture.resize((tw, th), Image.Resampling[recipe["interpolation"].upper()])
    padded = Image.new("RGB", (max(tw, W), max(th, H)), tuple(recipe["crop"]["fill"]))
    padded.paste(picture, (max(0, W - tw) // 2, max(0, H - th) // 2))
    down, right = padded.height - H, padded.width - W
    middle = round if recipe["crop"]["offset"] == "round" else int
    top, left = middle(down / 2), middle(right / 2)
    pixels = np.asarray(padded.crop((left, top, left + W, top + H)), np.float32) / 255
    scaled = (pixels - np.float32(recipe["mean"])) / np.float32(recipe["std"])
    return scaled.transpose(2, 0, 1)


session = onnxruntime.InferenceSession(here / "model.onnx")
for path in sys.argv[1:]:
    (output,) = session.run(None, {"input": prepare(path)[None].astype(np.float32)})
    print(path, dict(zip(card["classes"], output[0].round(4).tolist())))
'''
