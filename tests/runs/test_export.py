"""A modality that nobody knows is exported: its sources say what a graph of them takes in."""

import json
import runpy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor

from retarget.core.types import Pooling
from retarget.methods.model import TransferModel
from retarget.runs.export import export_onnx
from retarget.runs.exported import model_says
from retarget.sources.encoder import Encoder, Layer
from retarget.sources.intake import Entry, Intake
from retarget.sources.source import Facts, Source

SCRIPT = """
import json
from pathlib import Path
import numpy as np, onnxruntime
here = Path(__file__).parent
graph = onnxruntime.InferenceSession(here / "model.onnx")
offset = float((here / "offset.txt").read_text())
def predict(sound):
    sound = np.float32([sound]) - np.float32(offset)
    given = {"waves": sound, "counts": np.ones(sound.shape, np.int64)}
    return graph.run(None, given)[0][0]
"""


class SoundIntake(Intake):
    raw = "NUMBERS"

    def __init__(self, encoders: Sequence[Encoder]) -> None:
        super().__init__(encoders, [1 for _ in encoders])
        shape = ("batch", "time")
        self.entries = ((Entry("waves", shape, "float32"), Entry("counts", shape, "int64")),)
        self.tried, self.compared = [[0.5] * n for n in (1, 4, 9)], "3 hums"
        self.files, self.card = {"offset.txt": "0.25"}, {"rate": 16_000}

    def apart(self, batch: Tensor) -> tuple[Tensor, ...]:
        return batch[:, :, 0], batch[:, :, 1].long()

    def joined(self, parts: Sequence[Tensor]) -> Tensor:
        return torch.stack([parts[0], parts[1].float()], dim=2)

    def example(self, answer: str = "") -> str:
        return SCRIPT


class Ear(Encoder):
    """Sounds of any length, (T, 2) of wave and whether it counts: their mean and its square."""

    layers = (Layer("heard", 2),)
    detail = 0
    input_shape = (8, 2)

    def __init__(self, gain: float) -> None:
        super().__init__()
        self.gain = gain

    def prepare(self, raw: Any) -> Tensor:
        waves = torch.tensor(raw, dtype=torch.float32) - 0.25
        return torch.stack([waves, torch.ones_like(waves)], dim=1)

    def collate(self, prepared: Sequence[Tensor]) -> Tensor:
        return torch.nn.utils.rnn.pad_sequence(list(prepared), batch_first=True)

    def forward(self, batch: Tensor) -> dict[str, Tensor]:
        mean = batch[:, :, 0].sum(1, keepdim=True) / batch[:, :, 1].sum(1, keepdim=True)
        return {"heard": self.gain * torch.cat([mean, mean**2], dim=1)[:, None]}

    def intake(self, encoders: Sequence[Encoder], pooling: Pooling) -> Intake:
        return SoundIntake(encoders)


class EarSource(Source):
    facts = Facts("audio", "An ear")
    fingerprint = "ear"

    def __init__(self, gain: float) -> None:
        self.uri, self.gain = f"made:ear-{gain}", gain

    def load(self) -> Encoder:
        return Ear(self.gain)

    def random(self, seed: int = 0) -> Source:
        return self

    def save(self, folder: Path) -> None:
        raise NotImplementedError


def test_a_new_modality_brings_its_own_export(
    heads_on: Callable[..., TransferModel], tmp_path: Path
) -> None:
    sources = [EarSource(1.0), EarSource(3.0)]
    encoders = [source.load() for source in sources]
    on = [(0, ("heard",), "a"), (1, ("heard",), "a")]
    model = heads_on("classification", "mean", encoders, on)
    made = export_onnx(model, sources, tmp_path)
    assert made.difference <= 1e-4
    assert made.compared == "3 hums"
    assert made.usage.endswith("example.py NUMBERS")
    assert made.files == ("model.onnx", "offset.txt", "model.json", "example.py")
    card = json.loads((tmp_path / "model.json").read_text())
    assert card["rate"] == 16_000
    assert [(one["name"], one["shape"]) for one in card["inputs"]] == [
        ("waves", ["batch", "time"]),
        ("counts", ["batch", "time"]),
    ]
    graph = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    assert [(i.name, i.shape) for i in graph.get_inputs()] == [
        ("waves", ["batch", "time"]),
        ("counts", ["batch", "time"]),
    ]
    sound = [0.1, 0.9, -0.4, 2.0, 1.0]
    expected, _ = model_says(model, encoders, [sound])
    found = runpy.run_path(str(tmp_path / "example.py"))["predict"](sound)
    np.testing.assert_allclose(found, expected[0], atol=1e-5)
    one = np.float32([[*sound, 7.0]]) - 0.25
    counts = np.array([[1] * 5 + [0]])
    (padded,) = graph.run(None, {"waves": one * counts.astype(np.float32), "counts": counts})
    assert padded[0] == pytest.approx(expected[0], abs=1e-5)
