"""Memory: whether an error means that there was too little of it, and how much was used."""

import ctypes
import gc
import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor

from retarget.core.errors import TrainingError

_EVERY = 0.05
_SAYINGS = ("can't allocate memory", "cannot allocate memory", "not enough memory", "out of memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory was not enough: a GPU's, or a CPU's allocator."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(s in str(error).lower() for s in _SAYINGS)


def too_little(error: BaseException, together: int = 1) -> TrainingError:
    """Return what to say where not even so many examples fit as must go together."""
    what = "a single example" if together == 1 else f"{together} examples, which are compared,"
    return TrainingError(
        f"Memory is not enough for {what} ({error}). Train fewer layers (--from), let "
        "activations be recomputed, or choose a smaller source or input size."
    )


def run_in_parts(make: Callable[[Tensor], Tensor], batch: Tensor) -> Tensor:
    """Return what `make` gives of a batch, in parts of it where memory doesn't hold it whole.

    Raises `TrainingError` where it doesn't hold a single example.
    """
    size = len(batch)
    while True:
        try:
            return torch.cat([make(part) for part in torch.split(batch, size)])
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if size == 1:
                raise too_little(error) from error
            size = (size + 1) // 2


class PeakMemory:
    """Measures, while its block runs, the most memory in use above what was in use before.

    On a GPU its own allocator counts. On a CPU the size of the process is looked at 20 times a
    second on Linux; elsewhere only growth beyond the largest size so far is known.

    Attributes:
        megabytes: the most so far.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._most = self._start = 0
        self._done = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> "PeakMemory":
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
            self._start = torch.cuda.memory_allocated(self._device)
            return self
        _give_back()
        self._start = self._most = resident_bytes()
        self._thread = threading.Thread(target=self._watch, name="retarget-memory", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._done.set()
        if self._thread is not None:
            self._thread.join()

    @property
    def megabytes(self) -> float:
        """The most so far, in megabytes."""
        if self._device.type == "cuda":
            self._most = torch.cuda.max_memory_allocated(self._device)
        else:
            self._most = max(self._most, resident_bytes())
        return max(0, self._most - self._start) / 1e6

    def _watch(self) -> None:
        while not self._done.wait(_EVERY):
            self._most = max(self._most, resident_bytes())


def _give_back() -> None:
    """Return memory that is free but was kept to the system, so that using it again is seen."""
    gc.collect(1)  # the oldest are many and seldom rubbish
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)  # of glibc


def resident_bytes() -> int:
    """Return how much memory this process takes; where it can't be had, the most it ever took."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        pass
    try:
        import resource
    except ImportError:
        return 0
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
