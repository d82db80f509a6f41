"""What the machine decides of a training: where it runs, and whether that multiplies in bf16."""

import os
import platform
from contextlib import suppress
from pathlib import Path

import numpy as np

from retarget.core.hashing import versions_of
from retarget.core.recall import Arrays, recalled

MACHINE = "machine 1"
_VARIABLES = ("ONEDNN_MAX_CPU_ISA", "CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")


def machine_of(device: str) -> tuple[str, bool]:
    """Return the type of a device, named as `pick_device` takes it, and whether it multiplies
    matrices in bf16. PyTorch is asked once on each machine: importing it takes seconds.

    Raises `UsageError` as `pick_device` does.
    """

    def ask() -> Arrays:
        from retarget.features.devices import pick_device
        from retarget.methods.modes import multiplies_bf16

        found = pick_device(device)
        return {"type": np.array(found.type), "bf16": np.array(multiplies_bf16(found))}

    decided = [
        *(device, platform.node(), platform.machine(), _has_amx(), _gpus()),
        *(os.environ.get(name) for name in _VARIABLES),
        versions_of(["torch"]),
    ]
    found = recalled(MACHINE, decided, ask)
    return str(found["type"]), bool(found["bf16"])


def _has_amx() -> bool:
    """Return whether Linux says that the CPU has AMX for bf16."""
    with suppress(OSError), Path("/proc/cpuinfo").open(encoding="utf-8") as lines:
        return "amx_bf16" in next((line for line in lines if line.startswith("flags")), "")
    return False


def _gpus() -> list[str]:
    """Return the names of NVIDIA's and AMD's devices, where the system has files for them."""
    found = [*Path("/dev").glob("nvidia*"), *Path("/dev").glob("kfd")]
    return sorted(str(path) for path in [*found, *Path("/proc/driver/nvidia/gpus").glob("*")])
