"""Scores of entities by type, and of those seen before against others."""

import math
from collections.abc import Iterator, Sequence

import numpy as np

from retarget.core.types import BoolArray, IntArray, StrArray
from retarget.evaluation.entity_sums import of_type, recall_of
from retarget.evaluation.intervals import interval_of, number_units
from retarget.evaluation.metrics import METRICS, Metric
from retarget.evaluation.results import Confusion, Estimate, Part
from retarget.evaluation.sample import Sample
from retarget.evaluation.sums import Sums


def is_finite(estimate: Estimate) -> bool:
    """Return whether a value and its interval are known."""
    return all(map(math.isfinite, (estimate.value, estimate.low, estimate.high)))


def check_tags(classes: Sequence[str], sequences: IntArray | None) -> None:
    """Raise `ValueError` for tags in another order than O, B-x, I-x, …, or words of no, or not
    ascending, sequences."""
    types = [tag[2:] for tag in classes[1::2]]
    if list(classes) != ["O", *(f"{prefix}-{name}" for name in types for prefix in "BI")]:
        raise ValueError(f"tags are O, then B-x and I-x of every type, not {', '.join(classes)}")
    if sequences is None or (np.diff(sequences) < 0).any():
        raise ValueError("words are judged in sequences, which are not given or not ascending")


def type_parts(sample: Sample, groups: StrArray | None, classes: Sequence[str]) -> Iterator[Part]:
    """Yield precision, recall and F1 of every type of entity that tags (K,) tell."""
    units = number_units(groups, sample)
    sizes = np.bincount(sample.matches.true.types, minlength=len(classes) // 2)
    for number, tag in enumerate(classes[1::2]):
        found = {
            name: interval_of(_share_of(sums), sample, units)
            for name, sums in of_type(number).items()
        }
        known = {name: estimate for name, estimate in found.items() if is_finite(estimate)}
        yield Part(tag[2:], int(sizes[number]), known)


def novelty_parts(
    sample: Sample, groups: StrArray | None, seen: BoolArray | None
) -> Iterator[Part]:
    """Yield the recall of true entities that were seen before, and of those that weren't.

    `seen` is (m,) of the true entities in their order. Raises `ValueError` where it is not.
    """
    if seen is None:
        return
    there = len(sample.matches.true)
    if len(seen) != there:
        raise ValueError(f"{len(seen)} entities are said to be seen or not; there are {there}")
    units = number_units(groups, sample)
    for name, chosen in (("seen", np.asarray(seen, bool)), ("unseen", ~np.asarray(seen, bool))):
        found = interval_of(_share_of(recall_of(chosen)), sample, units)
        known = {"recall": found} if is_finite(found) else {}
        yield Part(name, int(chosen.sum()), known)


def confused_types(sample: Sample, classes: Sequence[str]) -> Confusion:
    """Return as what types the entities whose words were found exactly were found."""
    types = tuple(tag[2:] for tag in classes[1::2])
    counts = sample.matches.confused(len(types))
    return Confusion(types, tuple(tuple(map(int, row)) for row in counts))


def _share_of(sums: Sums) -> Metric:
    like = METRICS["entity_f1"]
    return Metric(like.name, like.title, like.kinds, True, like.bounds, sums, like.scale)
