from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor

from retarget.core.errors import UsageError
from retarget.core.types import FloatArray
from retarget.features import engines
from retarget.features.engines import (
    TOLERANCE,
    Choice,
    Eager,
    Engine,
    EngineRefused,
    Place,
    choose_engine,
    measure_layers,
    verify_engine,
)
from retarget.features.features import StoredLayer
from retarget.features.onnx_graphs import graph_path
from retarget.sources.encoder import Encoder

CPU = torch.device("cpu")
MANY = 10_000_000


@pytest.fixture
def encoder(tiny: ModuleType) -> Encoder:
    made: Encoder = tiny.TinySource(seed=1).load()
    return made


@pytest.fixture
def batch() -> Tensor:
    return torch.rand(16, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def by_hand(encoder: Encoder, batch: Tensor, pooling: str = "mean") -> FloatArray:
    """All layers pooled, one example at a time, in the plainest way."""
    rows = []
    with torch.no_grad():
        for example in batch:
            tokens = encoder(example[None])
            parts = []
            for layer in encoder.layers:
                places = tokens[layer.name][0].numpy()
                parts.append(places.mean(0))
                if pooling == "mean+max":
                    parts.append(places.max(0))
            rows.append(np.concatenate(parts))
    return np.array(rows)


@pytest.mark.parametrize("name", ["eager", "onnx"])
@pytest.mark.parametrize("pooling", ["mean", "cls", "mean+max"])
def test_every_engine_gives_what_the_encoder_gives(
    encoder: Encoder, batch: Tensor, name: str, pooling: str
) -> None:
    choice = choose_engine(encoder, batch, name, Place(CPU, pooling))  # type: ignore[arg-type]
    expected = by_hand(encoder, batch, pooling)
    assert choice.engine.name == name
    for size in (1, 5, 16):
        found = choice.engine(batch[:size])
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected[:size], atol=1e-6)


@pytest.mark.parametrize("name", ["eager", "onnx"])
def test_tokens_are_kept_whole(encoder: Encoder, batch: Tensor, name: str) -> None:
    choice = choose_engine(encoder, batch, name, Place(CPU, "tokens"))
    assert [layer.shape for layer in choice.layers] == [(64, 4), (16, 8), (1, 8)]
    with torch.no_grad():
        expected = np.hstack([v.flatten(1).numpy() for v in encoder(batch).values()])
    np.testing.assert_allclose(choice.engine(batch), expected, atol=1e-6)


def test_layers_and_multiply_adds_are_counted(encoder: Encoder, batch: Tensor) -> None:
    layers, operations = measure_layers(Eager(encoder, "mean", CPU), batch[:1], "mean")
    assert layers == tuple(
        StoredLayer(k, (d,)) for k, d in (("first", 4), ("second", 8), ("pooled", 8))
    )
    assert operations == 8 * 8 * 4 * 3 * 9 + 4 * 4 * 8 * 4 * 9


def test_auto_measures_and_takes_what_is_clearly_faster(
    encoder: Encoder, batch: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = {"eager": 2.0, "onnx": 1.0}
    timed = engines._timed
    monkeypatch.setattr(engines, "_timed", lambda e, b: (timed(e, b)[0], seconds[e.name]))
    place = Place(CPU, "mean", MANY)
    assert choose_engine(encoder, batch, "auto", place).engine.name == "onnx"
    seconds["onnx"] = 1.9
    assert choose_engine(encoder, batch, "auto", place).engine.name == "eager"


def test_auto_does_not_export_what_the_remaining_work_would_not_repay(
    encoder: Encoder, batch: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed = engines._timed
    monkeypatch.setattr(engines, "_timed", lambda e, b: (timed(e, b)[0], 0.4))

    def never(*_: object) -> Engine:
        raise AssertionError("nothing is to be made")

    monkeypatch.setattr(engines, "make_engine", never)
    assert choose_engine(encoder, batch, "auto", Place(CPU, "mean", 8)).engine.name == "eager"
    with pytest.raises(AssertionError):
        choose_engine(encoder, batch, "auto", Place(CPU, "mean", 8_000))


@pytest.mark.parametrize("kind", ["Lying", "Unexportable"])
def test_an_engine_that_lies_or_fails_is_refused(
    tiny: ModuleType, batch: Tensor, kind: str
) -> None:
    encoder = tiny.TinySource(encoder=kind).load()
    said = {"Lying": "layer second it differs", "Unexportable": "can't be exported to ONNX"}[kind]
    choice = choose_engine(encoder, batch, "auto", Place(CPU, "mean", MANY))
    assert choice.engine.name == "eager"
    assert len(choice.notes) == 1
    assert said in choice.notes[0]
    with pytest.raises(UsageError, match=said):
        choose_engine(encoder, batch, "onnx", Place(CPU, "mean"))


@pytest.mark.parametrize("name", ["eager", "onnx", "auto"])
def test_an_encoder_is_evaluated_never_trained(tiny: ModuleType, batch: Tensor, name: str) -> None:
    encoder = tiny.TinySource(encoder="Normalised").load()
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    choice = choose_engine(encoder, batch, name, Place(CPU, "mean", MANY))
    found = choice.engine(batch)
    assert not encoder.training
    assert not encoder.norm.training
    assert all(torch.equal(before[key], value) for key, value in encoder.state_dict().items())
    np.testing.assert_allclose(found, by_hand(encoder, batch), atol=1e-6)
    np.testing.assert_allclose(Eager(encoder, "mean", CPU)(batch), found, atol=1e-6)


class Changed(Engine):
    """Eager's rows, changed."""

    name = "changed"

    def __init__(self, rows: FloatArray) -> None:
        self.rows = rows

    def __call__(self, batch: Tensor) -> FloatArray:
        return self.rows


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_the_tolerance_is_relative_to_the_layer(factor: float) -> None:
    layers = (StoredLayer("large", (2,)), StoredLayer("small", (2,)))
    expected = np.array([[1000.0, -2000.0, 1e-3, 2e-3]], np.float32)
    changed = expected.copy()
    changed[0, 2] += np.float32(2e-3 * TOLERANCE * factor)
    engine = Changed(changed)
    if factor < 1:
        verify_engine(engine, torch.zeros(1), expected, layers)
    else:
        with pytest.raises(EngineRefused, match="layer small"):
            verify_engine(engine, torch.zeros(1), expected, layers)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_number_is_refused(value: float) -> None:
    expected = np.ones((1, 2), np.float32)
    with pytest.raises(EngineRefused, match="differs"):
        verify_engine(
            Changed(np.array([[1, value]], np.float32)),
            torch.zeros(1),
            expected,
            (StoredLayer("a", (2,)),),
        )


def test_rows_of_another_shape_are_refused() -> None:
    with pytest.raises(EngineRefused, match="gives features"):
        verify_engine(
            Changed(np.ones((1, 3), np.float32)),
            torch.zeros(1),
            np.ones((1, 2), np.float32),
            (StoredLayer("a", (2,)),),
        )


def test_an_engine_that_does_not_exist_is_told(encoder: Encoder, batch: Tensor) -> None:
    with pytest.raises(UsageError, match="no engine 'fast'"):
        choose_engine(encoder, batch, "fast", Place(CPU))


def test_a_graph_is_exported_once_and_kept(
    encoder: Encoder, batch: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(CPU, "mean", 0, "a" * 32)
    first = choose_engine(encoder, batch, "onnx", place).engine(batch)
    path = graph_path("a" * 32, "mean")
    assert list(path.parent.iterdir()) == [path]

    def never(*_: object, **__: object) -> bytes:
        raise AssertionError("it was exported before")

    monkeypatch.setattr(engines, "export_graph", never)
    assert np.array_equal(choose_engine(encoder, batch, "onnx", place).engine(batch), first)
    with pytest.raises(UsageError, match="it was exported before"):
        choose_engine(encoder, batch, "onnx", Place(CPU, "cls", 0, "a" * 32))


def test_a_kept_graph_that_was_tampered_with_is_replaced(encoder: Encoder, batch: Tensor) -> None:
    place = Place(CPU, "mean", 0, "a" * 32)
    choose_engine(encoder, batch, "onnx", place)
    path = graph_path("a" * 32, "mean")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    choice = choose_engine(encoder, batch, "onnx", place)
    np.testing.assert_allclose(choice.engine(batch), by_hand(encoder, batch), atol=1e-6)
    assert path.read_bytes() == whole


def test_a_kept_graph_of_another_encoder_is_found_out(
    tiny: ModuleType, encoder: Encoder, batch: Tensor
) -> None:
    place = Place(CPU, "mean", MANY, "a" * 32)
    choose_engine(tiny.TinySource(seed=9).load(), batch, "onnx", place)
    with pytest.raises(UsageError, match="differs from eager"):
        choose_engine(encoder, batch, "onnx", place)
    assert choose_engine(encoder, batch, "auto", place).engine.name == "eager"


def test_a_graph_that_cannot_be_kept_is_used_all_the_same(
    encoder: Encoder, batch: Tensor, own_cache: Path
) -> None:
    (own_cache / "graphs").write_text("in the way")
    choice = choose_engine(encoder, batch, "onnx", Place(CPU, "mean", 0, "a" * 32))
    assert isinstance(choice, Choice)
    np.testing.assert_allclose(choice.engine(batch), by_hand(encoder, batch), atol=1e-6)


def test_onnx_on_a_gpu_needs_its_build(
    encoder: Encoder, batch: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    eager = Eager(encoder, "mean", CPU)
    with pytest.raises(EngineRefused, match="built without CUDA"):
        engines.make_engine("onnx", eager, batch, Place(torch.device("cuda")))


def test_a_runtime_that_cannot_load_the_graph_is_refused(
    encoder: Encoder, batch: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("no such kernel")

    monkeypatch.setattr(onnxruntime, "InferenceSession", broken)
    with pytest.raises(UsageError, match="no such kernel"):
        choose_engine(encoder, batch, "onnx", Place(CPU))


def test_autocast_that_overflows_runs_again_in_full(encoder: Encoder, batch: Tensor) -> None:
    half = Eager(encoder, "mean", CPU, autocast=True)
    assert half.name == "autocast"
    np.testing.assert_allclose(half(batch), by_hand(encoder, batch), atol=1e-2)
    large = batch * 1e6
    np.testing.assert_allclose(half(large), by_hand(encoder, large), rtol=1e-4, atol=1.0)


def test_compiled_runs_what_torch_compile_gives(
    encoder: Encoder, batch: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def compiled(module: torch.nn.Module, dynamic: bool) -> torch.nn.Module:
        seen.append(dynamic)
        return module

    monkeypatch.setattr(torch, "compile", compiled)
    choice = choose_engine(encoder, batch, "compiled", Place(CPU))
    assert choice.engine.name == "compiled"
    assert seen == [False]
    np.testing.assert_allclose(choice.engine(batch), by_hand(encoder, batch), atol=1e-6)


def test_auto_considers_half_precision_and_compilation_only_on_gpus(batch: Tensor) -> None:
    assert engines._candidates(batch, Place(CPU)) == ("onnx",)
    assert engines._candidates(batch, Place(torch.device("cuda"))) == ("autocast", "compiled")
    assert engines._candidates(batch, Place(torch.device("mps"))) == ()
    tokens = batch.long()
    assert engines._candidates(tokens, Place(CPU)) == ("onnx",)
    assert engines._candidates(tokens, Place(torch.device("cuda"))) == ("autocast",)


def test_the_graph_has_no_weights_elsewhere_and_a_free_batch(
    encoder: Encoder, batch: Tensor
) -> None:
    choose_engine(encoder, batch, "onnx", Place(CPU, "mean", 0, "a" * 32))
    graph = onnx.load(graph_path("a" * 32, "mean")).graph
    assert graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    assert [output.name for output in graph.output] == ["features"]
