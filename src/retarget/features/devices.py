"""Where encoders run, and how fast that place multiplies matrices."""

import os
import time
from typing import TYPE_CHECKING

from retarget.core.errors import UsageError

if TYPE_CHECKING:
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
    """Return the float32 multiply-adds a second of a large matrix product, measured for 0.1 s."""
    import torch

    side = _PEAK_SIDE if device.type == "cpu" else 4 * _PEAK_SIDE
    left = torch.rand(side, side, device=device)
    best = float("inf")
    end = time.perf_counter() + PEAK_SECONDS
    while time.perf_counter() < end:
        start = time.perf_counter()
        (left @ left)[0, 0].item()
        best = min(best, time.perf_counter() - start)
    return side**3 / best
