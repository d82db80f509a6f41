"""How the trials of a run are arranged for people: the best first, by source, by layer."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from retarget.core.text import count
from retarget.runs.schema import RunRecord, Trial

# The plain mean of several kinds of method; `average` is of members on one source's features.
MEAN = "mean"


@dataclass(frozen=True)
class LayerSeries:
    """One source's layers, shallow to deep, each with its best trial."""

    source: str
    trials: tuple[Trial, ...]

    @property
    def best(self) -> Trial:
        """The trial with the least loss."""
        return min(self.trials, key=_key)


def _key(trial: Trial) -> float:
    return trial.loss if math.isfinite(trial.loss) else math.inf


def is_chosen(record: RunRecord, trial: Trial) -> bool:
    """Return whether `trial` is part of what was handed over."""
    return trial.chosen or any(
        (trial.source, trial.layers, trial.method, trial.setting)
        == (member.source, member.layers, member.method, member.setting)
        for member in record.chosen.members
    )


def ranked(record: RunRecord) -> tuple[Trial, ...]:
    """Return all trials, least loss first."""
    return tuple(sorted(record.trials, key=_key))


def shown_first(record: RunRecord, limit: int) -> tuple[tuple[Trial, ...], tuple[Trial, ...]]:
    """Return the best `limit` trials, always with the chosen and the trained ones, and the rest."""
    order = ranked(record)
    wanted = {i for i, t in enumerate(order) if t.training or is_chosen(record, t)}
    for i in range(len(order)):
        if len(wanted) >= limit:
            break
        wanted.add(i)
    return (
        tuple(order[i] for i in sorted(wanted)),
        tuple(trial for i, trial in enumerate(order) if i not in wanted),
    )


def best_by_source(record: RunRecord) -> tuple[Trial, ...]:
    """Return the best trial of every source, the best source first.

    The chosen source shows what was handed over, which need not be its best trial.
    """
    best: dict[str, Trial] = {}
    for trial in ranked(record):
        best.setdefault(trial.source, trial)
    for trial in record.trials:
        if trial.chosen:
            best[trial.source] = trial
    return tuple(best.values())


def with_trainings(record: RunRecord) -> tuple[Trial, ...]:
    """Return the best trial on frozen features of every source, then every training, then what
    was handed over where it is a mean with trainings in it. Nothing where nothing was trained.
    """
    trained = tuple(trial for trial in ranked(record) if trial.training)
    if not trained:
        return ()
    means = tuple(t for t in record.trials if t.method == MEAN)
    frozen = tuple(t for t in record.trials if t.training is None and t not in means)
    return (*best_by_source(record.model_copy(update={"trials": frozen})), *trained, *means)


def is_mixed(record: RunRecord) -> bool:
    """Return whether what was handed over is a mean that trained members are part of."""
    members = record.chosen.members
    return len(members) > 1 and any(member.training for member in members)


def by_layer(record: RunRecord) -> tuple[LayerSeries, ...]:
    """Return the trials on one frozen layer, by source, the best source first, shallow to deep.

    The depth of layers is read from a trial that uses them all together, as those name them
    shallow to deep; without one they stay in the order in which they were recorded. Sources with
    fewer than two layers have nothing to compare and are left out.
    """
    found: dict[str, dict[str, Trial]] = {}
    for trial in ranked(record):
        if len(trial.layers) == 1 and trial.training is None:
            found.setdefault(trial.source, {}).setdefault(trial.layers[0], trial)
    series = []
    for source, best in found.items():
        order = _depths(record, source, set(best))
        if len(best) > 1:
            series.append(LayerSeries(source, tuple(best[name] for name in order)))
    return tuple(sorted(series, key=lambda one: _key(one.best)))


def _depths(record: RunRecord, source: str, layers: set[str]) -> list[str]:
    mine = [t for t in record.trials if t.source == source and t.training is None]
    for trial in mine:
        # An average names the layers of its members, best first.
        if trial.method != "average" and layers <= set(trial.layers) and len(trial.layers) > 1:
            return [name for name in trial.layers if name in layers]
    return list(dict.fromkeys(t.layers[0] for t in mine if len(t.layers) == 1))


def layer_names(layers: Iterable[str]) -> str:
    """Return the name of a layer, or how many there are and which."""
    names = tuple(layers)
    if len(names) <= 1:
        return names[0] if names else "pixels"
    return f"{count(len(names), 'layer')}: {names[0]} … {names[-1]}"
