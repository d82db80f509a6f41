"""The contract of methods that change a source's weights, and their registry."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, get_args

import numpy as np

from retarget.core.types import BoolArray, FloatArray, IntArray, Kind, Modality, Pooling
from retarget.features.table import Table
from retarget.features.views import Inputs
from retarget.methods.base import Labels
from retarget.methods.model import Member
from retarget.sources.source import Source

if TYPE_CHECKING:
    from retarget.methods.callbacks import Callback


@dataclass(frozen=True)
class Subject:
    """What a tuning is given: a source, and n labelled examples that it may learn from.

    Attributes:
        source: what to start from.
        inputs: of the examples; they say which rows of labels are of each (`Inputs.owners`).
        labels: (n rows) one of each example, or of each of its words.
        validation: (n,) rows that judge epochs, mixes and learning rates, and are not learned
            from while they do; all rows of an example or none.
        metric: headline metric, shown beside the loss that decides.
        pooling: how places of a layer become one vector.
        seed: decides all that is random.
        table: features of the n rows by the source as it is; `None` where it was not run.
        device: as `pick_device` takes it.
        seconds: how long training may take, `None` without a limit.
        title: for progress: "fine-tuning, fold 2 of 5".
        callbacks: told of every epoch.
    """

    source: Source
    inputs: Inputs
    labels: Labels
    validation: BoolArray
    metric: str
    pooling: Pooling = "mean"
    seed: int = 0
    table: Table | None = None
    device: str = "auto"
    seconds: float | None = None
    title: str = "Training"
    callbacks: "Sequence[Callback]" = ()

    @property
    def learning(self) -> IntArray:
        """Rows that are learned from."""
        return np.flatnonzero(~self.validation)

    @property
    def judging(self) -> IntArray:
        """Rows that judge while training."""
        return np.flatnonzero(self.validation)

    @property
    def learners(self) -> IntArray:
        """Examples that are learned from."""
        return self.inputs.examples(self.learning)

    @property
    def judges(self) -> IntArray:
        """Examples that judge while training."""
        return self.inputs.examples(self.judging)


@dataclass(frozen=True)
class Epoch:
    """One epoch: number from 1 (0: before training), mean losses of examples, headline score.

    `loss` is that of training batches as they were trained on; validation figures are at the
    temperature that suits them. `seconds` since training began.
    """

    number: int
    loss: float
    validation_loss: float
    score: float
    lr: float
    seconds: float


@dataclass(frozen=True)
class Mix:
    """A point of the way from the source (share 0) to the tuned weights (1).

    `uri` opens the encoder with these weights, where it was kept, with `member` as its head.
    """

    share: float
    validation_loss: float
    score: float
    uri: str = ""
    member: Member | None = None


@dataclass(frozen=True)
class TrainingCost:
    """What a training took.

    Attributes:
        parameters: of encoder and head.
        trainable: of these, how many were trained.
        seconds: of the whole, checkpoints and cached activations included.
        step_seconds: median of a training step.
        peak_megabytes: most memory in use above what was in use before: of the device, or of the
            process on a CPU.
        disk_megabytes: of cached activations.
    """

    parameters: int
    trainable: int
    seconds: float
    step_seconds: float
    peak_megabytes: float
    disk_megabytes: float


@dataclass(frozen=True)
class Tuned:
    """What a tuning hands over.

    Attributes:
        uri: opens the tuned encoder: a `file:` source with weights, preprocessing and all.
        member: the head on it; its method is the tuning's name.
        validation: (m, K) outputs of the validation rows, in their order, of the training that
            did not see them.
        epochs: what happened.
        taken: number of the epoch whose weights were kept.
        why: one sentence: why that one.
        gap: validation loss less training loss of the epoch taken, (value, low, high), 95%.
        cost: of all trainings behind this.
        mixes: of weights averaged towards the source, where that was tried.
        settings: all that was decided, by name, JSON-able: learning rate, batch, layers, …
        notes: what a person may want to know: an interruption, a cache that didn't pay.
        adapter: folder in PEFT's format, "" where there is none.
    """

    uri: str
    member: Member
    validation: FloatArray
    epochs: tuple[Epoch, ...]
    taken: int
    why: str
    gap: tuple[float, float, float]
    cost: TrainingCost
    mixes: tuple[Mix, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    adapter: str = ""


class Tuning(ABC):
    """A way to change weights for a task. Subclasses are frozen dataclasses, JSON-able but for
    what their docstrings name.

    Attributes:
        from_random: starts from random weights: what transfer is measured against.
    """

    name: ClassVar[str]
    kinds: ClassVar[frozenset[Kind]] = frozenset(get_args(Kind))
    from_random: ClassVar[bool] = False

    @classmethod
    def suits(cls, modality: Modality) -> bool:
        """Return whether it can learn from inputs of a modality."""
        return True

    @abstractmethod
    def fit(self, subject: Subject) -> Tuned:
        """Train. Finished trainings are kept in the cache: the same again costs nothing, and one
        that was killed goes on where it was.

        Raises:
            TrainingError: a loss that is not finite, memory that is not enough for one example.
            MissingExtraError: a package that is needed is not installed.
        """


TUNINGS: dict[str, type[Tuning]] = {}


def register_tuning(cls: type[Tuning]) -> type[Tuning]:
    """Make a tuning known by its name, to the command line and to the shared tests."""
    TUNINGS[cls.name] = cls
    return cls
