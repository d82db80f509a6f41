"""What graphs of encoders of pictures take in: one array for each preprocessing."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from PIL import Image

from retarget.sources.intake import Entry, Intake

if TYPE_CHECKING:
    from retarget.sources.encoder import Encoder

# Noise exercises every path of a graph; nothing of the user's is needed.
TRIED, LEAST = 8, 32


class PictureIntake(Intake):
    """Pictures, prepared. `input`, `input_1`, …: (b, *input_shape) float32."""

    raw: ClassVar[str] = "PICTURE"

    def __init__(self, encoders: "Sequence[Encoder]") -> None:
        super().__init__(encoders, [(dict(e.preprocessing()), e.input_shape) for e in encoders])
        self.files, self.card = {}, {}
        self.entries = tuple(
            (
                Entry(
                    f"input_{i}" if i else "input",
                    ("batch", *encoder.input_shape),
                    "float32",
                    {"preprocessing": dict(encoder.preprocessing())},
                ),
            )
            for i, encoder in enumerate(self.owners)
        )
        side = max(LEAST, *(encoder.detail for encoder in encoders))
        noise = np.random.default_rng(0).integers(0, 256, (TRIED, side, side, 3), dtype=np.uint8)
        self.tried = [Image.fromarray(pixels) for pixels in noise]
        self.compared = f"{TRIED} pictures of noise"

    def example(self, answer: str = "") -> str:
        """Return a program of 30 lines that prepares files as `Recipe.apply` does. Pictures have
        no words, so it needs no other `answer`."""
        return EXAMPLE


EXAMPLE = '''"""Predict: python example.py PICTURE ... Needs onnxruntime, pillow and numpy."""
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
