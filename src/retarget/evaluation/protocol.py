"""`Protocol`: which examples may choose and which may judge, decided before anything is fitted."""

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from retarget.core.errors import DataError
from retarget.core.text import count
from retarget.core.types import FloatArray, IntArray, StrArray
from retarget.tasks.splits import assign_folds, joined, names_of_clusters, split_off
from retarget.tasks.task import Task

# From here on a held-out quarter judges to about ±4 points; cross-fitting costs six times more.
ENOUGH_FOR_HOLD_OUT = 2_000
HELD_OUT_SHARE = 0.25


@dataclass(frozen=True)
class Protocol:
    """Who chooses and who judges; rows count the task's examples.

    Attributes:
        mode: hold-out: `judging` rows are apart from `choosing` rows. Cross-fitting: they are the
            same rows, each judged in the one fold in which nothing was learned or chosen from it.
        why: one sentence.
        choosing: rows that may be learned and chosen from.
        judging: rows that judge.
        folds: (n of judging,) outer fold of each judging row; all 0 for hold-out.
        inner: how many folds choosing uses inside.
        seed: of all folds.
        units: (n of task,) examples of one unit are never divided: groups, copies, near-copies.
        leaks: what became of examples that a given split parts from their unit, which judges; ""
            where there are none.
    """

    mode: Literal["hold-out", "cross-fitting"]
    why: str
    choosing: IntArray
    judging: IntArray
    folds: IntArray
    inner: int
    seed: int
    units: StrArray
    leaks: str = ""

    def rounds(self) -> list[tuple[IntArray, IntArray]]:
        """Return (rows to learn and choose from, positions in `judging` to predict), one a fold."""
        if self.mode == "hold-out":
            return [(self.choosing, np.arange(len(self.judging)))]
        return [
            (self.judging[self.folds != fold], np.flatnonzero(self.folds == fold))
            for fold in range(int(self.folds.max()) + 1)
        ]


def plan(
    task: Task,
    *,
    folds: int = 5,
    seed: int = 0,
    kept: frozenset[str] = frozenset(),
    dealt: IntArray | None = None,
    near: IntArray | None = None,
    keep_leaks: bool = False,
) -> Protocol:
    """Decide who may judge.

    Given test examples judge; a `val` split judges where there is no `test`, and helps to choose
    where there is. What judged an earlier run judges again: ids in `kept` were held out, and those
    that `dealt` gives a fold keep it. Otherwise enough labels are held out once, and few are
    cross-fitted.

    Args:
        task: the readable examples.
        folds: of cross-fitting, and of choosing inside it.
        seed: of all folds.
        kept: ids of examples that stay test examples.
        dealt: (n of task,) the fold in which an earlier, cross-fitted run judged an example, −1 for
            others; there are as many folds as there were.
        near: (pairs, 2) rows of near-duplicates, which are never divided.
        keep_leaks: learn also from what is nearly equal to judging examples, or of their groups,
            where the data's own split has both; never from copies.

    Raises:
        DataError: too few labels to choose and judge, nothing to tell apart, or nothing left of
            what judged earlier.
    """
    labelled = np.flatnonzero(task.labelled)
    _check_enough(task, labelled)
    units = _units(task, near)
    if dealt is not None:
        return _dealt_before(task, labelled, dealt, units, folds, seed)
    given = _given(task, labelled, kept)
    if given is not None:
        judging, why = given
        choosing, leaks = _left_to_choose(task, units, labelled, judging, keep_leaks)
        return _hold_out(why, choosing, judging, folds, seed, units, leaks)
    _check_divisible(task, units[labelled], 3)
    if len(labelled) >= ENOUGH_FOR_HOLD_OUT:
        return _quarter_apart(task, labelled, units, folds, seed)
    return _cross_fitting(task, labelled, units, folds, seed)


def _left_to_choose(
    task: Task, units: StrArray, labelled: IntArray, judging: IntArray, keep_leaks: bool
) -> tuple[IntArray, str]:
    """Return the rows that may choose where `judging` was given, and what became of leaks."""
    others = np.setdiff1d(labelled, judging)
    choosing, leaks = _apart(task, units, others, judging, keep_leaks)
    try:
        _check_enough(task, choosing)
        _check_divisible(task, units[choosing], 2)
    except DataError as error:
        if len(choosing) == len(others):
            raise
        advice = "Leave the split to Retarget" + ("." if keep_leaks else ", or say --keep-leaks.")
        raise DataError(f"{error} {leaks} {advice}") from error
    return choosing, leaks


def _quarter_apart(
    task: Task, labelled: IntArray, units: StrArray, inner: int, seed: int
) -> Protocol:
    """Hold a quarter of many labels out."""
    apart = split_off(**_split_arguments(task, units, labelled), share=HELD_OUT_SHARE, seed=seed)
    _check_enough(task, labelled[~apart])
    why = (
        f"{_labels(task, labelled)} are enough to hold a quarter out: it judges and "
        "chooses nothing."
    )
    return _hold_out(why, labelled[~apart], labelled[apart], inner, seed, units)


def _hold_out(
    why: str,
    choosing: IntArray,
    judging: IntArray,
    inner: int,
    seed: int,
    units: StrArray,
    leaks: str = "",
) -> Protocol:
    none = np.zeros(len(judging), dtype=np.int64)
    return Protocol("hold-out", why, choosing, judging, none, inner, seed, units, leaks)


def _cross_fitting(
    task: Task, labelled: IntArray, units: StrArray, folds: int, seed: int
) -> Protocol:
    """Have each of few labels judge in one fold."""
    k = _fold_count(units[labelled], folds)
    outer = assign_folds(**_split_arguments(task, units, labelled), k=k, seed=seed)
    why = (
        f"{_labels(task, labelled)} are few: each judges in the one of {k} folds in "
        "which nothing was learned or chosen from it."
    )
    return Protocol("cross-fitting", why, labelled, labelled, outer, folds, seed, units)


def unfolded(protocol: Protocol, owners: IntArray) -> Protocol:
    """Return the same protocol of rows of which each is of an example, such as its words.

    `owners` (n rows,) are the examples, ascending.
    """
    choosing = np.flatnonzero(np.isin(owners, protocol.choosing))
    judging = np.flatnonzero(np.isin(owners, protocol.judging))
    folds = protocol.folds[np.searchsorted(protocol.judging, owners[judging])]
    return replace(
        protocol, choosing=choosing, judging=judging, folds=folds, units=protocol.units[owners]
    )


def inner_folds(task: Task, rows: IntArray, protocol: Protocol) -> IntArray:
    """Return the fold (n of rows,) in which each choosing row is held out while choosing."""
    k = _fold_count(protocol.units[rows], protocol.inner)
    arguments = _split_arguments(task, protocol.units, rows)
    return assign_folds(**arguments, k=k, seed=protocol.seed + 1)


def _dealt_before(
    task: Task, labelled: IntArray, dealt: IntArray, units: StrArray, inner: int, seed: int
) -> Protocol:
    """Cross-fit with the folds of an earlier run, new examples dealt to them."""
    if np.isin(task.examples.splits[labelled], ("test", "val")).any():
        raise DataError(
            f"{task.name} has a test or validation split of its own, and the earlier run was "
            "cross-fitted, so both say who judges. Take the split away, or leave --split-from out."
        )
    earlier = dealt[labelled]
    if (earlier < 0).all():
        raise DataError(_NONE_LEFT.format(task.name))
    k = max(2, int(earlier.max()) + 1)
    arguments = _split_arguments(task, units, labelled)
    outer = assign_folds(**arguments, k=k, seed=seed, dealt=earlier)
    there, outer = np.unique(outer, return_inverse=True)
    if len(there) < 2:
        raise DataError(
            f"What {task.name} has left of the earlier run was judged in one fold, so that nothing "
            "is left to learn from. Leave --split-from out."
        )
    why = (
        f"{_labels(task, labelled)}, of which {int((earlier >= 0).sum()):,} judge in the fold of "
        f"the earlier run that they judged in; the others were dealt to its {len(there)} folds."
    )
    return Protocol("cross-fitting", why, labelled, labelled, outer, inner, seed, units)


_NONE_LEFT = (
    "{} holds none of the examples that judged the earlier run. Name the run that was made on this "
    "data, or leave --split-from out."
)


def _given(task: Task, labelled: IntArray, kept: frozenset[str]) -> tuple[IntArray, str] | None:
    splits = task.examples.splits[labelled]
    if kept:
        again = np.isin(task.examples.ids[labelled], sorted(kept))
        if not again.any():
            raise DataError(_NONE_LEFT.format(task.name))
        judges = again | (splits == "test")
        return labelled[judges], "the test examples of the earlier run judge again."
    also = (
        ", its validation split among it: choices are made out of fold in all of it"
        if (splits == "val").any()
        else ""
    )
    for name, why in (
        ("test", f"the data's own test split judges; all else may choose{also}."),
        ("val", "the data's own validation split judges, since it has no test split."),
    ):
        if (splits == name).any():
            return labelled[splits == name], why
    return None


def _apart(
    task: Task, units: StrArray, rows: IntArray, judging: IntArray, keep: bool
) -> tuple[IntArray, str]:
    """Leave what would let judging measure memory out of `rows`; return the others, and say so.

    Copies of judging examples go in any case, others of their units unless `keep`.
    """
    ids = task.examples.ids
    copies = np.isin(ids[rows], ids[judging])
    alike = np.isin(units[rows], units[judging]) & ~copies
    told = []
    if copies.any():
        told.append(f"{count(int(copies.sum()), 'copy', 'copies')} of judging examples left out.")
    if alike.any() and not keep:
        told.append(
            f"{count(int(alike.sum()), 'example')} left out: nearly equal to judging examples, or "
            "of their groups. --keep-leaks learns from them."
        )
    if alike.any() and keep:
        told.append(
            f"{count(int(alike.sum()), 'example')} learned from (--keep-leaks), though nearly "
            "equal to judging examples or of their groups: on new data expect less than this."
        )
    return rows[~copies & (keep | ~alike)], " ".join(told)


def _split_arguments(task: Task, units: StrArray, rows: IntArray) -> dict[str, Any]:
    examples = task.examples
    return {
        "targets": examples.targets[rows],
        "groups": units[rows],
        "ids": examples.ids[rows],
        "kind": task.kind,
    }


def _labels(task: Task, rows: IntArray) -> str:
    return count(len(rows), "labelled sentence" if task.kind == "tagging" else "label")


def _fold_count(units: StrArray, folds: int) -> int:
    return max(2, min(folds, len(np.unique(units))))


def _units(task: Task, near: IntArray | None) -> StrArray:
    """Name the smallest sets that no split divides: by group, content and near-duplicates."""
    ids = task.examples.ids
    clusters = joined(task.examples.groups, ids, near)
    return names_of_clusters(ids, clusters)[clusters]


def _check_enough(task: Task, rows: IntArray) -> None:
    example = "sentence" if task.kind == "tagging" else "example"
    if len(rows) < 4:
        raise DataError(
            f"{task.name} has {count(len(rows), f'labelled {example}')} to learn from; at least 4 "
            "are needed to choose and to judge. Label some more."
        )
    targets = task.examples.targets[rows]
    if task.kind == "tagging":
        if not _holds_span(targets):
            raise DataError(
                f"No labelled sentence of {task.name} to learn from holds a span, so there is "
                "nothing to find. Add sentences with spans, or name another column of labels."
            )
        return
    if (targets != targets[0]).any():
        return
    told = f"All labelled examples of {task.name} to learn from"
    if task.kind == "classification":
        raise DataError(
            f"{told} are {task.classes[int(targets[0])]!r}; a classifier needs at least two "
            "classes. Name another column, or add examples of another class."
        )
    what = f"number, {targets[0]:g}" if task.kind == "regression" else "labels"
    raise DataError(
        f"{told} have the same {what}: there is nothing to tell apart. Name another column, or "
        "add examples of another kind."
    )


def _holds_span(targets: IntArray | FloatArray) -> bool:
    """Whether any sentence has a span, or any word a tag other than O, which is the first."""
    if targets.dtype == object:
        return any(len(spans) > 0 for spans in targets)
    return bool((targets > 0).any())


def _check_divisible(task: Task, units: StrArray, needed: int) -> None:
    found = len(np.unique(units))
    if found < needed:
        raise DataError(
            f"The {count(len(units), 'labelled example')} of {task.name} can't be divided into "
            f"those that learn, choose and judge: by group and likeness they are "
            f"{count(found, 'set')}, and at least {needed} are needed. Add other groups, or leave "
            "the group column out if examples of one group have nothing in common."
        )
