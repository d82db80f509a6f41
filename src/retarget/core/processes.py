"""Several processes at one run: who one is, and how to wait for and tell the others.

A launcher (`torchrun`, `accelerate launch`) starts the same command several times and gives each
process its number in `RANK`, of `WORLD_SIZE`. A process that is alone imports nothing here.
"""

import atexit
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

from retarget.core.errors import MissingExtraError, TrainingError, UsageError

if TYPE_CHECKING:
    import torch
    from torch.distributed import ProcessGroup

# The others wait while the main process extracts. One that died is noticed at once all the same.
WAIT = timedelta(hours=24)


_apart: ContextVar[bool] = ContextVar("apart", default=False)


def rank() -> int:
    """Return the number of this process, from 0; 0 when alone. Raises `UsageError`."""
    return _place()[0]


def count() -> int:
    """Return how many processes are at this run; 1 when alone. Raises `UsageError`."""
    return _place()[1]


def is_main() -> bool:
    """Return whether this process is the one that extracts, writes and prints."""
    return rank() == 0


@contextmanager
def apart() -> Iterator[None]:
    """Run the block as a process that is alone: nothing in it waits for the others."""
    token = _apart.set(True)
    try:
        yield
    finally:
        _apart.reset(token)


def _place() -> tuple[int, int]:
    if _apart.get():
        return 0, 1
    # A job scheduler's own variables are not read: a batch script has them too, and is alone.
    said = {name: os.environ.get(name, "") for name in ("RANK", "WORLD_SIZE")}
    if not all(said.values()):
        return 0, 1
    if all(value.isascii() and value.isdecimal() for value in said.values()):
        number, among = int(said["RANK"]), int(said["WORLD_SIZE"])
        if number < among:
            return number, among
    raise UsageError(
        f"RANK={said['RANK']!r} and WORLD_SIZE={said['WORLD_SIZE']!r} in the environment do not "
        "number a process. Start with accelerate launch or torchrun, which set them, or unset both."
    )


def join() -> None:
    """Meet the other processes, if that was not done yet. To be called early by all of them:
    who comes first waits for the last as long as PyTorch does, some ten minutes.

    Raises:
        MissingExtraError: accelerate is not installed.
        TrainingError: another process did not come.
        UsageError: the launcher did not set what PyTorch needs.
    """
    if count() > 1:
        _group()


@cache
def _group() -> "ProcessGroup":
    """Return a group for small messages that waits for `WAIT`, with GPUs and without."""
    import torch
    import torch.distributed as distributed

    try:
        from accelerate import PartialState
        from accelerate.utils import parse_flag_from_env
    except ImportError as error:
        raise MissingExtraError(
            "Several processes need the package accelerate, which is not installed. "
            'Run: pip install "retarget[tune]"'
        ) from error
    with _waiting():
        # Asked for here, since on a machine without GPUs it takes each process to be alone.
        alone = parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.cuda.is_available()
        found: int = PartialState(cpu=alone).num_processes
    if found != count():
        raise UsageError(
            f"WORLD_SIZE says {count()} processes, but PyTorch found {found}. Set LOCAL_RANK, "
            "MASTER_ADDR and MASTER_PORT too, or start with accelerate launch or torchrun."
        )
    with _waiting():
        group = distributed.new_group(backend="gloo", timeout=WAIT)
    assert isinstance(group, distributed.ProcessGroup)  # this process is in it
    atexit.register(_leave)
    return group


def _leave() -> None:
    # A gloo group that outlives Python can abort the process ("terminate called without an active
    # exception"). NCCL is left alone: it may wait for ever for a process that died.
    import torch.distributed as distributed

    if distributed.is_initialized():
        everything = distributed.get_backend() == "gloo"
        distributed.destroy_process_group(None if everything else _group())
    _group.cache_clear()


@contextmanager
def _waiting() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise TrainingError(
            f"Process {rank()} of {count()} (counted from 0) waited for the others in vain: one of "
            f"them ended, or did not come within {WAIT}. The first error of the others says why. "
            "Then give the same command again: what was done by then is kept."
        ) from error


def barrier() -> None:
    """Wait until every process is here. Raises as `join` does."""
    if count() == 1:
        return
    import torch.distributed as distributed

    group = _group()
    with _waiting():
        distributed.monitored_barrier(group, timeout=WAIT)


def broadcast(value: Any) -> Any:
    """Return the main process's `value` in every process.

    It must be JSON-able, and comes back as JSON does: tuples as lists, keys as text. When alone
    it is returned as it is. What the other processes pass is not looked at. Raises as `join` does.
    """
    if count() == 1:
        return value
    text = json.dumps(value).encode() if is_main() else b""
    import torch

    length = _sent(torch.tensor([len(text)]))
    room = torch.zeros(int(length.item()), dtype=torch.uint8)
    if is_main():
        room = torch.frombuffer(bytearray(text), dtype=torch.uint8)
    return json.loads(bytes(_sent(room).tolist()))


def _sent(tensor: "torch.Tensor") -> "torch.Tensor":
    import torch.distributed as distributed

    group = _group()
    with _waiting():
        distributed.broadcast(tensor, src=0, group=group)
    return tensor


def anywhere(flag: bool) -> bool:
    """Return, in every process, whether `flag` is true in any. Raises as `join` does."""
    if count() == 1:
        return flag
    import torch
    import torch.distributed as distributed

    raised = torch.tensor([int(flag)])
    group = _group()
    with _waiting():
        distributed.all_reduce(raised, op=distributed.ReduceOp.MAX, group=group)
    return bool(raised.item())


@contextmanager
def main_first() -> Iterator[None]:
    """Run the block in the main process, then in all others, which find what it left.

    If it raises in the main process the others don't run it: they wait until the launcher, seeing
    the main process end, ends them. Raises as `join` does.
    """
    join()
    if not is_main():
        barrier()
    yield
    if is_main():
        barrier()
