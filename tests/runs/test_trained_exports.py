"""What trained runs hand over outside of the package: ONNX graphs, and adapters for PEFT."""

import json
import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image

import retarget as rt
from retarget.sources.registry import resolve

SOURCE = "random:test_vit"
ASKED: dict[str, Any] = {
    "sources": [SOURCE],
    "baselines": [],
    "robustness": False,
    "learning_curve": False,
    "epochs": 2,
    "engine": "eager",
}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of pictures that are hard to tell apart, some of which judge."""
    folder, rng = tmp_path_factory.mktemp("hard"), np.random.default_rng(3)
    for i in range(22):
        place = folder / ("test" if i >= 16 else "train") / ("b" if i % 2 else "a")
        place.mkdir(parents=True, exist_ok=True)
        noise = rng.normal(rng.normal(120 + 20 * (i % 2), 25, 3), 40, (40, 52, 3))
        Image.fromarray(np.clip(noise, 0, 255).astype(np.uint8)).save(place / f"{i}.png")
    return folder


def graph_says(folder: Path, paths: list[Path]) -> Any:
    """Return what the exported graph makes of files, prepared as its example prepares them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["example.py"])
        prepare = runpy.run_path(str(folder / "example.py"))["prepare"]
    card = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    fed = {
        each["name"]: np.stack([prepare(path, each["preprocessing"]) for path in paths])
        for each in card["inputs"]
    }
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    (found,) = session.run(None, fed)
    return found


@pytest.mark.parametrize(
    ("methods", "encoders", "inputs"),
    [(["scratch"], 1, 1), (["small-cnn"], 1, 1), (["probe", "small-cnn"], 2, 2)],
)
def test_the_exported_graph_says_what_the_trained_run_says(
    pictures: Path, tmp_path: Path, methods: list[str], encoders: int, inputs: int
) -> None:
    run = rt.fit(pictures, methods=methods, out=str(tmp_path / "run"), **ASKED)
    assert len(run.model.sources) == encoders
    run.export(tmp_path / "onnx")
    card = json.loads((tmp_path / "onnx" / "model.json").read_text(encoding="utf-8"))
    assert len(card["inputs"]) == inputs
    paths = sorted((pictures / "test").rglob("*.png"))
    expected = run.predict(paths, engine="eager").values
    assert np.ptp(expected[:, 0]) > 1e-3
    np.testing.assert_allclose(graph_says(tmp_path / "onnx", paths), expected, atol=2e-5)


def test_adapters_are_exported_merged_and_kept_as_peft_reads_them(
    pictures: Path, tmp_path: Path
) -> None:
    from peft import PeftModel

    lora = rt.Lora(lr=0.05, rank=2, probe_first=False, patience=9)
    run = rt.fit(pictures, method=lora, out=str(tmp_path / "run"), **ASKED)
    paths = sorted((pictures / "test").rglob("*.png"))
    expected = run.predict(paths, engine="eager").values
    run.export(tmp_path / "onnx")
    np.testing.assert_allclose(graph_says(tmp_path / "onnx", paths), expected, atol=1e-4)

    encoder = resolve(SOURCE).load()
    batch = torch.stack([encoder.prepare(Image.open(path)) for path in paths])

    def says() -> Any:
        with torch.inference_mode():
            layers = {k: v.numpy() for k, v in encoder.pooled(batch, run.model.pooling).items()}
        return run.model.predict([layers.__getitem__])

    before = says()
    PeftModel.from_pretrained(encoder.model, run.folder / "model" / "adapter")
    assert np.abs(before - expected).max() > 1e-3
    np.testing.assert_allclose(says(), expected, atol=1e-4)
