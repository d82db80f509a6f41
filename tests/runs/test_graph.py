"""The exported graph says what the model says, for every head and kind of target."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor

from retarget.core.errors import StoreError
from retarget.core.types import Kind
from retarget.features.onnx_graphs import export_graph
from retarget.methods.base import Labels, Method
from retarget.methods.knn import Knn
from retarget.methods.model import Member, TransferModel
from retarget.methods.probe import Probe
from retarget.methods.prototype import Prototype
from retarget.methods.scale import BlockScale
from retarget.runs.graph import WholeModel
from retarget.sources.encoder import Encoder, Layer

WIDTHS = {"a": 5, "b": 3}


class Cut(Encoder):
    """An encoder whose layers are parts of its input."""

    layers = tuple(Layer(name, width) for name, width in WIDTHS.items())
    detail = 0
    input_shape = (8,)

    def prepare(self, raw: Any) -> Tensor:
        return torch.as_tensor(raw)

    def forward(self, batch: Tensor) -> dict[str, Tensor]:
        return {"a": batch[:, None, :5], "b": batch[:, None, 5:] * 2.0}

    def preprocessing(self) -> Mapping[str, Any]:
        return {}


def labels_of(kind: Kind, x: np.ndarray) -> Labels:
    generator = np.random.default_rng(1)
    weights = generator.uniform(0.5, 2.0, len(x))
    if kind == "regression":
        return Labels(kind, x[:, 0] + generator.normal(0, 0.1, len(x)), 1, weights)
    classes = (x[:, 0] > 0).astype(np.int64) + (x[:, 1] > 0)
    if kind == "classification":
        return Labels(kind, classes, 3, weights)
    return Labels(kind, np.eye(3, dtype=np.float32)[classes], 3, weights)


def model_of(kind: Kind, methods: list[Method]) -> TransferModel:
    x = np.random.default_rng(0).normal(size=(40, 8)).astype(np.float32)
    layers = {"a": x[:, :5], "b": x[:, 5:] * 2.0}
    labels, members = labels_of(kind, x), []
    for names, method in zip([("a",), ("a", "b")], methods, strict=False):
        block = np.concatenate([layers[n] for n in names], axis=1)
        scale = BlockScale.fit(block, [WIDTHS[n] for n in names])
        setting = method.settings(labels)[1]
        head = method.fit(scale(block), labels, setting)
        members.append(Member(names, method.name, scale, head, 1.3))
    classes = ("value",) if kind == "regression" else ("x", "y", "z")
    temperature = 1.0 if kind == "regression" else 0.8
    return TransferModel(kind, classes, tuple(members), temperature, ("made:up",), "mean")


@pytest.mark.parametrize("kind", ["classification", "multilabel", "regression"])
@pytest.mark.parametrize("methods", [[Probe(), Probe()], [Knn(), Knn()], [Knn(), Probe()]])
def test_the_graph_predicts_as_the_model(kind: Kind, methods: list[Method]) -> None:
    model = model_of(kind, methods)
    batch = np.random.default_rng(2).normal(size=(9, 8)).astype(np.float32)
    layers = {"a": batch[:, :5], "b": batch[:, 5:] * 2.0}
    expected = model.predict([layers.__getitem__])
    graph = export_graph(
        WholeModel([Cut()], model, [0]).eval(), torch.from_numpy(batch), output="output"
    )
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"input": batch})
    np.testing.assert_allclose(found.reshape(expected.shape), expected, atol=2e-5)


def test_prototypes_are_exported_too() -> None:
    model = model_of("classification", [Prototype()])
    batch = np.random.default_rng(3).normal(size=(4, 8)).astype(np.float32)
    with torch.inference_mode():
        found = WholeModel([Cut()], model, [0]).eval()(torch.from_numpy(batch)).numpy()
    layers = {"a": batch[:, :5], "b": batch[:, 5:] * 2.0}
    np.testing.assert_allclose(found, model.predict([layers.__getitem__]), atol=1e-5)


def test_a_graph_that_disagrees_is_not_kept(
    small_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import retarget as rt
    from retarget.runs import graph

    right = graph.MemberModule.forward
    monkeypatch.setattr(graph.MemberModule, "forward", lambda self, x: -right(self, x))
    with pytest.raises(StoreError, match="differs from the model"):
        rt.load_run(small_run).export(tmp_path / "export")
    assert not (tmp_path / "export" / "model.onnx").exists()
