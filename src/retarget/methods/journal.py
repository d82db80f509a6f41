"""`Journal`: what a training has done and decided so far, all that going on needs but tensors."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from retarget.methods.tuning import Epoch

_MOST_TIMES = 200


@dataclass
class Journal:
    """A training so far.

    Attributes:
        rows: examples it learns from, and judges by: another number is another training.
        lr: peak learning rate.
        schedule: epochs that the learning rate's course is laid out for.
        last: epoch after which it ends, at the latest.
        micro: examples that go through the model at once.
        epoch: the one it is in, from 1.
        step: steps done in it.
        loss, mass: sums over its examples so far.
        history: epochs that were judged.
        taken: the one that is kept; `best` its validation loss, `lowest` the lowest of all.
        seconds: spent before this process.
        times: seconds of the last steps.
        timed: whether it was decided if the schedule fits the time.
        updates: of the average of weights.
        ended: why no further epoch follows: "patience", "callback", "interrupted"; "" before, and
            where it ran to its last epoch.
        notes: what a person may want to know.
    """

    rows: tuple[int, int]
    lr: float
    schedule: int
    last: int
    micro: int
    epoch: int = 1
    step: int = 0
    loss: float = 0.0
    mass: float = 0.0
    history: list[Epoch] = field(default_factory=list)
    taken: int = 0
    best: float = float("inf")
    lowest: float = float("inf")
    seconds: float = 0.0
    times: list[float] = field(default_factory=list)
    timed: bool = False
    updates: int = 0
    ended: str = ""
    notes: list[str] = field(default_factory=list)

    @property
    def mean_loss(self) -> float:
        """Mean loss of the epoch so far; NaN before its first step."""
        return self.loss / self.mass if self.mass else float("nan")

    @property
    def step_seconds(self) -> float:
        """Median of the last steps, 0 before any."""
        return median(self.times) if self.times else 0.0

    def took(self, loss: float, mass: float, seconds: float) -> None:
        """Note a step: its mean loss, the weights of its examples, its time."""
        self.step += 1
        self.loss += loss * mass
        self.mass += mass
        self.times = [*self.times[1 - _MOST_TIMES :], seconds]

    def begin_next(self) -> None:
        """Go over to the next epoch."""
        self.epoch += 1
        self.step, self.loss, self.mass = 0, 0.0, 0.0

    def told(self) -> dict[str, Any]:
        """Return it JSON-able."""
        return asdict(self)

    @classmethod
    def from_told(cls, told: Mapping[str, Any]) -> "Journal":
        """Return what `told` gave. Raises `TypeError` or `KeyError` for anything else."""
        history = [Epoch(**epoch) for epoch in told["history"]]
        return cls(**{**told, "rows": tuple(told["rows"]), "history": history})
