"""Candidates that were judged or fitted before on the same rows: read from the cache."""

from collections.abc import Callable
from typing import Any

import numpy as np

from retarget.core.hashing import code_of
from retarget.core.recall import Arrays, recalled
from retarget.methods.base import HEADS, Head
from retarget.selection.candidates import Candidate
from retarget.selection.trials import Evidence, Trial

# Raised whenever candidates come to be judged or fitted otherwise.
TRIAL, HEAD = "trial 1", "head 1"
# Reading what was judged more quickly would save nothing.
LEAST_SECONDS = 0.05
_OWN = "head "


def recalled_trial(evidence: Evidence, candidate: Candidate, judge: Callable[[], Trial]) -> Trial:
    """Return a candidate's trial as it was before, its seconds too, or judge it and keep it.

    Args:
        evidence: what it is judged on.
        candidate: one on frozen features.
        judge: judges it.
    """
    code = code_of(type(candidate.method))
    if code is None:
        return judge()
    decided = [code, *_learned(evidence, candidate), evidence.metric, evidence.folds]
    found = recalled(TRIAL, decided, lambda: _told(judge()), LEAST_SECONDS)
    return Trial(
        candidates=(candidate,),
        settings=(float(found["settings"]),),
        temperatures=(float(found["temperatures"]),),
        predictions=found["predictions"],
        temperature=float(found["temperature"]),
        losses=found["losses"],
        score=float(found["score"]),
        seconds=float(found["seconds"]),
        starts=(_head(found),),
    )


def recalled_head(
    evidence: Evidence,
    candidate: Candidate,
    setting: float,
    start: Head | None,
    fit: Callable[[], Head],
) -> Head:
    """Return the head of a candidate as it was fitted before, or fit it and keep it.

    Args:
        evidence: what it is fitted to.
        candidate: one on frozen features.
        setting: of its method.
        start: where the fit starts.
        fit: fits it.
    """
    code = code_of(type(candidate.method))
    if code is None:
        return fit()
    begun = {} if start is None else _arrays(start)
    decided = [code, *_learned(evidence, candidate), setting, *begun, *begun.values()]
    found = _head(recalled(HEAD, decided, lambda: _arrays(fit()), LEAST_SECONDS))
    assert found is not None, "it was kept with its kind"
    return found


def _learned(evidence: Evidence, candidate: Candidate) -> tuple[object, ...]:
    """Return what is learned from and how."""
    table, labels = evidence.features[candidate.source], evidence.labels
    return (
        *(table.digest, candidate.layers, repr(candidate.method)),
        *(labels.kind, labels.outputs, labels.values, labels.weights, labels.sequences),
    )


def _told(trial: Trial) -> Arrays:
    """Return the trial of one candidate as arrays."""
    (setting,), (temperature,), (start,) = trial.settings, trial.temperatures, trial.starts
    told = {
        "settings": np.array(setting),
        "temperatures": np.array(temperature),
        "temperature": np.array(trial.temperature),
        "predictions": trial.predictions,
        "losses": trial.losses,
        "score": np.array(trial.score),
        "seconds": np.array(trial.seconds),
    }
    return told if start is None else {**told, **_arrays(start)}


def _arrays(head: Head) -> dict[str, Any]:
    """Return a head as arrays, its kind among them."""
    own = {f"{_OWN}{name}": array for name, array in head.arrays().items()}
    return {"kind": np.array(head.kind), **own}


def _head(found: Arrays) -> Head | None:
    """Return the head among arrays, `None` where there is none."""
    if "kind" not in found:
        return None
    own = {k.removeprefix(_OWN): v for k, v in found.items() if k.startswith(_OWN)}
    return HEADS[str(found["kind"])].from_arrays(own)
