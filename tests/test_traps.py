"""Traps of transfer: the order of classes, what drops at random, whose preprocessing it is."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image

import retarget as rt
from retarget.core.types import FloatArray
from retarget.features.store import FeatureStore
from retarget.methods.heads import LinearHead
from retarget.methods.model import Member, TransferModel
from retarget.methods.scale import BlockScale
from retarget.runs.directory import write_model
from retarget.runs.export import export_model
from retarget.runs.predict import predict_inputs
from retarget.sources.registry import resolve

FEW: dict[str, Any] = {
    "baselines": [],
    "robustness": False,
    "learning_curve": False,
    "engine": "eager",
    "folds": 2,
}


def timm_folder(folder: Path, mean: float = 0.5, side: int = 32, **arguments: Any) -> str:
    """Write a small random timm model with its preprocessing; return its URI."""
    import timm
    from safetensors.torch import save_file

    arguments = {"img_size": side, **arguments}
    torch.manual_seed(0)
    model = timm.create_model("test_vit", pretrained=False, num_classes=2, **arguments)
    shown = {"input_size": [3, side, side], "mean": [mean] * 3, "std": [0.25] * 3, "crop_pct": 1.0}
    told = {"architecture": "test_vit", "num_classes": 2, "model_args": arguments}
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({**told, "pretrained_cfg": shown}))
    save_file(model.state_dict(), folder / "model.safetensors")
    return f"file:{folder}"


def coloured(n: int, classes: int) -> tuple[list[Image.Image], list[int]]:
    """Return noisy pictures of which class k is strongest in colour k, and their classes."""
    rng = np.random.default_rng(0)
    of = [i % classes for i in range(n)]
    level = np.where(np.arange(3) == np.array(of)[:, None], 190, 90)[:, None, None]
    pixels = np.clip(rng.normal(level, 30, (n, 32, 32, 3)), 0, 255).astype(np.uint8)
    return [Image.fromarray(one) for one in pixels], of


@pytest.mark.parametrize("method", ["probe", "small-cnn"])
def test_classes_that_are_not_in_order_stay_where_they_are(tmp_path: Path, method: str) -> None:
    classes = ("zebra", "ant", "Moth")
    pictures, of = coloured(24, 3)
    splits = ["train"] * 15 + ["test"] * 9
    task = rt.open_task(pictures, [classes[k] for k in of], splits=splits)
    task = replace(task, classes=classes, examples=replace(task.examples, targets=np.array(of)))
    run = rt.fit(
        task, sources=["pixels:"], method=method, epochs=6, out=str(tmp_path / "run"), **FEW
    )
    assert run.record.task.classes == run.model.classes == classes
    assert json.loads((run.folder / "model" / "model.json").read_text())["classes"] == [*classes]
    assert [part.name for part in run.record.test.per_class] == [*classes]
    made = rt.load_run(run.folder).predict(pictures)
    assert np.mean([a == classes[k] for a, k in zip(made.labels, of, strict=True)]) > 0.6
    assert run.record.test.metrics["accuracy"].value > 0.6
    # Judged anew, on data that names its classes in another order: of the alphabet.
    others, kinds = coloured(30, 3)
    new = rt.open_task([p.rotate(90) for p in others], [classes[k] for k in kinds])
    assert new.classes != classes
    assert run.evaluate(new).metrics["accuracy"].value > 0.6

    run.export(tmp_path / "onnx")
    card = json.loads((tmp_path / "onnx" / "model.json").read_text())
    assert card["classes"] == [*classes]
    (source,) = run.encoders
    fed = torch.stack([source.load().prepare(picture) for picture in pictures]).numpy()
    session = onnxruntime.InferenceSession(tmp_path / "onnx" / "model.onnx")
    (found,) = session.run(None, {card["inputs"][0]["name"]: fed})
    np.testing.assert_allclose(found, made.values, atol=1e-4)


def test_paths_are_dropped_in_training_and_never_at_prediction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = timm_folder(tmp_path / "vit", drop_path_rate=0.8)
    pictures, of = coloured(12, 2)
    run = rt.fit(
        rt.open_task(pictures, ["ab"[k] for k in of], splits=["train"] * 8 + ["test"] * 4),
        source=uri,
        method={"name": "finetune", "epochs": 1, "refit": False},
        out=str(tmp_path / "run"),
        **FEW,
    )
    found = []
    for name in ("one", "two"):
        monkeypatch.setenv("RETARGET_CACHE", str(tmp_path / name))
        found.append(rt.load_run(run.folder).predict(pictures, engine="eager").values)
    np.testing.assert_array_equal(*found)
    for source in (resolve(uri), *run.encoders):
        encoder = source.load()
        batch = torch.stack([encoder.prepare(picture) for picture in pictures])

        def features(encoder: Any = encoder, batch: Any = batch) -> torch.Tensor:
            with torch.inference_mode():
                layer = encoder.layers[-1].name
                return torch.as_tensor(encoder.pooled(batch, "mean")[layer])

        assert not encoder.training
        torch.testing.assert_close(features(), features(), rtol=0, atol=0)
        encoder.train()
        assert (features() - features()).abs().max() > 1e-3


def test_each_encoder_of_a_model_sees_its_own_preprocessing(tmp_path: Path) -> None:
    uris = [timm_folder(tmp_path / f"{mean}", mean=mean) for mean in (0.2, 0.7)]
    sources = tuple(map(resolve, uris))
    encoders = [source.load() for source in sources]
    pictures, _ = coloured(6, 3)

    def layers(number: int, prepared_by: int) -> FloatArray:
        batch = torch.stack([encoders[prepared_by].prepare(picture) for picture in pictures])
        with torch.inference_mode():
            pooled = encoders[number].pooled(batch, "mean")
        return np.asarray(pooled[encoders[number].layers[-1].name])

    members = []
    for number, encoder in enumerate(encoders):
        last, rng = encoder.layers[-1], np.random.default_rng(number)
        scale = BlockScale.fit(layers(number, number), [last.width])
        head = LinearHead(rng.normal(size=(2, last.width)).astype(np.float32), np.zeros(2))
        members.append(Member((last.name,), "probe", scale, head, source=number))
    model = TransferModel("classification", ("a", "b"), tuple(members), 1.0, tuple(uris), "mean")

    def says(first: int, second: int) -> FloatArray:
        seen = [layers(0, first), layers(1, second)]
        return model.predict([lambda _, x=x: x for x in seen])  # type: ignore[misc]

    parts = predict_inputs(model, sources, pictures, store=FeatureStore(), engine="eager")
    found = np.concatenate([part.values for part in parts])
    np.testing.assert_allclose(found, says(0, 1), atol=1e-5)
    for wrong in ((0, 0), (1, 1), (1, 0)):
        assert np.abs(found - says(*wrong)).max() > 1e-2

    export_model(model, sources, tmp_path / "onnx", "onnx")
    card = json.loads((tmp_path / "onnx" / "model.json").read_text())
    assert [i["preprocessing"]["mean"] for i in card["inputs"]] == [[0.2] * 3, [0.7] * 3]
    fed = {
        i["name"]: torch.stack([encoder.prepare(p) for p in pictures]).numpy()
        for i, encoder in zip(card["inputs"], encoders, strict=True)
    }
    session = onnxruntime.InferenceSession(tmp_path / "onnx" / "model.onnx")
    np.testing.assert_allclose(session.run(None, fed)[0], found, atol=1e-5)
    saved = write_model(model, sources, tmp_path / "run")
    again = [resolve(f"file:{saved / name}").load() for name in ("encoder", "encoder-1")]
    for encoder, other in zip(encoders, again, strict=True):
        torch.testing.assert_close(other.prepare(pictures[0]), encoder.prepare(pictures[0]))


def test_decay_would_take_norms_and_biases_away_and_spares_them(tmp_path: Path) -> None:
    from retarget.methods.optimiser import adamw
    from retarget.methods.settings import Part

    uri = timm_folder(tmp_path / "model")
    batch = resolve(uri).load().example_batch(2)

    def after(decay_all: bool) -> tuple[torch.Tensor, torch.Tensor]:
        encoder = resolve(uri).load()
        with torch.no_grad():
            before = encoder.pooled(batch, "mean")["pooled"]
        small = {f"encoder.{n}": p for n, p in encoder.named_parameters() if p.ndim == 1}
        optimiser: torch.optim.Optimizer = adamw(small, [Part(tuple(small))], 0.1, 0.1, 0.5)
        if decay_all:  # what a plain AdamW does
            optimiser = torch.optim.AdamW(small.values(), lr=0.1, weight_decay=0.5)
        for _ in range(60):  # nothing is learned: gradients are zero
            for parameter in small.values():
                parameter.grad = torch.zeros_like(parameter)
            optimiser.step()
        with torch.no_grad():
            return before, encoder.pooled(batch, "mean")["pooled"]

    before, damaged = after(decay_all=True)
    assert float(damaged.abs().max()) < 0.2 * float(before.abs().max())
    before, spared = after(decay_all=False)
    assert torch.equal(spared, before)


def test_a_trained_encoder_without_its_head_knows_nothing(tmp_path: Path) -> None:
    pictures, of = coloured(24, 2)
    run = rt.fit(
        rt.open_task(pictures, ["ab"[k] for k in of]),
        source=timm_folder(tmp_path / "model"),
        method=rt.FineTune(epochs=4, lr=3e-3, refit=False),
        out=tmp_path / "run",
        **FEW,
    )
    again = rt.load_run(tmp_path / "run")
    right = np.mean([a == "ab"[k] for a, k in zip(again.predict(pictures).labels, of, strict=True)])
    assert right > 0.9
    # The same encoder under a head that was not trained with it.
    member = run.model.members[0]
    blank = LinearHead(np.zeros_like(member.head.weight), np.array([0.0, 1.0]))  # type: ignore[attr-defined]  # it is linear
    bare = replace(run.model, members=(replace(member, head=blank),))
    table = FeatureStore(tmp_path / "features")
    (part,) = predict_inputs(bare, run.encoders, pictures, store=table)
    assert (part.values.argmax(axis=1) == np.array(of)).mean() == 0.5
