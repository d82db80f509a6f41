"""Targets of other data in a model's terms."""

import numpy as np
import pytest

from retarget.core.errors import DataError
from retarget.core.types import Kind
from retarget.tasks.align import align_targets
from retarget.tasks.task import Examples, Task
from retarget.tasks.words import Span


def task_of(kind: Kind, classes: tuple[str, ...], targets: np.ndarray) -> Task:
    n = len(targets)
    none = np.full(n, "")
    examples = Examples(
        ids=np.array([f"{i:032x}" for i in range(n)]),
        names=tuple(f"row {i}" for i in range(n)),
        inputs={"image": [None] * n},
        targets=targets,
        splits=none,
        groups=none,
        domains=none,
        weights=np.ones(n),
    )
    return Task("other", {"image": "image"}, kind, classes, examples)


def test_classes_are_matched_by_name_and_strangers_are_named() -> None:
    task = task_of("classification", ("cat", "cow", "dog"), np.array([0, 1, 2, 0, -1]))
    aligned = align_targets(task, "classification", ("dog", "cat"))
    assert aligned.examples.targets.tolist() == [1, 0, 1]
    assert aligned.examples.names == ("row 0", "row 2", "row 3")
    (problem,) = aligned.problems
    assert problem.where == ("row 1",)
    assert "cow" in problem.what
    assert problem.left_out


def test_labels_are_matched_by_name_and_missing_ones_are_absent() -> None:
    targets = np.array([[1, 0, 1], [0, 1, 0], [1, 1, 0]], dtype=np.float32)
    task = task_of("multilabel", ("a", "b", "c"), targets)
    aligned = align_targets(task, "multilabel", ("c", "a", "new"))
    assert aligned.examples.targets.tolist() == [[1, 1, 0]]
    assert aligned.problems[0].where == ("row 1", "row 2")


def test_numbers_stay_as_they_are() -> None:
    task = task_of("regression", ("y",), np.array([1.0, np.nan, 3.0]))
    assert align_targets(task, "regression", ("size",)).examples.targets.tolist() == [1.0, 3.0]


def test_spans_of_types_that_the_model_does_not_know_are_taken_out_and_named() -> None:
    targets = np.empty(4, dtype=object)
    targets[:] = [
        (Span(0, 3, "who"), Span(4, 7, "when"), Span(8, 9, "where")),
        None,
        (Span(0, 1, "when"),),
        (),
    ]
    aligned = align_targets(
        task_of("tagging", ("when", "where", "who"), targets), "tagging", ("who", "where", "what")
    )
    assert aligned.classes == ("who", "where", "what")
    assert aligned.examples.names == ("row 0", "row 2", "row 3")
    assert aligned.examples.targets.tolist() == [
        (Span(0, 3, "who"), Span(8, 9, "where")),
        (),
        (),
    ]
    (problem,) = aligned.problems
    assert not problem.left_out
    assert "2 spans" in problem.what
    assert "when: 2" in problem.what
    known = task_of("tagging", ("who",), targets[3:])
    assert align_targets(known, "tagging", ("where", "who")).problems == ()


def test_another_kind_of_target_is_refused() -> None:
    task = task_of("regression", ("y",), np.array([1.0, 2.0]))
    with pytest.raises(DataError, match="--kind classification"):
        align_targets(task, "classification", ("a", "b"))
