import os

import pytest
import torch

from retarget.core.errors import UsageError
from retarget.features.devices import cores, peak_multiply_adds, pick_device


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """Pretend a machine with so many GPUs, with or without MPS."""

    def pretend(gpus: int = 0, mps: bool = False) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)

    return pretend


def test_auto_takes_a_gpu_where_there_is_one(machine) -> None:  # type: ignore[no-untyped-def]
    for gpus, mps, expected in ((0, False, "cpu"), (0, True, "mps"), (2, False, "cuda")):
        machine(gpus, mps)
        assert pick_device("auto").type == expected


def test_a_device_by_name(machine) -> None:  # type: ignore[no-untyped-def]
    machine(2, True)
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device("cuda:1") == torch.device("cuda:1")
    assert pick_device("cuda") == torch.device("cuda")
    assert pick_device("mps") == torch.device("mps")


@pytest.mark.parametrize(
    ("name", "gpus", "said"),
    [
        ("cuda", 0, "no CUDA device"),
        ("cuda:1", 1, "1 CUDA device."),
        ("cuda:7", 2, "2 CUDA devices"),
        ("mps", 2, "Apple silicon"),
        ("tpu", 2, "'tpu' is no device"),
        ("cuda:x", 2, "'cuda:x' is no device"),
        ("cuda:", 2, "'cuda:' is no device"),
        ("", 2, "'' is no device"),
    ],
)
def test_a_device_that_is_not_here_is_told(machine, name: str, gpus: int, said: str) -> None:  # type: ignore[no-untyped-def]
    machine(gpus)
    with pytest.raises(UsageError) as told:
        pick_device(name)
    assert said in str(told.value)
    assert "--device" in str(told.value) or "Say auto" in str(told.value)


def test_cores_are_those_this_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 3, 5}, raising=False)
    assert cores() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert cores() == 1


def test_the_peak_is_a_rate_a_processor_can_have() -> None:
    assert 1e7 < peak_multiply_adds(torch.device("cpu")) < 1e14
