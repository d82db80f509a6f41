"""What is wrong with a task as a whole: duplicates, contradictions, leaks, classes too rare."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from retarget.core.text import count, listed
from retarget.core.types import CLASSES, BoolArray, IntArray, StrArray
from retarget.tasks.modalities import LOADERS
from retarget.tasks.splits import joined
from retarget.tasks.task import Examples, Problem, Task


def check_task(task: Task) -> tuple[Problem, ...]:
    """Return every problem that shows without looking at inputs. Nothing is left out by it."""
    return (
        *duplicates(task.examples),
        *label_conflicts(task),
        *leaks(task.examples),
        *group_leaks(task.examples),
        *rare_classes(task),
    )


def duplicates(examples: Examples) -> tuple[Problem, ...]:
    """Return the problem that some content is there more than once; `where` holds `a = b`."""
    alike = [rows for rows in _shared(examples.ids) if len(rows) > 1]
    if not alike:
        return ()
    extra = sum(len(rows) - 1 for rows in alike)
    what = (
        f"{count(extra, 'example')} with the same content as another. All were kept, and equal"
        " content is never divided between learning and judging."
    )
    return (Problem("duplicate", _sets(examples, alike), what),)


def label_conflicts(task: Task) -> tuple[Problem, ...]:
    """Return the problem that the same content has different targets."""
    labelled, targets = task.labelled, task.examples.targets
    conflicts = []
    for rows in _shared(task.examples.ids):
        told = [row for row in rows if labelled[row]]
        if any(_unequal(targets[a], targets[b]) for a, b in pairwise(told)):
            conflicts.append(told)
    if not conflicts:
        return ()
    what = (
        f"{count(len(conflicts), 'set')} of equal examples with different targets, so that some"
        " are wrong. All were kept; correct or remove the wrong ones."
    )
    return (Problem("label-conflict", _sets(task.examples, conflicts), what),)


def leaks(examples: Examples) -> tuple[Problem, ...]:
    """Return the problem that the same content is in two of the given splits."""
    crossing = [rows for rows in _shared(examples.ids) if _crosses(examples.splits, rows)]
    if not crossing:
        return ()
    what = (
        f"{count(len(crossing), 'set')} of equal examples in more than one split"
        f" ({_which(examples.splits, crossing)}). A copy of what judges is not learned from here;"
        " elsewhere such a test measures memory. Remove them from one split."
    )
    return (Problem("leak", _sets(examples, crossing), what),)


def group_leaks(examples: Examples) -> tuple[Problem, ...]:
    """Return the problem that the same group is in two of the given splits; `where` names them."""
    crossing = [rows for rows in _shared(examples.groups) if _crosses(examples.splits, rows)]
    if not crossing:
        return ()
    what = (
        f"{count(len(crossing), 'group')} in more than one split"
        f" ({_which(examples.splits, crossing)}), so such a test says little about new groups. Of"
        " groups that judge nothing is learned unless --keep-leaks. Move each group into one split,"
        " or leave the split to Retarget."
    )
    where = tuple(str(examples.groups[rows[0]]) for rows in crossing)
    return (Problem("group-leak", where, what),)


def rare_classes(task: Task) -> tuple[Problem, ...]:
    """Return what becomes of classes that only one or two independent examples show.

    Examples of one group, or of the same content, count as one: they are never divided.
    """
    clusters = joined(task.examples.groups, task.examples.ids)
    once, twice = [], []
    for name, rows in members(task).items():
        independent = len(set(clusters[rows].tolist()))
        if independent == 1:
            once.append(name)
        elif independent == 2:
            twice.append(name)
    problems = []
    unit = "group" if any(task.examples.groups) else "example"
    if once:
        what = (
            f"{count(len(once), 'class', 'classes')} with one labelled {unit} ({listed(once)}):"
            " where it is judged nothing was learned of it, so it counts as an error. Add"
            " examples, or merge with another class."
        )
        problems.append(Problem("rare-class", tuple(once), what))
    if twice:
        what = (
            f"{count(len(twice), 'class', 'classes')} with two labelled {unit}s ({listed(twice)}):"
            " at most one is learned from where the other is judged, so their scores say little."
            " Add examples."
        )
        problems.append(Problem("rare-class", tuple(twice), what))
    return (*problems, *_only_in_test(task))


def members(task: Task) -> Mapping[str, IntArray]:
    """Return class, label or type of span → rows that have it, for those that any row has."""
    if task.kind == "regression":
        return {}
    targets = task.examples.targets
    has: dict[str, IntArray] = {}
    if targets.dtype == object:
        rows: dict[str, list[int]] = {}
        for row, spans in enumerate(targets):
            for name in {span.label for span in spans or ()}:
                rows.setdefault(name, []).append(row)
        return {n: np.array(rows[n], dtype=np.int64) for n in task.classes if n in rows}
    for index, name in enumerate(task.classes):
        mask = targets == index if task.kind in CLASSES else targets[:, index] == 1
        if mask.any():
            has[name] = np.flatnonzero(mask).astype(np.int64)
    return has


def near_duplicate_problems(task: Task, pairs: IntArray) -> tuple[Problem, ...]:
    """Return the problems that pairs of nearly equal inputs make; `where` holds `a ≈ b`.

    Args:
        task: where the inputs are.
        pairs: (p, 2) rows, from `neighbours.near_duplicates` or the modality's `near`.
    """
    if not len(pairs):
        return ()
    examples = task.examples
    modality = next(iter(task.inputs.values()))
    noun = LOADERS[modality].noun if modality in LOADERS else "example"
    first, second = pairs[:, 0], pairs[:, 1]
    problems = [
        Problem(
            "near-duplicate",
            _paired(examples, pairs),
            f"{count(len(pairs), 'pair')} of nearly equal {noun}s. All were kept, and a split of"
            " Retarget's own never divides a pair.",
        )
    ]
    both = task.labelled[first] & task.labelled[second]
    different = pairs[both & _differ(task, first, second)]
    # Spans of texts that are not equal lie at other places.
    if len(different) and task.kind not in ("regression", "tagging"):
        problems.append(
            Problem(
                "label-conflict",
                _paired(examples, different),
                f"{count(len(different), 'pair')} of nearly equal {noun}s with different targets."
                " Look at them: one of each pair may be wrong.",
            )
        )
    a, b = examples.splits[first], examples.splits[second]
    crossing = pairs[(a != b) & (a != "") & (b != "")]
    if len(crossing):
        problems.append(
            Problem(
                "leak",
                _paired(examples, crossing),
                f"{count(len(crossing), 'pair')} of nearly equal {noun}s in different splits"
                f" ({_which(examples.splits, crossing.tolist())}), so that judging on them would"
                " measure memory. Of what is nearly equal to what judges nothing is learned unless"
                " --keep-leaks. Remove them from one split, or leave the split to Retarget.",
            )
        )
    return tuple(problems)


def _only_in_test(task: Task) -> tuple[Problem, ...]:
    splits = task.examples.splits
    if "train" not in splits or "test" not in splits:
        return ()
    unseen = [name for name, rows in members(task).items() if set(splits[rows]) == {"test"}]
    if not unseen:
        return ()
    what = (
        f"{count(len(unseen), 'class', 'classes')} in the test split only ({listed(unseen)}):"
        " nothing can be learned of them, so they count as errors."
    )
    return (Problem("rare-class", tuple(unseen), what),)


def _unequal(one: Any, other: Any) -> bool:
    return bool(one != other) if isinstance(one, tuple) else not np.array_equal(one, other)


def _differ(task: Task, first: IntArray, second: IntArray) -> BoolArray:
    unequal = task.examples.targets[first] != task.examples.targets[second]
    return np.asarray(unequal if unequal.ndim == 1 else unequal.any(axis=1))


def _shared(values: StrArray) -> Iterator[list[int]]:
    """Give the rows of every value but "", in the order in which values first appear."""
    rows: dict[str, list[int]] = {}
    for row, value in enumerate(values.tolist()):
        if value:
            rows.setdefault(value, []).append(row)
    return iter(rows.values())


def _crosses(splits: StrArray, rows: Sequence[int]) -> bool:
    return len(rows) > 1 and len({str(splits[row]) for row in rows} - {""}) > 1


def _which(splits: StrArray, sets: Sequence[Sequence[int]]) -> str:
    """Return `train and test: 3` for every combination of splits, the commonest first."""
    found: dict[str, int] = {}
    for rows in sets:
        present = {str(splits[row]) for row in rows}
        name = " and ".join(split for split in ("train", "val", "test") if split in present)
        found[name] = found.get(name, 0) + 1
    ordered = sorted(found.items(), key=lambda item: -item[1])
    return ", ".join(f"{name}: {number:,}" for name, number in ordered)


def _sets(examples: Examples, sets: Sequence[Sequence[int]]) -> tuple[str, ...]:
    return tuple(" = ".join(examples.names[row] for row in rows) for rows in sets)


def _paired(examples: Examples, pairs: IntArray) -> tuple[str, ...]:
    return tuple(f"{examples.names[a]} ≈ {examples.names[b]}" for a, b in pairs.tolist())
