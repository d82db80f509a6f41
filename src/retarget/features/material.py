"""`Material`: the readable examples of a task with their features, after one pass over all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from retarget.core.errors import DataError
from retarget.core.processes import main_first
from retarget.core.text import count
from retarget.core.types import IntArray, Modality, Pooling
from retarget.features.extract import Extraction, extract
from retarget.features.features import Features, PassCost
from retarget.features.plan import Order
from retarget.features.store import FeatureStore
from retarget.features.table import Table
from retarget.features.views import Inputs
from retarget.sources.registry import plain, resolve
from retarget.sources.source import Source
from retarget.tasks.corruption import corrupted_task
from retarget.tasks.hygiene import check_task, near_duplicate_problems
from retarget.tasks.modalities import LOADERS
from retarget.tasks.neighbours import near_duplicates
from retarget.tasks.task import Problem, Task
from retarget.tasks.unfold import unfold

# Time is quadratic: about half a minute here, twenty minutes for 400,000.
MOST_COMPARED = 50_000


@dataclass(frozen=True)
class Material:
    """What there is to work with.

    Attributes:
        task: readable examples only, with all problems known so far.
        rows: what is learned and judged row by row: the task itself, or its words.
        owners: (n rows,) the example that each row is of.
        features: of the rows, by source.
        costs: of the pass, per source.
        near: (pairs, 2) rows that look alike; they are never divided by a split of ours.
        store: where the features are.
        order: how they were extracted, and further ones will be.
        plain: URI of the source that needs no model, "" where there is none.
        notes: what a person may want to know of the pass, such as an engine passed over.
    """

    task: Task
    rows: Task
    owners: IntArray
    features: Mapping[str, Features]
    costs: tuple[PassCost, ...]
    near: IntArray
    store: FeatureStore
    order: Order
    plain: str = ""
    notes: tuple[str, ...] = ()

    @property
    def modality(self) -> Modality:
        """What the inputs are."""
        (modality,) = self.task.inputs.values()
        return modality

    @property
    def encoders(self) -> tuple[str, ...]:
        """URIs of the sources that are models."""
        return tuple(uri for uri in self.features if uri != self.plain)

    def tables(self, uris: Sequence[str]) -> dict[str, Table]:
        """Read the labelled rows' features of some sources into memory."""
        labelled = np.flatnonzero(self.rows.labelled)
        return {uri: Table.read(self.features[uri], labelled) for uri in uris}

    def with_source(self, source: Source) -> "Material":
        """Return this with the features of one more source."""
        if source.uri in self.features:
            return self
        made = self._extract(self.task, [source])
        return replace(
            self,
            features={**self.features, **made.features},
            costs=(*self.costs, *made.costs),
            notes=(*self.notes, *made.notes),
        )

    def read(self, uri: str, rows: IntArray) -> Table:
        """Return the features of some rows by any source, extracted where they miss.

        Rows that are words are all those of their examples.
        """
        made = self._extract(self._examples(rows), [resolve(uri)])
        return Table.read(made.features[uri], np.arange(len(rows)))

    def read_corrupted(
        self, uris: Sequence[str], rows: IntArray, corruption: str, severity: int
    ) -> dict[str, Table]:
        """Return the features of some rows, corrupted, by several sources in one pass."""
        task = corrupted_task(self._examples(rows), corruption, severity)
        made = self._extract(task, [resolve(uri) for uri in uris])
        return {uri: Table.read(made.features[uri], np.arange(len(rows))) for uri in uris}

    def _examples(self, rows: IntArray) -> Task:
        """Return the examples that rows are of, in the order of the rows."""
        if self.rows is self.task:
            return self.task.take(rows)
        found = np.unique(self.owners[rows])
        assert np.array_equal(np.flatnonzero(np.isin(self.owners, found)), rows)
        return self.task.take(found)

    def inputs(self) -> Inputs:
        """Return references to the inputs of all examples, and which rows are of each."""
        ((name, modality),) = self.task.inputs.items()
        examples = self.task.examples
        owners = None if self.rows is self.task else self.owners
        return Inputs(modality, examples.inputs[name], examples.ids, owners)

    def _extract(self, task: Task, sources: Sequence[Source]) -> Extraction:
        order = self.order
        with main_first():
            return extract(
                task,
                sources,
                store=self.store,
                pooling=order.pooling,
                engine=order.engine,
                device=order.device,
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

    The modality's plain source is always among the sources: near-duplicates are found by it.

    Raises:
        DataError: nothing can be read, or `strict` and something can't.
    """
    (modality,) = set(task.inputs.values())
    bare = plain(modality)
    more = [bare] if bare and all(s.uri != bare.uri for s in sources) else []
    pooling = pooling_of(task, pooling)
    order, wanted = Order(pooling, engine, device), [*sources, *more]
    with main_first():
        made = extract(task, wanted, store=store, pooling=pooling, engine=engine, device=device)
    rows, lost = made.readable(task)
    if lost and (strict or not len(rows)):
        raise DataError(
            f"{lost[0].where[0]} can't be read: {lost[0].what} "
            f"({count(len(lost), 'example')} of {len(task):,} in all)."
        )
    readable = task.take(rows).with_problems(*lost)
    readable = readable.with_problems(*check_task(readable))
    features = {uri: f.take(made.rows.rows(rows)) for uri, f in made.features.items()}
    near, found = _near(readable, features[bare.uri] if bare else None)
    readable = readable.with_problems(*found)
    unfolded = unfold(readable) if readable.kind == "tagging" else None
    return Material(
        task=readable,
        rows=unfolded.task if unfolded else readable,
        owners=unfolded.sentences if unfolded else np.arange(len(readable)),
        features=features,
        costs=made.costs,
        near=near,
        store=store,
        order=order,
        plain=bare.uri if bare else "",
        notes=made.notes,
    )


def pooling_of(task: Task, asked: Pooling) -> Pooling:
    """Return how places become rows: of tagging one a word, of others as was asked."""
    return "words" if task.kind == "tagging" else asked


def _near(task: Task, shown: Features | None) -> tuple[IntArray, tuple[Problem, ...]]:
    """Return the pairs of examples that look alike, and the problems they make."""
    ((name, modality),) = task.inputs.items()
    loader = LOADERS[modality]
    if loader.near is not None:
        near = loader.near(task.examples.inputs[name], task.examples.ids)
        return near, near_duplicate_problems(task, near)
    if shown is None:
        return np.empty((0, 2), dtype=np.int64), ()
    if len(task) > MOST_COMPARED:
        what = (
            f"Near-duplicates were not looked for: comparing {len(task):,} {loader.noun}s with "
            f"each other would take too long. Up to {MOST_COMPARED:,} are compared."
        )
        return np.empty((0, 2), dtype=np.int64), (Problem("ignored", (), what),)
    near = near_duplicates(shown.layer(shown.layers[0]), task.examples.ids)
    return near, near_duplicate_problems(task, near)
