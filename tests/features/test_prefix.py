from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from retarget.features import engines, prefix
from retarget.features.prefix import CPU_BATCH, Prefix, multiply_adds

CPU = torch.device("cpu")


def made(halves: ModuleType, **options: Any) -> tuple[Prefix, Any, list[Tensor]]:
    encoder = halves.Halves(**options)
    generator = torch.Generator().manual_seed(1)
    tensors = list(torch.rand(CPU_BATCH, 3, halves.SIDE, halves.SIDE, generator=generator))
    return Prefix(encoder, encoder.split(), CPU), encoder, tensors


@pytest.mark.parametrize("engine", ["eager", "onnx"])
def test_it_runs_the_prefix_however_many_there_are(halves: ModuleType, engine: str) -> None:
    run, encoder, tensors = made(halves, exports=True)
    assert run.choose(tensors, 0, engine) == engine
    with torch.no_grad():
        expected = encoder.first(torch.stack(tensors)).flatten(1).numpy()
    whole = run(tensors)
    assert whole.dtype == np.float32
    assert np.allclose(whole, expected, atol=1e-5)
    for count in (1, 7):
        assert np.array_equal(run(tensors[:count]), whole[:count])


def test_modes_and_gradients_are_left_alone(halves: ModuleType) -> None:
    run, encoder, tensors = made(halves, exports=True)
    expected = run(tensors)
    encoder.train()
    encoder.second.eval()
    modes = [module.training for module in encoder.modules()]
    for engine in ("eager", "onnx"):
        assert run.choose(tensors, 0, engine) == engine
        assert np.allclose(run(tensors), expected, atol=1e-5)
        assert [module.training for module in encoder.modules()] == modes
    assert encoder.first[1].running_mean.abs().max() == 0
    assert all(p.grad is None and p.requires_grad for p in encoder.parameters())


def test_few_examples_are_not_worth_an_export(
    halves: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prefix, "CLEARLY", 0.0)
    run, _, tensors = made(halves, exports=True)
    assert run.choose(tensors, prefix.EXPORT_FROM - 1) == "eager"
    assert run.choose(tensors, prefix.EXPORT_FROM) == "onnx"
    monkeypatch.setattr(prefix, "CLEARLY", 1e9)
    assert run.choose(tensors, prefix.EXPORT_FROM) == "eager"
    assert run._onnx is None


def test_what_cannot_be_exported_or_is_wrong_stays_eager(
    halves: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prefix, "CLEARLY", 0.0)
    run, _, tensors = made(halves)
    assert run.choose(tensors, 10**6) == "eager"
    run, _, tensors = made(halves, exports=True)
    with monkeypatch.context() as patch:
        patch.setattr(engines, "TOLERANCE", -1.0)
        assert run.choose(tensors, 10**6) == "eager"
    with monkeypatch.context() as patch:
        patch.setattr(prefix, "export_graph", lambda *_: b"no graph")
        assert run.choose(tensors, 10**6) == "eager"
    wrong = replace(run._split, shape=(4, 8, 8))
    run._split = replace(wrong, prefix=lambda batch: run._encoder.first(batch) * _traced())
    assert run.choose(tensors, 10**6) == "eager"


def _traced() -> float:
    return 1.01 if torch.jit.is_tracing() else 1.0


def test_only_numbers_are_exported(halves: ModuleType) -> None:
    run, _, tensors = made(halves, exports=True)
    run._split = replace(run._split, prefix=lambda batch: batch.float())
    whole = [(tensor * 255).to(torch.int64) for tensor in tensors]
    assert run.choose(whole, 10**6, "onnx") == "eager"
    assert np.array_equal(run(whole), torch.stack(whole).flatten(1).numpy().astype(np.float32))


def test_multiply_adds_are_those_of_the_convolution(halves: ModuleType) -> None:
    encoder = halves.Halves()
    assert multiply_adds(encoder, encoder.split(), CPU) == 4 * 8 * 8 * 3 * 3 * 3
