"""`Material`: the readable examples of a task with their features, after one pass over all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from retarget.core.errors import DataError
from retarget.core.text import count
from retarget.core.types import IntArray, Pooling
from retarget.features.extract import extract
from retarget.features.features import Features, PassCost
from retarget.features.store import FeatureStore
from retarget.features.table import Table
from retarget.sources.registry import resolve
from retarget.sources.source import Source
from retarget.tasks.hygiene import check_task, near_duplicate_problems
from retarget.tasks.neighbours import near_duplicates
from retarget.tasks.task import Problem, Task

PIXELS = "pixels:"
PIXEL_LAYER = "pixels"
# Time is quadratic: about half a minute here, twenty minutes for 400,000.
MOST_COMPARED = 50_000


@dataclass(frozen=True)
class Material:
    """What there is to work with.

    Attributes:
        task: readable examples only, with all problems known so far.
        features: of those examples, by source.
        costs: of the pass, per source.
        near: (pairs, 2) rows that look alike; they are never divided by a split of ours.
        notes: what a person may want to know of the pass, such as an engine passed over.
    """

    task: Task
    features: Mapping[str, Features]
    costs: tuple[PassCost, ...]
    near: IntArray
    notes: tuple[str, ...] = ()

    def tables(self, uris: Sequence[str]) -> dict[str, Table]:
        """Read the labelled examples' features of some sources into memory."""
        labelled = np.flatnonzero(self.task.labelled)
        return {uri: Table.read(self.features[uri], labelled) for uri in uris}

    def with_source(
        self,
        source: Source,
        *,
        store: FeatureStore,
        pooling: Pooling = "mean",
        engine: str = "auto",
        device: str = "auto",
    ) -> "Material":
        """Return this with the features of one more source."""
        made = extract(
            self.task, [source], store=store, pooling=pooling, engine=engine, device=device
        )
        return replace(
            self,
            features={**self.features, **made.features},
            costs=(*self.costs, *made.costs),
            notes=(*self.notes, *made.notes),
        )


def gather(
    task: Task,
    sources: Sequence[Source],
    *,
    store: FeatureStore,
    pooling: Pooling = "mean",
    engine: str = "auto",
    device: str = "auto",
    strict: bool = False,
) -> Material:
    """Take every example through every source once; leave out, and name, what can't be read.

    `pixels:` is always among the sources: near-duplicates are found by it.

    Raises:
        DataError: nothing can be read, or `strict` and something can't.
    """
    wanted = [*sources, *([] if any(s.uri == PIXELS for s in sources) else [resolve(PIXELS)])]
    made = extract(task, wanted, store=store, pooling=pooling, engine=engine, device=device)
    rows, lost = made.readable(task)
    if lost and (strict or not len(rows)):
        raise DataError(
            f"{lost[0].where[0]} can't be read: {lost[0].what} "
            f"({count(len(lost), 'example')} of {len(task):,} in all)."
        )
    readable = task.take(rows).with_problems(*lost)
    readable = readable.with_problems(*check_task(readable))
    features = {uri: f.take(rows) for uri, f in made.features.items()}
    near, found = _near(readable, features[PIXELS])
    readable = readable.with_problems(*found)
    return Material(readable, features, made.costs, near, made.notes)


def _near(task: Task, pixels: Features) -> tuple[IntArray, tuple[Problem, ...]]:
    """Return the pairs of rows that look alike, and the problems they make."""
    if len(task) > MOST_COMPARED:
        what = (
            f"Near-duplicates were not looked for: comparing {len(task):,} pictures with each "
            f"other would take too long. Up to {MOST_COMPARED:,} are compared."
        )
        return np.empty((0, 2), dtype=np.int64), (Problem("ignored", (), what),)
    near = near_duplicates(pixels.layer(PIXEL_LAYER), task.examples.ids)
    return near, near_duplicate_problems(task, near)
