"""`Opened`: references to inputs, files opened where that is best done once and before all else."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from retarget.tasks.task import Problem


@dataclass(frozen=True)
class Opened:
    """References, with what files hold in the place of paths. `read_as` and `problems` are those
    of `Rows`."""

    inputs: list[Any]
    read_as: str = ""
    problems: tuple[Problem, ...] = ()


def left_closed(
    references: Sequence[Any], names: Sequence[str], encoding: str | None = None
) -> Opened:
    """Return references as they are: each file is opened whenever it is loaded."""
    return Opened(list(references))
