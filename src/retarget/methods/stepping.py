"""One step of the optimiser: the gradient of a batch, in as many pieces as memory allows."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil, isfinite

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from retarget.core.hashing import hash_json
from retarget.core.types import IntArray
from retarget.features.views import Inputs
from retarget.methods.decisions import Decisions
from retarget.methods.memory import is_out_of_memory, too_little
from retarget.methods.modes import without_taking_in
from retarget.methods.objective import Mixing, Objective
from retarget.methods.optimiser import clip, norm_of, pull_back, sharpened
from retarget.methods.settings import Training
from retarget.methods.team import Team
from retarget.methods.trainee import Trainee
from retarget.methods.units import aligned


@dataclass(frozen=True)
class Share:
    """A process's share of a batch.

    Attributes:
        batch: its examples, on the CPU; `None` where there are none.
        rows: which of the inputs they are.
        mixing: how they are mixed.
        mass: weights of all that the batch's losses are of, in all processes.
        most: examples that go through the model at once, at most; `None` for all.
    """

    batch: Tensor | None
    rows: IntArray
    mixing: Mixing | None
    mass: float
    most: int | None = None


class Stepper:
    """Takes steps.

    Attributes:
        micro: examples that go through the model at once, at most; halved where memory is short.
    """

    def __init__(
        self,
        trainee: Trainee,
        objective: Objective,
        optimiser: Optimizer,
        team: Team,
        how: Training,
        decided: Decisions,
        together: int = 1,
        inputs: Inputs | None = None,
    ) -> None:
        self.micro = how.at_once
        self._trainee, self._objective, self._optimiser = trainee, objective, optimiser
        self._team, self._how, self._decided = team, how, decided
        self._together, self._inputs = together, inputs
        self._parameters = dict(trainee.named_parameters())
        self._start = {n: p.detach().clone() for n, p in self._named()} if how.stay_near else {}

    def step(self, share: Share, seed: int) -> float:
        """Change the weights by one step; return the mean loss of the batch.

        The weights are left as they were where loss or gradient is not finite.

        Args:
            share: of the batch.
            seed: decides what is dropped.

        Raises:
            FloatingPointError: a loss or a gradient that is not finite.
            TrainingError: not even one example fits in memory.
        """
        named = dict(self._named())
        loss = self._gradient(share, seed, named)
        if self._how.sharpness:
            with (
                sharpened(list(named.values()), self._how.sharpness),
                without_taking_in(self._trainee),
            ):
                self._gradient(share, seed, named)
        if self._how.stay_near:
            pull_back(named, self._start, self._how.stay_near)
        norm = norm_of(p.grad for p in named.values() if p.grad is not None)
        # Both at once: each look at a number of the GPU waits for it.
        value, size = torch.stack([loss, norm.float()]).tolist()
        if not isfinite(value) or not isfinite(size):
            raise FloatingPointError("loss" if not isfinite(value) else "gradient")
        clip(list(named.values()), norm, self._how.clip)
        self._optimiser.step()
        return float(value)

    def _named(self) -> Iterator[tuple[str, nn.Parameter]]:
        return ((n, p) for n, p in self._parameters.items() if p.requires_grad)

    def _gradient(self, share: Share, seed: int, named: Mapping[str, nn.Parameter]) -> Tensor:
        """Set the gradients of the whole batch, of all processes; return its loss."""
        while True:
            self._optimiser.zero_grad(set_to_none=True)
            try:
                with dropping(seed + self._team.rank, self._team.device):
                    loss = self._accumulated(share)
                break
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                self._halve(len(share.rows), error)
        return self._team.sum_gradients(list(named.values()), loss)

    def _halve(self, size: int, error: BaseException) -> None:
        self.micro = min(self.micro, size)
        if self.micro <= self._together:
            raise too_little(error, self._together) from error
        self.micro = max(ceil(self.micro / 2), self._together)
        if self._team.device.type == "cuda":
            torch.cuda.empty_cache()

    def _accumulated(self, share: Share) -> Tensor:
        device = self._team.device
        loss = torch.zeros((), device=device)
        if share.batch is None:
            return loss
        batch, shares = share.batch, None
        rows = others = torch.from_numpy(share.rows)
        if share.mixing is not None:
            batch, shares = share.mixing.apply(batch)
            others = rows[torch.from_numpy(share.mixing.others)]
        most = max(min(self.micro, share.most or self.micro), self._together)
        for at in _pieces(len(rows), most, self._together):
            part = placed(batch[at], device, self._decided.channels_last)
            with torch.autocast(device.type, torch.bfloat16, enabled=self._decided.bf16):
                outputs = self._objective.read(self._trainee, part).float()
            own = rows[at]
            if self._inputs is not None and self._inputs.owners is not None:
                outputs = aligned(outputs, self._inputs, share.rows[at])
                own = torch.from_numpy(self._inputs.rows(share.rows[at]))
            found = self._total(outputs, own, others[at], shares, at) / share.mass
            torch.autograd.backward(found)
            loss += found.detach()
        return loss

    def _total(
        self, outputs: Tensor, rows: Tensor, others: Tensor, shares: Tensor | None, at: slice
    ) -> Tensor:
        rows, others = rows.to(outputs.device), others.to(outputs.device)
        if shares is None:
            return self._objective.total(outputs, rows)
        own = shares[at].to(outputs.device)
        return self._objective.mixed_total(outputs, rows, others, own)


def _pieces(size: int, most: int, together: int) -> Iterator[slice]:
    """Yield parts of a batch, about as large as each other, of at most `most` examples; neighbours
    in blocks of `together` (`most` or fewer) are not parted."""
    blocks = ceil(size / together)
    for piece in torch.arange(blocks).tensor_split(ceil(blocks / (most // together))):
        last = min((int(piece[-1]) + 1) * together, size)
        yield slice(int(piece[0]) * together, last)


def placed(batch: Tensor, device: torch.device, channels_last: bool) -> Tensor:
    """Return a batch on a device, pictures and maps laid out as the model is."""
    if channels_last and batch.ndim == 4:
        return batch.to(device, memory_format=torch.channels_last, non_blocking=True)
    return batch.to(device, non_blocking=True)


def step_seed(seed: int, epoch: int, step: int) -> int:
    """Return what decides all that is random in a step, but for the order and the views."""
    return int(hash_json(["step", seed, epoch, step]), 16) % 2**62


@contextmanager
def dropping(seed: int, device: torch.device) -> Iterator[None]:
    """Have torch draw from `seed` inside the block; its random state is left as it was."""
    gpus = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=gpus):
        torch.default_generator.manual_seed(seed)
        if gpus:
            torch.cuda.manual_seed(seed)
        elif device.type == "mps":
            torch.mps.manual_seed(seed)
        yield
