import sys

import numpy as np
import pytest
import torch

from retarget.methods import memory
from retarget.methods.memory import PeakMemory, is_out_of_memory, resident_bytes


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
    found = []
    for _ in range(2):
        with PeakMemory(torch.device("cpu")) as peak:
            held = [torch.ones(20_000) for _ in range(1500)]  # 120 MB, below the size of a map
            del held
            found.append(peak.megabytes)
    assert found[1] > 0.7 * found[0] > 50
