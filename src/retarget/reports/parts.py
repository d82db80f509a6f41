"""Tables of parts: one row for every class, group or domain, the worst first."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from retarget.evaluation.results import Estimate, Evaluation, Part
from retarget.reports import svg


@dataclass(frozen=True)
class PartTable:
    """Rows of parts and the metrics that are their columns.

    `low` to `high` is the scale on which the first column is drawn. `uncounted` rows are neither
    in `shown` nor in `rest`.
    """

    title: str
    noun: str
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


def tables(test: Evaluation, shown: int = 24, most: int = 400) -> tuple[PartTable, ...]:
    """Return the tables that an evaluation has, by domain, class and group."""
    wanted = (
        ("By domain", "domain", test.per_domain),
        ("By class", "class", test.per_class),
        ("By group", "group", test.per_group),
    )
    return tuple(
        _table(test, title, noun, parts, shown, most) for title, noun, parts in wanted if parts
    )


def _table(
    test: Evaluation, title: str, noun: str, parts: Sequence[Part], shown: int, most: int
) -> PartTable:
    metrics = list(dict.fromkeys(name for part in parts for name in part.metrics))
    if test.metric in metrics:
        metrics.remove(test.metric)
        metrics.insert(0, test.metric)
        parts = sorted(parts, key=lambda part: _badness(test, part))
    ends = [v for part in parts for e in _of(part, metrics[:1]) for v in (e.value, e.low, e.high)]
    low, high = svg.bounds(ends)
    return PartTable(
        title,
        noun,
        tuple(metrics) or (test.metric,),
        tuple(parts[:shown]),
        tuple(parts[shown:most]),
        max(0, len(parts) - most),
        low,
        high,
    )


def _of(part: Part, metrics: Sequence[str]) -> list[Estimate]:
    return [part.metrics[name] for name in metrics if name in part.metrics]


def _badness(test: Evaluation, part: Part) -> float:
    measured = part.metrics.get(test.metric)
    if measured is None or not math.isfinite(measured.value):
        return math.inf
    return measured.value if test.higher_is_better else -measured.value
