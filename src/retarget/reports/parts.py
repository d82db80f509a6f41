"""Tables of parts: one row for every domain, length, class or group."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from retarget.evaluation.results import Estimate, Evaluation, Part
from retarget.reports import svg


@dataclass(frozen=True)
class PartTable:
    """Rows of parts and the metrics that are their columns.

    `counted` is what their numbers are of, `note` how the rows are sorted. `low` to `high` is the
    scale on which the first column is drawn. `uncounted` rows are neither in `shown` nor in `rest`.
    """

    title: str
    noun: str
    counted: str
    note: str
    metrics: tuple[str, ...]
    shown: tuple[Part, ...]
    rest: tuple[Part, ...]
    uncounted: int
    low: float
    high: float

    @property
    def main(self) -> str:
        """The metric that is drawn."""
        return self.metrics[0]


@dataclass(frozen=True)
class _Heading:
    """What a table is called, and the metric that is drawn and sorted by, "" for none."""

    title: str
    noun: str
    counted: str
    main: str
    sorts: bool = True


def tables(
    test: Evaluation, kind: str = "classification", shown: int = 24, most: int = 400
) -> tuple[PartTable, ...]:
    """Return the tables that an evaluation has, by domain, length, class and group.

    `kind` is the task's: the classes of tagging are types of entities. Lengths, and entities seen
    before and not, stay in their order; of all others the worst come first.
    """
    tags = kind == "tagging"
    examples = "sentences" if tags else "examples"
    classes = _Heading("By class", "class", examples, test.metric)
    types = _Heading("By type of entity", "type", "entities", "f1")
    seen = _Heading("Entities seen before, and others", "entity", "entities", "recall", sorts=False)
    wanted = (
        (_Heading("By domain", "domain", examples, test.metric), test.per_domain),
        (_Heading("By size", "size", examples, test.metric, sorts=False), test.per_size),
        (types if tags else classes, test.per_class),
        (seen, test.per_novelty),
        (_Heading("By group", "group", examples, test.metric), test.per_group),
    )
    return tuple(_table(test, head, parts, shown, most) for head, parts in wanted if parts)


def _table(
    test: Evaluation, head: _Heading, parts: Sequence[Part], shown: int, most: int
) -> PartTable:
    metrics = list(dict.fromkeys(name for part in parts for name in part.metrics))
    note = ""
    if head.main in metrics:
        metrics.remove(head.main)
        metrics.insert(0, head.main)
        if head.sorts:
            up = test.higher_is_better or head.main != test.metric
            parts = sorted(parts, key=lambda part: _badness(part, head.main, up))
            note = "worst first"
    ends = [v for part in parts for e in _of(part, metrics[:1]) for v in (e.value, e.low, e.high)]
    low, high = svg.bounds(ends)
    return PartTable(
        head.title,
        head.noun,
        head.counted,
        note,
        tuple(metrics) or (head.main,),
        tuple(parts[:shown]),
        tuple(parts[shown:most]),
        max(0, len(parts) - most),
        low,
        high,
    )


def _of(part: Part, metrics: Sequence[str]) -> list[Estimate]:
    return [part.metrics[name] for name in metrics if name in part.metrics]


def _badness(part: Part, metric: str, higher_is_better: bool) -> float:
    measured = part.metrics.get(metric)
    if measured is None or not math.isfinite(measured.value):
        return math.inf
    return measured.value if higher_is_better else -measured.value
