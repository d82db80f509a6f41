"""Where encoders run, and how fast that place multiplies matrices."""

import os
import time
from typing import TYPE_CHECKING

from retarget.core.errors import UsageError
from retarget.core.types import FloatArray

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

PEAK_SECONDS = 0.1
_PEAK_SIDE = 768


def pick_device(name: str = "auto") -> "torch.device":
    """Return the device of that name; `auto` is a GPU where there is one, else the CPU.

    Raises `UsageError` for a device that this machine or this PyTorch doesn't have.
    """
    import torch

    kind, _, number = name.partition(":")
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    if name == "cpu":
        return torch.device("cpu")
    if name == "mps":
        if not torch.backends.mps.is_available():
            raise UsageError(f"device mps is not here: it needs a Mac with Apple silicon. {_HERE}")
        return torch.device("mps")
    if kind == "cuda" and (number.isdecimal() or name == "cuda"):
        found = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if int(number or 0) >= found:
            seen = f"{found} CUDA device{'s' * (found != 1)}" if found else "no CUDA device"
            raise UsageError(f"device {name} is not here: PyTorch sees {seen}. {_HERE}")
        return torch.device(name)
    raise UsageError(f"{name!r} is no device. Say auto, cpu, cuda, cuda:N or mps")


_HERE = "Say --device cpu, or auto to take what there is"


def cores() -> int:
    """Return how many CPU cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def peak_multiply_adds(device: "torch.device") -> float:
    """Return the float32 multiply-adds a second of a large matrix product, measured for 0.1 s.

    On a CPU it is measured with PyTorch and with ONNX Runtime, and the better of both returned:
    which one knows a processor's own instructions differs by a factor of two.
    """
    import torch

    side = _PEAK_SIDE if device.type == "cpu" else 4 * _PEAK_SIDE
    left = torch.rand(side, side, device=device)

    def by_torch() -> None:
        (left @ left)[0, 0].item()

    ways: list[Callable[[], object]] = [by_torch]
    if device.type == "cpu":
        ways.append(_product_by_onnx(left.numpy()))
    return side**3 / min(_shortest(way, PEAK_SECONDS / len(ways)) for way in ways)


def _shortest(work: "Callable[[], object]", seconds: float) -> float:
    """Return the shortest time that `work` takes, repeated for so many seconds."""
    best = float("inf")
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return best


def _product_by_onnx(matrix: FloatArray) -> "Callable[[], object]":
    """Return what multiplies a matrix with itself on all cores in ONNX Runtime."""
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, matrix.shape) for n in "ac"]
    weights = numpy_helper.from_array(matrix, "b")
    node = helper.make_node("MatMul", ["a", "b"], ["c"])
    graph = helper.make_graph([node], "product", ends[:1], ends[1:], [weights])
    # Versions that every runtime since 2022 reads.
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = cores()
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return lambda: session.run(None, {"a": matrix})
