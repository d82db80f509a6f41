"""`Team`: the processes that train one model together, each on its share of every batch."""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from retarget.core import processes
from retarget.core.types import FloatArray
from retarget.features.devices import pick_device
from retarget.methods.schedule import share_of

_BUCKET = 8_000_000  # numbers sent at once


class Team:
    """One process, or several that were started together; they meet when this is made.

    Every process holds the whole model. Gradients are summed over processes once a step, so each
    may divide its share of the batch as its memory demands.

    Attributes:
        count: of processes.
        rank: of this one.
        device: of this one.
    """

    def __init__(self, device: str) -> None:
        """Meet the others. Raises as `core.processes.join` and `pick_device` do."""
        self.count, self.rank = processes.count(), processes.rank()
        self.device = pick_device(device)
        if self.count == 1:
            return
        processes.join()
        from accelerate import PartialState

        own: torch.device = PartialState().device
        self.device = own if self.device.type == "cuda" else torch.device("cpu")

    def share(self, size: int, together: int = 1) -> slice:
        """Return this process's positions of `size`; see `schedule.share_of`."""
        return share_of(size, self.rank, self.count, together)

    def sum_gradients(self, parameters: Sequence[nn.Parameter], loss: Tensor) -> Tensor:
        """Replace every gradient by its sum over processes; return the sum of losses (scalars).

        A parameter that no process has a gradient of is left without one.
        """
        if self.count == 1:
            return loss
        with torch.no_grad():
            known = torch.tensor([p.grad is not None for p in parameters], device=self.device)
            told = torch.cat([loss.reshape(1).float(), known.float()])
            self._sum(told)
            used = [p for p, n in zip(parameters, told[1:].tolist(), strict=True) if n]
            for parameter in used:
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
            self._sum_all([p.grad for p in used if p.grad is not None])
            return told[0]

    def average(self, tensors: Iterable[Tensor]) -> None:
        """Replace every tensor of real numbers by its mean over processes."""
        if self.count > 1:
            real = [t for t in tensors if t.is_floating_point()]
            self._sum_all(real)
            for tensor in real:
                tensor.div_(self.count)

    def whole(self, part: FloatArray, place: slice, size: int) -> FloatArray:
        """Return (size, K) of all processes' rows, of which this one has those at `place`."""
        if self.count == 1:
            return part
        rows = torch.zeros(size, part.shape[1], device=self.device)
        rows[place] = torch.from_numpy(part.astype(np.float32)).to(self.device)
        self._sum(rows)
        return rows.cpu().double().numpy()

    def _sum_all(self, tensors: Sequence[Tensor]) -> None:
        bucket: list[Tensor] = []
        for tensor in tensors:
            bucket.append(tensor)
            if sum(t.numel() for t in bucket) >= _BUCKET:
                self._sum_bucket(bucket)
                bucket = []
        if bucket:
            self._sum_bucket(bucket)

    def _sum_bucket(self, tensors: Sequence[Tensor]) -> None:
        flat = torch.cat([t.reshape(-1) for t in tensors])
        self._sum(flat)
        parts = torch.split(flat, [t.numel() for t in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view(tensor.shape))

    def _sum(self, tensor: Tensor) -> None:
        import torch.distributed as distributed

        distributed.all_reduce(tensor)
