"""The data problems of a run, grouped by what is wrong."""

from collections.abc import Iterable
from dataclasses import dataclass

from retarget.runs.schema import ProblemRecord

_NAMES = {
    "unreadable": "Can't be read",
    "missing": "Missing files",
    "refused": "Refused for safety",
    "bad-target": "Labels that can't be used",
    "duplicate": "Duplicates",
    "near-duplicate": "Near-duplicates",
    "label-conflict": "Same or nearly the same content, different labels",
    "leak": "Leaks between training and test data",
    "group-leak": "Groups in both training and test data",
    "rare-class": "Classes with very few examples",
    "ignored": "Ignored",
}


@dataclass(frozen=True)
class ProblemGroup:
    """All problems of one kind."""

    title: str
    problems: tuple[ProblemRecord, ...]

    @property
    def examples(self) -> int:
        """How many examples it is about."""
        return sum(problem.examples for problem in self.problems)

    @property
    def left_out(self) -> int:
        """How many of them were left out."""
        return sum(problem.examples for problem in self.problems if problem.left_out)


def grouped(problems: Iterable[ProblemRecord]) -> tuple[ProblemGroup, ...]:
    """Return the problems by kind, the kind with the most examples first."""
    kinds: dict[str, list[ProblemRecord]] = {}
    for problem in problems:
        kinds.setdefault(problem.kind, []).append(problem)
    groups = [
        ProblemGroup(_NAMES.get(kind, kind.replace("-", " ")), tuple(members))
        for kind, members in kinds.items()
    ]
    return tuple(sorted(groups, key=lambda group: -group.examples))
