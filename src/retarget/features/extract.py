"""`extract`: every example through every encoder once, in one pass, into the store."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from retarget.core.errors import UsageError
from retarget.core.types import IntArray, Modality, Pooling, StrArray
from retarget.features.features import Features, PassCost, Space
from retarget.features.plan import Order, Plan, check_means
from retarget.features.rows import RowIds
from retarget.features.store import FeatureStore
from retarget.sources.source import Source
from retarget.tasks.modalities import LOADERS
from retarget.tasks.task import Problem, Task

if TYPE_CHECKING:
    from retarget.features.passes import Pass


@dataclass(frozen=True)
class Extraction:
    """What an extraction leaves.

    Attributes:
        features: source URI → features, rows aligned with `rows`. Those of unreadable examples
            are not there: take the readable rows before reading.
        unreadable: row → reason, for every example that can't be read.
        costs: one a source, in the order asked for.
        rows: which rows of the features each example has: one, or one a word.
        notes: what a person may want to know, such as an engine that was passed over.
    """

    features: dict[str, Features]
    unreadable: dict[int, str]
    costs: tuple[PassCost, ...]
    rows: RowIds
    notes: tuple[str, ...] = ()

    def readable(self, task: Task) -> tuple[IntArray, tuple[Problem, ...]]:
        """Return the rows of a task that could be read, and a problem for each other one."""
        rows = [i for i in range(len(task)) if i not in self.unreadable]
        lost = tuple(
            Problem("unreadable", (task.examples.names[i],), f"{reason}.", left_out=True)
            for i, reason in sorted(self.unreadable.items())
        )
        return np.array(rows, dtype=np.int64), lost


def extract(
    task: Task,
    sources: Sequence[Source],
    *,
    store: FeatureStore,
    pooling: Pooling = "mean",
    engine: str = "auto",
    device: str = "auto",
    input_name: str | None = None,
) -> Extraction:
    """Return the features of a task's examples from all sources, extracting those that miss.

    All sources are filled in one pass: an example is loaded once and shared. A source is loaded
    only where something misses for it. The engine and batch that first filled a space are used
    again, unless `engine` names another, so a pass that was killed ends in the same numbers.

    Args:
        task: its examples are known by `ids`; the same id twice is extracted once.
        sources: of one modality.
        store: where features are and where they go.
        pooling: how places become one vector; `tokens` keeps all places, `words` makes a row of
            each word of a tagging task.
        engine: auto, eager, onnx or compiled; `auto` measures on the first batches.
        device: auto, cpu, cuda, cuda:N or mps.
        input_name: which input of the task; may be left out where only one fits.

    Raises:
        UsageError: an engine, device or input that is not there.
        SourceError: a source can't be loaded.
        StoreError: the store can't be read or written.
    """
    check_means(engine, device)
    asked = list({source.uri: source for source in sources}.values())
    column = _input(task, asked, input_name)
    ids, rows = task.examples.ids, RowIds.of_task(task, pooling)
    loader = loader_name(task.inputs[column])
    unreadable = store.unreadable(ids, loader)
    plans = [_plan(source, store, pooling, ids, rows, unreadable) for source in asked]
    passes = _run(plans, Order(pooling, engine, device), store, task, column, rows, unreadable)
    readable = len(np.unique(ids)) - len(unreadable)
    return Extraction(
        features={p.source.uri: _features(p, store, pooling, rows.ids) for p in plans},
        unreadable=_rows_of(unreadable, ids),
        costs=tuple(_cost(plan, passes, readable) for plan in plans),
        rows=rows,
        notes=tuple(note for done in passes.values() for note in done.notes),
    )


def loader_name(modality: Modality) -> str:
    """Return the loader's name and version, under which unreadable examples are remembered."""
    return f"{modality}-{LOADERS[modality].version}"


def _input(task: Task, sources: Sequence[Source], name: str | None) -> str:
    modalities = {source.facts.modality for source in sources}
    if len(modalities) > 1:
        raise UsageError(f"the sources read different inputs: {', '.join(sorted(modalities))}")
    if name is not None and name not in task.inputs:
        raise UsageError(
            f"{name!r} is no input of {task.name}. It has: {', '.join(sorted(task.inputs))}"
        )
    fitting = [
        known
        for known, modality in task.inputs.items()
        if modality in (modalities or {modality}) and name in (None, known)
    ]
    if len(fitting) == 1:
        return fitting[0]
    has = ", ".join(f"{known} ({modality})" for known, modality in sorted(task.inputs.items()))
    wanted = "".join(modalities)
    if fitting:
        raise UsageError(f"{task.name} has several {wanted} inputs: {has}. Say which one to use")
    uris = ", ".join(source.uri for source in sources)
    raise UsageError(f"{uris} needs an input of modality {wanted}; {task.name} has {has}")


def _plan(
    source: Source,
    store: FeatureStore,
    pooling: Pooling,
    ids: StrArray,
    rows: RowIds,
    unreadable: dict[str, str],
) -> Plan:
    space = store.space(source.fingerprint, pooling)
    if space is None:
        due = np.sort(np.unique(ids, return_index=True)[1])
    else:
        due = rows.examples(store.missing(space, rows.ids))
    known = [key in unreadable for key in ids[due].tolist()] if unreadable else []
    return Plan(source, space, due[~np.array(known)] if known else due)


def _run(
    plans: Sequence[Plan],
    order: Order,
    store: FeatureStore,
    task: Task,
    column: str,
    rows: RowIds,
    unreadable: dict[str, str],
) -> "dict[str, Pass]":
    """Run what misses; return fingerprint → pass, and add to `unreadable` what was found so."""
    due = {plan.source.fingerprint: plan for plan in plans if len(plan.rows)}
    if not due:
        return {}
    from retarget.features.loading import Reader
    from retarget.features.passes import run_passes

    ids, references = task.examples.ids, task.examples.inputs[column]
    reader = Reader(task.inputs[column], references)
    passes, found = run_passes(list(due.values()), order, store, reader, rows)
    unreadable.update({str(ids[row]): why for row, why in found.items()})
    lasting = {str(ids[row]): why for row, why in found.items() if _opens(references[row])}
    store.mark_unreadable(lasting, loader_name(reader.modality))
    return dict(zip(due, passes, strict=True))


def _rows_of(unreadable: dict[str, str], ids: StrArray) -> dict[int, str]:
    if not unreadable:
        return {}
    rows = np.flatnonzero(np.isin(ids, np.array(list(unreadable))))
    return {row: unreadable[str(ids[row])] for row in rows.tolist()}


def _opens(reference: Any) -> bool:
    """Whether the failure lies in the content: a file that can't be opened may be there again."""
    if not isinstance(reference, str | Path):
        return True
    try:
        with Path(reference).open("rb"):
            return True
    except OSError:
        return False


def _features(plan: Plan, store: FeatureStore, pooling: Pooling, ids: StrArray) -> Features:
    key = plan.source.fingerprint
    space = store.space(key, pooling)
    if space is None:  # no example could be read
        return Features(plan.source.uri, store, Space(key, pooling, (), "", 1), ids, 0.0)
    return Features(plan.source.uri, store, space, ids, store.seconds_per_example(space))


def _cost(plan: Plan, passes: "dict[str, Pass]", readable: int) -> PassCost:
    done = passes.get(plan.source.fingerprint)
    if done is None:
        engine = plan.space.engine if plan.space else ""
        return PassCost(plan.source.uri, engine, 0, readable, 0.0, None)
    return replace(done.cost(max(0, readable - done.extracted)), source=plan.source.uri)
