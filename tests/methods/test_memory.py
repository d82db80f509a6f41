import gc
import sys

import numpy as np
import pytest
import torch

from retarget.core.errors import TrainingError
from retarget.methods import memory
from retarget.methods.memory import PeakMemory, is_out_of_memory, resident_bytes, run_in_parts


def test_knows_when_memory_was_not_enough() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(10**16)
    assert is_out_of_memory(caught.value)
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"))
    assert is_out_of_memory(RuntimeError("DefaultCPUAllocator: not enough memory"))
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not is_out_of_memory(ValueError("out of memory"))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what a process takes now")
def test_peak_is_what_was_in_use_at_most() -> None:
    gc.collect()
    with PeakMemory(torch.device("cpu")) as peak:
        held = np.ones(30_000_000)  # 240 MB
        during = resident_bytes()
        assert peak.megabytes > 200
        del held
    assert resident_bytes() < during - 100e6
    assert 200 < peak.megabytes < 2000
    with PeakMemory(torch.device("cpu")) as nothing:
        pass
    assert nothing.megabytes < 100


def test_where_there_is_no_proc_the_most_so_far_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    now = resident_bytes()
    monkeypatch.setattr(memory.Path, "read_text", lambda *_, **__: (_ for _ in ()).throw(OSError))
    assert resident_bytes() >= 0.9 * now


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what a process takes now")
def test_the_second_measurement_sees_what_the_first_one_left_to_the_allocator() -> None:
    gc.collect()  # what earlier tests left would be given back in the middle of a measurement
    found, above = [], []
    for _ in range(2):
        with PeakMemory(torch.device("cpu")) as peak:
            held = [torch.ones(20_000) for _ in range(1500)]  # 120 MB, below the size of a map
            above.append(torch.ones(20_000))  # so that freeing alone gives nothing back
            found.append(peak.megabytes)
            del held
    assert min(found) > 60


@pytest.mark.parametrize("room", [1, 2, 3, 7, 20])
def test_a_batch_goes_in_parts_that_fit(room: int) -> None:
    sizes = []

    def make(part: torch.Tensor) -> torch.Tensor:
        sizes.append(len(part))
        if len(part) > room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return 2 * part

    batch = torch.arange(14.0).reshape(7, 2)
    assert torch.equal(run_in_parts(make, batch), 2 * batch)
    assert sizes[0] == 7
    assert sum(size for size in sizes if size <= room) == 7


def test_what_no_part_fits_is_said_and_other_errors_are_themselves() -> None:
    def full(part: torch.Tensor) -> torch.Tensor:
        raise MemoryError

    def wrong(part: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("shapes cannot be multiplied")

    with pytest.raises(TrainingError, match="not enough for a single example"):
        run_in_parts(full, torch.zeros(4, 1))
    with pytest.raises(RuntimeError, match="multiplied"):
        run_in_parts(wrong, torch.zeros(4, 1))
