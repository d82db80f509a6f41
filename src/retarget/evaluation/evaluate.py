"""`evaluate()`: all that the judging examples say about one set of predictions, once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from retarget.core.text import count
from retarget.core.types import CLASSES, BoolArray, FloatArray, IntArray, Kind, StrArray
from retarget.evaluation.calibration import calibration
from retarget.evaluation.decoding import starts_of
from retarget.evaluation.entity_parts import (
    check_tags,
    confused_types,
    is_finite,
    novelty_parts,
    type_parts,
)
from retarget.evaluation.intervals import interval_of, number_units
from retarget.evaluation.metrics import METRICS, headline, metrics_for
from retarget.evaluation.metrics import metric as find_metric
from retarget.evaluation.results import Calibration, Confusion, Estimate, Evaluation, Part
from retarget.evaluation.sample import Sample, sample_of
from retarget.evaluation.sizes import Sizes, size_bins

FEWEST_IN_GROUP = 5
MOST_GROUPS = 50
MOST_CONFUSED = 50


def evaluate(
    *,
    kind: Kind,
    classes: Sequence[str],
    targets: IntArray | FloatArray,
    predictions: FloatArray,
    uncalibrated: FloatArray | None = None,
    temperature: float = 1.0,
    metric: str | None = None,
    groups: StrArray | None = None,
    domains: StrArray | None = None,
    folds: IntArray | None = None,
    weights: FloatArray | None = None,
    sequences: IntArray | None = None,
    seen: BoolArray | None = None,
    sizes: Sizes | None = None,
) -> Evaluation:
    """Return every metric of the kind with its interval, whole and by class, group and domain.

    What is not defined on these examples (AUROC of one class) is left out. Where that is the
    headline metric, the kind's own headline takes its place; `Evaluation.metric` says which.

    Args:
        kind: what the targets are.
        classes: K names, in the order of the predictions' columns; not used for regression. Of
            tagging the tags in IOB2: O, then B-x and I-x of every type.
        targets: of n judged examples, all labelled, as in `Examples`.
        predictions: (n, K) probabilities, (n,) values for regression.
        uncalibrated: (n, K) probabilities before temperature scaling; `predictions` if not given.
        temperature: what made `predictions` of `uncalibrated`.
        metric: name of the headline metric; by kind and targets if not given.
        groups: (n,) groups, "" for none. Intervals are over groups where there are any.
        domains: (n,) domains, "" for none.
        folds: (n,) outer folds under cross-fitting.
        weights: (n,) above zero.
        sequences: (n,) ascending, which sequence each example is of; for tagging, whose examples
            are words. Sequences are then what is counted, and what varies.
        seen: (m,) of the true entities of tagging, in their order: whether they are among those
            that were learned from.
        sizes: of the examples; for tagging every word has its sequence's.

    Raises:
        UsageError: no such metric for this kind.
        ValueError: no examples, an unlabelled one, NaN or infinity among the predictions, or
            shapes that don't fit together.
    """
    judged = Judged(kind, targets, predictions, _named(groups), folds, weights, sequences)
    _check(judged, classes)
    metrics = judged.estimates(metrics_for(kind))
    main = _headline(metric, judged, metrics)
    return Evaluation(
        metric=main,
        higher_is_better=METRICS[main].higher_is_better,
        examples=judged.sample.independent,
        metrics=metrics,
        per_class=tuple(_class_parts(judged, classes)),
        per_group=tuple(_group_parts(judged, main)),
        per_domain=tuple(_domain_parts(judged, _named(domains))),
        calibration=_calibration(judged, uncalibrated, temperature),
        confusion=_confusion(judged, classes),
        per_novelty=tuple(novelty_parts(judged.sample, judged.groups, seen)),
        per_size=tuple(_size_parts(judged, main, sizes)),
    )


@dataclass(frozen=True)
class Judged:
    """Judged examples with what was predicted for them; every array has length n."""

    kind: Kind
    targets: IntArray | FloatArray
    predictions: FloatArray
    groups: StrArray | None
    folds: IntArray | None
    weights: FloatArray | None
    sequences: IntArray | None = None

    @cached_property
    def sample(self) -> Sample:
        """The same as metrics take it."""
        return sample_of(
            self.kind,
            self.targets,
            self.predictions,
            self.weights,
            self.folds,
            self.sequences,
        )

    @property
    def starts(self) -> IntArray:
        """The first example of every sequence; all, where they stand alone."""
        return starts_of(np.arange(len(self.targets)) if self.sequences is None else self.sequences)

    def take(self, rows: BoolArray) -> "Judged":
        """Return the examples where `rows` is true."""
        return Judged(
            self.kind,
            self.targets[rows],
            self.predictions[rows],
            None if self.groups is None else self.groups[rows],
            None if self.folds is None else self.folds[rows],
            None if self.weights is None else self.weights[rows],
            None if self.sequences is None else self.sequences[rows],
        )

    def label(self, number: int) -> "Judged":
        """Return one label of a multilabel task, as a task of that label alone."""
        only = slice(number, number + 1)
        return replace(self, targets=self.targets[:, only], predictions=self.predictions[:, only])

    def estimates(self, names: Sequence[str]) -> dict[str, Estimate]:
        """Return those of the metrics that are defined on these examples."""
        units = number_units(self.groups, self.sample)
        found = {name: interval_of(METRICS[name], self.sample, units) for name in names}
        return {name: estimate for name, estimate in found.items() if is_finite(estimate)}

    def share_right(self, name: str, rows: BoolArray) -> dict[str, Estimate]:
        """Return the share of `rows` that were decided rightly, under a name, where there are."""
        right = "accuracy" if self.kind == "classification" else "subset_accuracy"
        if not rows.any():
            return {}
        found = self.take(rows).estimates([right])
        return {name: found[right]} if right in found else {}


def _named(names: StrArray | None) -> StrArray | None:
    """Return the names, or None where all of them are "": there are no groups or domains."""
    return names if names is not None and (np.asarray(names) != "").any() else None


def _check(judged: Judged, classes: Sequence[str]) -> None:
    """Raise `ValueError` for what can't be judged."""
    n = len(judged.targets)
    if n == 0:
        raise ValueError("there are no judged examples")
    wrong = ~_all_finite(judged.predictions)
    if wrong.any():
        where = ", ".join(map(str, np.flatnonzero(wrong)[:5]))
        raise ValueError(
            f"{count(int(wrong.sum()), 'prediction')} of {len(wrong):,} are NaN or infinite "
            f"(rows {where}{', …' if wrong.sum() > 5 else ''})"
        )
    outputs = None if judged.kind == "regression" else len(classes)
    width = judged.predictions.shape[1] if judged.predictions.ndim == 2 else None
    if len(judged.predictions) != n or (outputs is not None and width != outputs):
        raise ValueError(
            f"predictions {judged.predictions.shape} don't fit {count(n, 'target')} "
            f"and {count(len(classes), 'class', 'classes')}"
        )
    if judged.kind in CLASSES:
        bad = np.asarray((judged.targets < 0) | (judged.targets >= len(classes)))
    else:
        bad = ~_all_finite(judged.targets)
    if bad.any():
        raise ValueError(f"{count(int(bad.sum()), 'judged example')} of {n:,} without a target")
    if judged.kind == "tagging":
        check_tags(classes, judged.sequences)


def _all_finite(values: FloatArray | IntArray) -> BoolArray:
    """Return (n,) whether all numbers of each row are finite."""
    return np.asarray(np.isfinite(values).reshape(len(values), -1).all(axis=1))


def _headline(metric: str | None, judged: Judged, metrics: dict[str, Estimate]) -> str:
    """Return the headline metric, or the nearest that is defined."""
    if metric is not None:
        find_metric(metric, judged.kind)
    own = headline(judged.kind, judged.targets)
    return next(name for name in (metric, own, *metrics) if name in metrics)


def _class_parts(judged: Judged, classes: Sequence[str]) -> Iterator[Part]:
    """Yield recall and precision by class; by label also average precision."""
    if judged.kind == "regression":
        return
    if judged.kind == "tagging":
        yield from type_parts(judged.sample, judged.groups, classes)
        return
    if judged.kind == "classification":
        called = judged.predictions.argmax(axis=1)
        for number, name in enumerate(classes):
            true = judged.targets == number
            recall = judged.share_right("recall", true)
            precision = judged.share_right("precision", called == number)
            yield Part(name, int(true.sum()), {**recall, **precision})
        return
    for number, name in enumerate(classes):
        label = judged.label(number)
        true = label.targets[:, 0] > 0.5
        recall = label.share_right("recall", true)
        precision = label.share_right("precision", label.predictions[:, 0] >= 0.5)
        ranked = label.estimates(["average_precision"]) if true.any() else {}
        yield Part(name, int(true.sum()), {**recall, **precision, **ranked})


def _group_parts(judged: Judged, metric: str) -> Iterator[Part]:
    """Yield the headline metric, and accuracy, of the largest groups."""
    if judged.groups is None:
        return
    groups = judged.groups[judged.starts]
    names, sizes = np.unique(groups[groups != ""], return_counts=True)
    largest = sorted(zip(-sizes, names, strict=True))[:MOST_GROUPS]
    wanted = [metric, *({"accuracy"} & set(metrics_for(judged.kind)) - {metric})]
    for size, name in largest:
        if -size >= FEWEST_IN_GROUP:
            # Inside one group the examples are what varies.
            part = replace(judged.take(judged.groups == name), groups=None)
            yield Part(str(name), int(-size), part.estimates(wanted))


def _domain_parts(judged: Judged, domains: StrArray | None) -> Iterator[Part]:
    """Yield every metric of every domain."""
    if domains is None:
        return
    for name in np.unique(domains[domains != ""]):
        part = _some(judged, domains == name)
        yield Part(str(name), part.sample.independent, part.estimates(metrics_for(judged.kind)))


def _size_parts(judged: Judged, metric: str, sizes: Sizes | None) -> Iterator[Part]:
    """Yield the headline metric of examples of about the same size."""
    if sizes is None:
        return
    first = np.zeros(len(judged.targets), bool)
    first[judged.starts] = True
    for name, members in size_bins(sizes, first):
        part = _some(judged, members)
        yield Part(name, part.sample.independent, part.estimates([metric]))


def _some(judged: Judged, rows: BoolArray) -> Judged:
    """Return the examples where `rows` is true; inside one group the examples are what varies."""
    part = judged.take(rows)
    if part.groups is not None and len(np.unique(part.groups)) == 1:
        return replace(part, groups=None)
    return part


def _calibration(
    judged: Judged, uncalibrated: FloatArray | None, temperature: float
) -> Calibration | None:
    if judged.kind == "regression":
        return None
    return calibration(
        judged.kind,
        judged.targets,
        judged.predictions if uncalibrated is None else uncalibrated,
        judged.predictions,
        temperature,
        groups=judged.groups,
        folds=judged.folds,
        weights=judged.weights,
        sequences=judged.sequences,
    )


def _confusion(judged: Judged, classes: Sequence[str]) -> Confusion | None:
    """Return the confusion matrix, in whole examples, where it can still be looked at.

    Of tagging it is of the types of entities whose words were found.
    """
    k = len(classes)
    if judged.kind == "tagging" and 0 < k // 2 <= MOST_CONFUSED:
        return confused_types(judged.sample, classes)
    if judged.kind != "classification" or k > MOST_CONFUSED:
        return None
    cells = judged.targets * k + judged.predictions.argmax(axis=1)
    counts = np.bincount(cells, minlength=k * k).reshape(k, k)
    return Confusion(tuple(classes), tuple(tuple(map(int, row)) for row in counts))
