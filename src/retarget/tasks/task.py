"""`Task`: the examples of a target task, their targets, and who may be judged beside whom."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np

from retarget.core.notebook import shown
from retarget.core.text import count
from retarget.core.types import (
    CLASSES,
    BoolArray,
    FloatArray,
    IntArray,
    Kind,
    Modality,
    StrArray,
)
from retarget.tasks.files import taken

ProblemKind = Literal[
    "unreadable",
    "missing",
    "refused",
    "bad-target",
    "duplicate",
    "near-duplicate",
    "label-conflict",
    "leak",
    "group-leak",
    "rare-class",
    "ignored",
    "bad-row",
    "encoding",
    "similar-classes",
]


@dataclass(frozen=True)
class Problem:
    """Something wrong with the data, told so that a person can mend it.

    `where` names the examples (relative paths, `row 17`), `what` is one sentence with the
    consequence, `left_out` says whether the examples named are not in the task.
    """

    kind: ProblemKind
    where: tuple[str, ...]
    what: str
    left_out: bool = False


@dataclass(frozen=True)
class Examples:
    """A table, one row an example; every column has length n. Arrays are not to be written to.

    Attributes:
        ids: content hashes, 32 hexadecimal digits. The same content twice has the same id.
        names: how a person finds the example: its path relative to the data, or `row 17`.
        inputs: input name → n references that the modality's loader reads: a `Path`, an array,
            a PIL image, a text, a `Worded` text.
        targets: classification: (n,) int64, class index, −1 where unlabelled; multilabel:
            (n, C) float32 of 0 and 1, a row of NaN where unlabelled; regression: (n,) float64,
            NaN where unlabelled; tagging: (n,) objects, each a tuple of `Span` in order, on the
            borders of words and without overlap, `None` where unlabelled (of a task that is
            unfolded into words: (n,) int64, the tag of each).
        splits: "train", "val", "test", or "" where nobody has decided.
        groups: patient, speaker, author …; "" where there is none.
        domains: hospital, style, microphone …; "" where there is none.
        weights: (n,) float64, above zero; 1 where nothing is said.
    """

    ids: StrArray
    names: tuple[str, ...]
    inputs: Mapping[str, Sequence[Any]]
    targets: IntArray | FloatArray
    splits: StrArray
    groups: StrArray
    domains: StrArray
    weights: FloatArray

    def __len__(self) -> int:
        return len(self.names)

    def take(self, rows: IntArray) -> "Examples":
        """Return the examples at `rows`, in that order."""
        return Examples(
            ids=self.ids[rows],
            names=tuple(self.names[i] for i in rows),
            inputs={name: taken(column, rows) for name, column in self.inputs.items()},
            targets=self.targets[rows],
            splits=self.splits[rows],
            groups=self.groups[rows],
            domains=self.domains[rows],
            weights=self.weights[rows],
        )


@dataclass(frozen=True)
class Task:
    """What a user needs: examples with targets, and how they were read.

    Attributes:
        name: a short name for people, from the folder or file.
        inputs: input name → modality; one entry for most tasks.
        kind: what the targets are.
        classes: names as people wrote them, in sorted order; for multilabel the labels, for
            regression the one name of the target, for tagging the types of spans.
        examples: see `Examples`.
        problems: what was found wrong so far.
        layout: one sentence: how the data was read.
        why: one sentence: what decided that (and the kind of target).
        origin: the path the data came from, "" where it came from memory.
    """

    name: str
    inputs: Mapping[str, Modality]
    kind: Kind
    classes: tuple[str, ...]
    examples: Examples
    problems: tuple[Problem, ...] = ()
    layout: str = ""
    why: str = ""
    origin: str = ""

    def __len__(self) -> int:
        return len(self.examples)

    @cached_property
    def labelled(self) -> BoolArray:
        """(n,) whether each example has a target."""
        targets = self.examples.targets
        if targets.dtype == object:
            return np.array([target is not None for target in targets], dtype=np.bool_)
        if self.kind in CLASSES:
            return np.asarray(targets >= 0)
        present = np.isfinite(targets)
        if targets.ndim == 1:
            return present
        # A task without any label has no columns, and all() of nothing would be true.
        return np.asarray(present.all(axis=1) & (targets.shape[1] > 0))

    def _repr_html_(self) -> str:
        sentence = (
            f"{self.name}: {count(len(self), 'example')}, {self.kind}. {self.layout} {self.why}"
        )
        labelled = int(self.labelled.sum())
        facts = [("labelled", labelled), ("unlabelled", len(self) - labelled)]
        told = [
            ("classes", ", ".join(self.classes[:50])),
            *((p.kind, p.what) for p in self.problems),
        ]
        return shown(sentence, ("what", "found"), [*facts, *told])

    def take(self, rows: IntArray) -> "Task":
        """Return the task with the examples at `rows` only; classes stay as they are."""
        return replace(self, examples=self.examples.take(rows))

    def with_problems(self, *problems: Problem) -> "Task":
        """Return the task with `problems` added."""
        return replace(self, problems=(*self.problems, *problems))
