from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retarget.core.errors import UsageError
from retarget.core.hashing import hash_bytes
from retarget.core.types import Kind
from retarget.tasks.splits import assign_folds, joined, split_off, strata
from retarget.tasks.words import Span


def ids_of(numbers: object) -> np.ndarray:
    return np.array([hash_bytes(str(n).encode()) for n in numbers], dtype="<U32")  # type: ignore[attr-defined]  # any iterable


def no_groups(n: int) -> np.ndarray:
    return np.full(n, "", dtype="<U4")


@st.composite
def tasks(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray, Kind]:
    """Targets of any kind, some unlabelled, with groups and repeated content."""
    n = draw(st.integers(1, 60))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    kind: Kind = draw(st.sampled_from(["classification", "multilabel", "regression", "tagging"]))
    if kind == "classification":
        targets = rng.integers(-1, draw(st.integers(1, 6)), n)
    elif kind == "tagging":
        targets = np.empty(n, dtype=object)
        for row in range(n):
            held = tuple(Span(2 * i, 2 * i + 1, f"t{i}") for i in range(3) if rng.random() < 0.3)
            targets[row] = None if rng.random() < 0.2 else held
    elif kind == "multilabel":
        targets = rng.integers(0, 2, (n, draw(st.integers(0, 4)))).astype(np.float32)
        targets[rng.random(n) < 0.2] = np.nan
    else:
        targets = np.where(rng.random(n) < 0.2, np.nan, rng.normal(size=n))
    groups = np.array([f"g{g}" if g else "" for g in rng.integers(0, draw(st.integers(1, 30)), n)])
    ids = ids_of(rng.integers(0, draw(st.integers(1, 100)), n))
    return targets, groups, ids, kind


def together(groups: np.ndarray, ids: np.ndarray) -> list[set[int]]:
    """Clusters, by joining until nothing changes: the plainest way."""
    sets = [{row} for row in range(len(ids))]
    changed = True
    while changed:
        changed = False
        for a in range(len(sets)):
            for b in range(a + 1, len(sets)):
                if any(
                    ids[i] == ids[j] or (groups[i] and groups[i] == groups[j])
                    for i in sets[a]
                    for j in sets[b]
                ):
                    sets[a] |= sets.pop(b)
                    changed = True
                    break
            if changed:
                break
    return sets


@settings(deadline=None, max_examples=60)
@given(tasks())
def test_clusters_are_chains_of_equal_content_and_groups(
    task: tuple[np.ndarray, np.ndarray, np.ndarray, Kind],
) -> None:
    _, groups, ids, _ = task
    found: dict[int, set[int]] = {}
    for row, cluster in enumerate(joined(groups, ids).tolist()):
        found.setdefault(cluster, set()).add(row)
    assert sorted(map(sorted, found.values())) == sorted(map(sorted, together(groups, ids)))


@settings(deadline=None, max_examples=150)
@given(tasks(), st.integers(2, 7), st.integers(0, 50), st.integers(0, 99))
def test_groups_and_content_are_never_divided_and_order_does_not_matter(
    task: tuple[np.ndarray, np.ndarray, np.ndarray, Kind], k: int, seed: int, shuffle: int
) -> None:
    targets, groups, ids, kind = task
    folds = assign_folds(targets, groups, ids, k, seed, kind)
    test = split_off(targets, groups, ids, 0.25, seed, kind)
    assert folds.shape == test.shape == (len(ids),)
    assert folds.dtype == np.int64
    assert test.dtype == np.bool_
    assert ((folds >= 0) & (folds < k)).all()
    for column in (groups, ids):
        for value in set(column.tolist()) - {""}:
            assert len(set(folds[column == value].tolist())) == 1
            assert len(set(test[column == value].tolist())) == 1
    order = np.random.default_rng(shuffle).permutation(len(ids))
    again = assign_folds(targets[order], groups[order], ids[order], k, seed, kind)
    # Targets of repeated content may differ, yet a fold is one cluster's.
    assert again.tolist() == folds[order].tolist()
    other = split_off(targets[order], groups[order], ids[order], 0.25, seed, kind)
    assert other.tolist() == test[order].tolist()
    clusters = len(set(joined(groups, ids).tolist()))
    if clusters > 1:
        assert 0 < test.sum() < len(test)
    if len(set(ids.tolist())) == len(ids) and not any(groups):
        assert min(k, len(ids)) == len(set(folds.tolist()))


@settings(deadline=None, max_examples=100)
@given(st.lists(st.integers(0, 40), min_size=1, max_size=6), st.integers(2, 6), st.integers(0, 9))
def test_every_fold_has_its_share_of_every_class(sizes: list[int], k: int, seed: int) -> None:
    targets = np.repeat(np.arange(len(sizes)), sizes)
    ids = ids_of(range(len(targets)))
    folds = assign_folds(targets, no_groups(len(ids)), ids, k, seed, "classification")
    for label, size in enumerate(sizes):
        counts = np.bincount(folds[targets == label], minlength=k)
        assert counts.max() - counts.min() <= 1, (size, counts)
    counts = np.bincount(folds, minlength=k)
    assert counts.max() - counts.min() <= len(sizes)


@settings(deadline=None, max_examples=60)
@given(st.integers(8, 400), st.sampled_from([0.1, 0.2, 0.25, 0.5]), st.integers(0, 9))
def test_the_test_set_has_its_share_of_every_class(n: int, share: float, seed: int) -> None:
    targets = np.random.default_rng(seed).choice(3, n, p=[0.6, 0.3, 0.1])
    test = split_off(targets, no_groups(n), ids_of(range(n)), share, seed, "classification")
    assert abs(test.sum() - share * n) <= 2
    for label in range(3):
        size = (targets == label).sum()
        assert abs(test[targets == label].sum() - share * size) <= 1


def test_labels_are_shared_out_too() -> None:
    rng = np.random.default_rng(0)
    targets = (rng.random((300, 6)) < [0.6, 0.3, 0.2, 0.1, 0.05, 0.02]).astype(np.float32)
    folds = assign_folds(targets, no_groups(300), ids_of(range(300)), 5, 0, "multilabel")
    for label in range(6):
        counts = np.bincount(folds[targets[:, label] == 1], minlength=5)
        assert counts.max() - counts.min() <= 2
    assert np.ptp(np.bincount(folds)) <= 2


def test_numbers_are_shared_out_over_their_range() -> None:
    targets = np.random.default_rng(0).lognormal(size=500)
    folds = assign_folds(targets, no_groups(500), ids_of(range(500)), 5, 0, "regression")
    edges = np.quantile(targets, [0.1, 0.5, 0.9])
    for edge in edges:
        shares = [(targets[folds == fold] > edge).mean() for fold in range(5)]
        assert max(shares) - min(shares) < 0.04
    constant = assign_folds(np.ones(50), no_groups(50), ids_of(range(50)), 5, 0, "regression")
    assert np.bincount(constant).tolist() == [10] * 5


def test_large_groups_are_balanced() -> None:
    rng = np.random.default_rng(0)
    groups = np.array([f"g{i}" for i in rng.integers(0, 60, 600)])
    targets = rng.integers(0, 3, 600)
    folds = assign_folds(targets, groups, ids_of(range(600)), 5, 0, "classification")
    assert np.ptp(np.bincount(folds, minlength=5)) <= 30
    test = split_off(targets, groups, ids_of(range(600)), 0.25, 0, "classification")
    assert abs(test.mean() - 0.25) < 0.03


def test_another_seed_gives_another_division_and_the_same_the_same() -> None:
    targets, ids = np.arange(100) % 2, ids_of(range(100))
    seen = {
        tuple(assign_folds(targets, no_groups(100), ids, 5, seed, "classification"))
        for seed in (0, 0, 1, 2, 3)
    }
    assert len(seen) == 4


def test_every_example_judges_about_as_often_as_another() -> None:
    targets, ids = np.zeros(30, dtype=np.int64), ids_of(range(30))
    times = Counter(
        int(row)
        for seed in range(300)
        for row in np.flatnonzero(
            split_off(targets, no_groups(30), ids, 0.2, seed, "classification")
        )
    )
    assert len(times) == 30
    # 300 draws of 6 in 30: binomial with mean 60 and deviation 6.9.
    assert min(times.values()) > 60 - 5 * 6.9
    assert max(times.values()) < 60 + 5 * 6.9


def test_classes_with_one_or_two_examples_are_divided_plainly() -> None:
    targets = np.array([0] * 20 + [1] + [2, 2])
    folds = assign_folds(targets, no_groups(23), ids_of(range(23)), 5, 0, "classification")
    assert folds[21] != folds[22]
    test = split_off(targets, no_groups(23), ids_of(range(23)), 0.25, 0, "classification")
    assert not test[20]


def test_one_example_stays_whole() -> None:
    one = np.zeros(1, dtype=np.int64)
    assert assign_folds(one, no_groups(1), ids_of([1]), 5, 0, "classification").shape == (1,)
    assert split_off(one, no_groups(1), ids_of([1]), 0.5, 0, "classification").shape == (1,)


def test_impossible_numbers_are_refused() -> None:
    one = np.zeros(1, dtype=np.int64)
    with pytest.raises(UsageError, match="at least 2 folds; 1"):
        assign_folds(one, no_groups(1), ids_of([1]), 1, 0, "classification")
    for share in (0.0, 1.0, -1.0):
        with pytest.raises(UsageError, match="between 0 and 1"):
            split_off(one, no_groups(1), ids_of([1]), share, 0, "classification")


def test_strata_hold_every_example_once_or_by_label() -> None:
    labels = np.array([[1, 1], [0, 0], [np.nan, np.nan]], dtype=np.float32)
    assert strata(labels, "multilabel").tolist() == [[1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    assert strata(np.array([5, -1, 5]), "classification").tolist() == [[0, 1], [1, 0], [0, 1]]


def test_sentences_are_stratified_by_the_types_they_hold() -> None:
    targets = np.empty(60, dtype=object)
    for row in range(60):
        spans = ((Span(0, 1, "a"),) if row < 12 else ()) + ((Span(2, 3, "b"),) if row < 6 else ())
        targets[row] = spans if row < 48 else None
    folds = assign_folds(targets, no_groups(60), ids_of(range(60)), 3, 0, "tagging")
    for rows in (range(12), range(6), range(12, 48), range(48, 60)):
        assert set(Counter(folds[list(rows)].tolist()).values()) == {len(rows) // 3}
    assert strata(targets, "tagging")[[0, 6, 12, 48]].tolist() == [
        [1, 1, 0, 0],
        [1, 0, 0, 0],
        [0, 0, 1, 0],
        [0, 0, 0, 1],
    ]


def test_words_are_stratified_by_their_tags() -> None:
    tags = np.array([-1, 0, 2, 2])
    assert np.array_equal(strata(tags, "tagging"), strata(tags, "classification"))
