"""The contract of readers, and their registry: a new layout or container is one new file."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from retarget.core.types import Kind, Modality
from retarget.tasks.task import Problem


@dataclass(frozen=True)
class Asked:
    """What the user said about the data beside the data itself; see `open_task`."""

    targets: Any = None
    kind: Kind | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    domains: bool = False
    strict: bool = False
    follow_links: bool = False
    groups: Sequence[Any] | None = None
    splits: Sequence[Any] | None = None
    domain_names: Sequence[Any] | None = None
    weights: Sequence[Any] | None = None
    name: str | None = None
    encoding: str | None = None


@dataclass(frozen=True)
class Rows:
    """What a reader found, as it was written; every column has one value an example.

    Attributes:
        name: a short name for people.
        names: how a person finds each example.
        inputs: input name → references for the modality's loader.
        modalities: input name → modality.
        labels: targets as written; `None` where unlabelled.
        splits, groups, domains, weights: as written, or `None` for no such column.
        kind: what the targets are, where the reader knows; read from them otherwise.
        target: the name of the target, which a regression is called by.
        problems: what was found wrong while reading.
        layout: one sentence without a full stop: how the data was read.
        why: what decided that.
        origin: the path the data came from, "" where it came from memory.
        read_as: a clause: in which encodings files of text were read and why, "" for no such file.
    """

    name: str
    names: Sequence[str]
    inputs: Mapping[str, Sequence[Any]]
    modalities: Mapping[str, Modality]
    labels: Sequence[Any]
    splits: Sequence[Any] | None = None
    groups: Sequence[Any] | None = None
    domains: Sequence[Any] | None = None
    weights: Sequence[Any] | None = None
    kind: Kind | None = None
    target: str = "target"
    problems: tuple[Problem, ...] = ()
    layout: str = ""
    why: str = ""
    origin: str = ""
    read_as: str = ""


class Reader(ABC):
    """One way in which examples come. Readers are asked in the order of their `rank`."""

    name: ClassVar[str]
    rank: ClassVar[int] = 50

    @abstractmethod
    def recognises(self, data: Any, asked: Asked) -> str | None:
        """Return why this reader takes `data` (a clause after "because"), or `None`."""

    @abstractmethod
    def read(self, data: Any, asked: Asked) -> Rows:
        """Return the examples. Raises `DataError` where none can be had."""


READERS: dict[str, Reader] = {}


def register_reader(cls: type[Reader]) -> type[Reader]:
    """Make a reader known to `open_task` and to the shared tests."""
    READERS[cls.name] = cls()
    return cls
