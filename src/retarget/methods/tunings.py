"""`GradientTuning`: what the methods that train by gradients have in common."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Self

from retarget.core import processes
from retarget.methods import kept
from retarget.methods.settings import Part, Training
from retarget.methods.tuning import Subject, Tuned, Tuning
from retarget.sources.source import Source

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from retarget.methods.lesson import Lesson
    from retarget.methods.trainee import Trainee
    from retarget.sources.encoder import Encoder

# With so few labels the validation rows are missed in what is learned from.
FEW = 500
HEAD = ("linear.weight", "linear.bias")


@dataclass(frozen=True)
class Ready:
    """What a training is about to change.

    Attributes:
        trainee: with its head as it starts.
        parts: what is trained of it.
        start: copy of its weights, where they are mixed with those it will have.
        adapters: the encoder's model as `peft` sees it, where there are some.
        lesson: how examples are learned from; `None` for the usual way.
    """

    trainee: "Trainee"
    parts: tuple[Part, ...]
    start: "Mapping[str, Tensor]" = field(default_factory=dict)
    adapters: Any = None
    lesson: "Lesson | None" = None


@dataclass(frozen=True, kw_only=True)
class GradientTuning(Training, Tuning):
    """A tuning by `training.train`.

    Attributes:
        refit: train again on all rows, validation rows included, for the epochs that the first
            training took; validation outputs are the first one's. `None`: where there are fewer
            than 500 rows.
    """

    refit: bool | None = None

    def fit(self, subject: Subject) -> Tuned:
        """Train, or return what was found when the same was trained before."""
        key = kept.training_key(type(self), asdict(self), self.start(subject), subject)
        key = processes.broadcast(key)  # processes on other machines may make another
        found = kept.find(key) if processes.is_main() else None
        if processes.broadcast(found is not None):
            found = found or kept.find(key)
        if found is None:
            from retarget.methods.course import run

            found = run(self, subject, key)
        return found

    def start(self, subject: Subject) -> Source:
        """Return what training starts from."""
        return subject.source

    @abstractmethod
    def settled(self, encoder: "Encoder", subject: Subject) -> Self:
        """Return the settings with nothing left open that depends on the method."""

    @abstractmethod
    def begin(self, encoder: "Encoder", subject: Subject) -> Ready:
        """Return an encoder that was loaded from `start`, ready to be trained."""

    def end(self, ready: Ready, folder: "Path | None") -> str:
        """Make the encoder an ordinary one again, with the weights it has now.

        Returns the folder of its adapter below `folder`, where there is one and it is wanted.
        """
        return ""

    def trains_again(self, subject: Subject) -> bool:
        """Return whether a second training follows, on all rows."""
        if not subject.validation.any():
            return False
        return len(subject.inputs) < FEW if self.refit is None else self.refit

    @property
    def mixes(self) -> bool:
        """Whether the tuned weights are mixed with those at the start."""
        return False

    @property
    def kept_shares(self) -> tuple[float, ...]:
        """Shares of the tuned weights whose encoders are kept as well."""
        return ()
