from pathlib import Path
from typing import Any

import numpy as np

from retarget.core.types import Kind
from retarget.tasks.hygiene import (
    check_task,
    duplicates,
    group_leaks,
    label_conflicts,
    leaks,
    members,
    near_duplicate_problems,
    rare_classes,
)
from retarget.tasks.open import open_task
from retarget.tasks.task import Examples, Task
from retarget.tasks.words import Span


def task_of(
    ids: str,
    targets: Any,
    splits: list[str] | None = None,
    groups: list[str] | None = None,
    kind: Kind = "classification",
) -> Task:
    """A task whose example i has content `ids[i]` and name `i`."""
    n = len(ids)
    return Task(
        name="t",
        inputs={"image": "image"},
        kind=kind,
        classes=("a", "b", "c"),
        examples=Examples(
            ids=np.array(list(ids)),
            names=tuple(str(i) for i in range(n)),
            inputs={"image": [None] * n},
            targets=targets if isinstance(targets, np.ndarray) else np.array(targets),
            splits=np.array(splits or [""] * n),
            groups=np.array(groups or [""] * n),
            domains=np.array([""] * n),
            weights=np.ones(n),
        ),
    )


def test_duplicates_are_named_in_sets() -> None:
    (found,) = duplicates(task_of("xyxzxz", [0] * 6).examples)
    assert found.where == ("0 = 2 = 4", "3 = 5")
    assert found.what.startswith("3 examples")
    assert not found.left_out
    assert not duplicates(task_of("xyz", [0] * 3).examples)


def test_equal_content_with_different_targets_is_a_conflict() -> None:
    (found,) = label_conflicts(task_of("xxyyzz", [0, 1, 2, 2, -1, 0]))
    assert found.where == ("0 = 1",)
    labels = [[1.0, 0.0], [1.0, 1.0], [np.nan] * 2, [0.0, 0.0]]
    (found,) = label_conflicts(task_of("xxyy", labels, kind="multilabel"))
    assert found.where == ("0 = 1",)
    numbers = [1.0, 1.0, 2.0, 3.0, np.nan]
    (found,) = label_conflicts(task_of("xxyyy", numbers, kind="regression"))
    assert found.where == ("2 = 3",)


def test_content_in_two_splits_leaks() -> None:
    task = task_of("xxyyzzw", [0] * 7, ["train", "test", "train", "train", "val", "test", ""])
    (found,) = leaks(task.examples)
    assert found.where == ("0 = 1", "4 = 5")
    assert "train and test: 1" in found.what
    assert "val and test: 1" in found.what
    assert not leaks(task_of("xx", [0, 0], ["train", ""]).examples)


def test_a_group_in_two_splits_leaks() -> None:
    task = task_of(
        "abcde", [0] * 5, ["train", "test", "test", "train", "test"], ["p", "p", "q", "", ""]
    )
    (found,) = group_leaks(task.examples)
    assert (found.kind, found.where) == ("group-leak", ("p",))


def test_rare_classes_count_what_is_independent() -> None:
    once, twice = rare_classes(task_of("abcdefg", [0, 1, 1, 2, 2, 2, -1]))
    assert (once.where, twice.where) == (("a",), ("b",))
    grouped = task_of("abcdef", [0, 0, 0, 1, 1, 1], groups=["p", "p", "p", "q", "r", "s"])
    (found,) = rare_classes(grouped)
    assert found.where == ("a",)
    assert "group" in found.what
    assert not rare_classes(task_of("ab", [1.0, 2.0], kind="regression"))
    labels = np.array([[1, 1, 0], [1, 0, 0], [1, 0, 0]], dtype=float)
    (found,) = rare_classes(task_of("abc", labels, kind="multilabel"))
    assert found.where == ("b",)


def test_a_class_in_the_test_split_only_is_named() -> None:
    splits = ["train", "train", "train", "test", "test", "test"]
    (found,) = rare_classes(task_of("abcdef", [0, 0, 0, 1, 1, 1], splits))
    assert found.where == ("b",)
    assert "test split only" in found.what


def test_members_are_the_rows_of_every_class() -> None:
    assert {k: v.tolist() for k, v in members(task_of("abc", [0, 2, 0])).items()} == {
        "a": [0, 2],
        "c": [1],
    }


def test_near_duplicates_tell_conflicts_and_leaks() -> None:
    task = task_of("abcde", [0, 1, 0, 0, -1], ["train", "train", "test", "train", "test"])
    pairs = np.array([[0, 1], [0, 2], [0, 3], [3, 4]])
    near, conflict, leak = near_duplicate_problems(task, pairs)
    assert near.where == ("0 ≈ 1", "0 ≈ 2", "0 ≈ 3", "3 ≈ 4")
    assert (conflict.kind, conflict.where) == ("label-conflict", ("0 ≈ 1",))
    assert (leak.kind, leak.where) == ("leak", ("0 ≈ 2", "3 ≈ 4"))
    assert not near_duplicate_problems(task, pairs[:0])
    labels = np.array([[1, 0], [0, 1]], dtype=float)
    found = near_duplicate_problems(task_of("ab", labels, kind="multilabel"), pairs[:1])
    assert [problem.kind for problem in found] == ["near-duplicate", "label-conflict"]
    numbers = task_of("ab", [1.0, 2.0], kind="regression")
    assert len(near_duplicate_problems(numbers, pairs[:1])) == 1


def test_a_clean_task_has_no_problems() -> None:
    splits = ["train"] * 3 + ["test"] * 3
    assert not check_task(task_of("abcdef", [0] * 6, splits))


def test_real_contradictions_are_found(shared_data: Path) -> None:
    task = open_task(shared_data / "medical" / "breast-ultrasound")
    kinds = {problem.kind: problem.where for problem in check_task(task)}
    pair = "images/benign_433.jpg = images/malignant_145.jpg"
    assert kinds == {"duplicate": (pair,), "label-conflict": (pair,)}


def test_sentences_conflict_where_their_spans_differ_and_count_for_the_types_they_hold() -> None:
    targets = np.empty(8, dtype=object)
    one, other = Span(0, 1, "a"), Span(2, 3, "b")
    targets[:] = [(one,), (one, other), (one,), (one,), None, (), (one, other), ()]
    task = task_of("xxyyzzvw", targets, ["train"] * 6 + ["test"] * 2, kind="tagging")
    assert [p.where for p in label_conflicts(task)] == [("0 = 1",)]
    assert {name: rows.tolist() for name, rows in members(task).items()} == {
        "a": [0, 1, 2, 3, 6],
        "b": [1, 6],
    }
    rare = rare_classes(task)
    assert [p.where for p in rare] == [("b",)]
    near = near_duplicate_problems(task, np.array([[2, 3], [3, 4], [5, 7]]))
    assert [p.kind for p in near] == ["near-duplicate", "leak"]
