"""Who is judged beside whom: folds and test sets that keep together what belongs together.

Examples with the same content, and examples of the same group, form one *cluster* (joined
transitively) and a cluster is never divided. Clusters are dealt to parts so that every part has
its share of every stratum. The order in which they are dealt depends on content and seed alone:
not on the order of the rows, nor on names of files.
"""

from dataclasses import dataclass

import numpy as np

from retarget.core.errors import UsageError
from retarget.core.hashing import hash_bytes
from retarget.core.types import CLASSES, BoolArray, FloatArray, IntArray, Kind, StrArray

_QUANTILES = 10


@dataclass(frozen=True)
class _Clusters:
    """m clusters of n examples. `order` is the hash that ties are broken by."""

    of: IntArray  # (n,) cluster of each example
    counts: FloatArray  # (m, 1 + S): examples, then examples of each stratum
    order: StrArray  # (m,)


def assign_folds(
    targets: IntArray | FloatArray,
    groups: StrArray,
    ids: StrArray,
    k: int,
    seed: int,
    kind: Kind,
    dealt: IntArray | None = None,
) -> IntArray:
    """Return the fold, 0 to k − 1, of each of n examples, (n,) int64.

    Args:
        targets: as in `Examples`; unlabelled examples are a stratum of their own.
        groups: (n,) a group is never divided; "" is no group.
        ids: (n,) content hashes; equal content is never divided.
        k: number of folds, at least 2. Where there are fewer clusters, some folds stay empty.
        seed: another seed, another division.
        kind: classification is stratified by class, multilabel by every label, regression by
            tenths of its range of ranks, tagging by the types of spans that an example holds (of
            words, by tag).
        dealt: (n,) the fold that an example has already, −1 for none. The others are dealt around
            these; a cluster that holds examples of several folds goes where most of it is.
    """
    if k < 2:
        raise UsageError(f"There must be at least 2 folds; {k} were asked for.")
    clusters = _cluster(targets, groups, ids, seed, kind)
    held = None if dealt is None else _held(clusters, dealt, k)
    return _deal(clusters, np.full(k, 1.0 / k), held)[clusters.of]


def split_off(
    targets: IntArray | FloatArray,
    groups: StrArray,
    ids: StrArray,
    share: float,
    seed: int,
    kind: Kind,
) -> BoolArray:
    """Return (n,) which examples are the test set: about `share` of them, 0 < share < 1.

    Stratified, and never dividing a group or equal content, like `assign_folds`. Neither part is
    empty where there are two clusters or more.
    """
    if not 0 < share < 1:
        raise UsageError(f"The share of test examples must be between 0 and 1, not {share}.")
    clusters = _cluster(targets, groups, ids, seed, kind)
    part = _deal(clusters, np.array([1 - share, share]))
    if len(part) > 1 and len(set(part.tolist())) == 1:
        # Few or very unequal clusters: the smallest one goes to the part that got none.
        part[np.lexsort((clusters.order, clusters.counts[:, 0]))[0]] ^= 1
    return np.asarray(part[clusters.of] == 1)


def strata(targets: IntArray | FloatArray, kind: Kind) -> FloatArray:
    """Return (n, S) memberships of 0 and 1 in what every part should have its share of."""
    if kind == "tagging" and targets.dtype == object:
        targets, kind = _types_held(targets), "multilabel"
    if kind == "multilabel":
        labelled = np.asarray(np.isfinite(targets).all(axis=1))
        present = np.where(labelled[:, None], targets, 0.0)
        none = labelled & (present.sum(axis=1) == 0)
        return np.column_stack([present, none, ~labelled]).astype(np.float64)
    if kind in CLASSES:
        codes = np.unique(targets, return_inverse=True)[1]
    else:
        codes = _rank_bins(np.asarray(targets, dtype=np.float64))
    return np.eye(int(codes.max(initial=-1)) + 1)[codes]


def _types_held(targets: IntArray | FloatArray) -> FloatArray:
    """Return (n, types) whether each example has a span of each type, NaN where unlabelled."""
    held = [None if spans is None else {span.label for span in spans} for spans in targets]
    place = {name: i for i, name in enumerate(sorted(set().union(*filter(None, held))))}
    matrix = np.zeros((len(held), len(place)))
    for row, names in enumerate(held):
        matrix[row, [place[name] for name in names or ()]] = 1
        if names is None:
            matrix[row] = np.nan
    return matrix


def _rank_bins(values: FloatArray) -> IntArray:
    """Return (n,) which tenth of the sorted values each is in; the unlabelled come last.

    Equal values share a bin. Bins hold five examples or more, so few examples make few bins.
    """
    finite = np.isfinite(values)
    bins = int(np.clip(finite.sum() // 5, 1, _QUANTILES))
    codes = np.full(len(values), bins, dtype=np.int64)
    ordered = np.sort(values[finite])
    ranks = np.searchsorted(ordered, values[finite], side="left")
    codes[finite] = ranks * bins // max(len(ordered), 1)
    return np.unique(codes, return_inverse=True)[1].astype(np.int64)


def _cluster(
    targets: IntArray | FloatArray, groups: StrArray, ids: StrArray, seed: int, kind: Kind
) -> _Clusters:
    of = joined(groups, ids)
    members = strata(targets, kind)
    counts = np.zeros((int(of.max(initial=-1)) + 1, members.shape[1] + 1))
    np.add.at(counts[:, 0], of, 1.0)
    np.add.at(counts[:, 1:], of, members)
    key = str(seed).encode()
    order = [hash_bytes(key, name.encode()) for name in names_of_clusters(ids, of).tolist()]
    return _Clusters(of, counts, np.array(order, dtype=np.str_))


def joined(groups: StrArray, ids: StrArray, pairs: IntArray | None = None) -> IntArray:
    """Return (n,) cluster numbers: examples are together if a chain of equal ids, equal groups
    and `pairs` (p, 2) of rows links them."""
    parent = list(range(len(ids)))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    for column in (ids.tolist(), groups.tolist()):
        seen: dict[str, int] = {}
        for row, value in enumerate(column):
            if value:
                parent[root(row)] = root(seen.setdefault(value, row))
    for one, other in [] if pairs is None else pairs.tolist():
        parent[root(one)] = root(other)
    roots = np.array([root(row) for row in range(len(ids))], dtype=np.int64)
    return np.unique(roots, return_inverse=True)[1].astype(np.int64)


def names_of_clusters(ids: StrArray, clusters: IntArray) -> StrArray:
    """Return (m,) the smallest id in each cluster: names that don't depend on the order of rows."""
    order = np.argsort(ids)
    first = np.unique(clusters[order], return_index=True)[1]
    return ids[order][first]


def _held(clusters: _Clusters, dealt: IntArray, k: int) -> IntArray:
    """Return (m,) the part that most of each cluster's examples have already, −1 for none."""
    votes = np.zeros((len(clusters.counts), k))
    there = dealt >= 0
    np.add.at(votes, (clusters.of[there], dealt[there]), 1.0)
    return np.where(votes.any(axis=1), votes.argmax(axis=1), -1)


def _deal(clusters: _Clusters, shares: FloatArray, held: IntArray | None = None) -> IntArray:
    """Return (m,) the part of each cluster, so that part p has about shares[p] of everything.

    Clusters that a part holds already, (m,) −1 for none, stay there.

    Greedy: the largest clusters first and, among equals, those of the rarest stratum; each to the
    part that lacks most of what the cluster holds, rare strata counting more (Sechidis,
    Tsoumakas and Vlahavas 2011, On the Stratification of Multi-Label Data).
    """
    counts = clusters.counts
    totals = counts.sum(axis=0)
    lacking = shares[:, None] * totals[None, :]
    # Distances are relative to what a part should hold, so that a small part fills at its pace.
    weight = 1.0 / np.maximum(lacking, 1e-9)
    weight[:, 0] *= 0.5
    rarest = np.where(counts[:, 1:] > 0, totals[1:], np.inf).min(axis=1, initial=np.inf)
    part = np.full(len(counts), -1, dtype=np.int64) if held is None else held.copy()
    np.subtract.at(lacking, part[part >= 0], counts[part >= 0])
    for cluster in np.lexsort((clusters.order, rarest, -counts[:, 0])):
        if part[cluster] >= 0:
            continue
        some = np.flatnonzero(counts[cluster])
        amount = counts[cluster, some]
        # What is left of the squared distance to the shares, if this part took the cluster.
        gain = ((2 * lacking[:, some] - amount) * amount * weight[:, some]).sum(axis=1)
        best = np.flatnonzero(gain >= gain.max() - 1e-9)
        chosen = best[int(clusters.order[cluster][:8], 16) % len(best)]
        part[cluster] = chosen
        lacking[chosen] -= counts[cluster]
    return part
