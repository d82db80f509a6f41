"""Denominators and learning curves that were judged before: read from the cache, not fitted.

They depend on the task, the protocol and features alone, so they stay as they are while methods
come and go.
"""

import json
from collections.abc import Callable, Sequence

import numpy as np

from retarget.core.hashing import code_of
from retarget.core.recall import Arrays, recalled
from retarget.features.table import Table
from retarget.selection.baselines import Baseline, Effects
from retarget.selection.judge import Study
from retarget.selection.trials import Evidence, Trial

# Raised whenever they come to be judged otherwise.
BASELINE, CURVE = "denominator 1", "learning curve 1"
Curve = tuple[list[int], list[list[float]]]


def recalled_baseline(
    name: str,
    study: Study,
    judge: Callable[[], Baseline],
    tables: Sequence[Table] = (),
    settings: str = "",
) -> Baseline:
    """Return a denominator as it was judged before, or judge it and keep it.

    Args:
        name: of the denominator.
        study: the task and its protocol.
        judge: judges it.
        tables: the features that it learns from; none where it reads the inputs themselves.
        settings: what is tried.
    """
    protocol, labels = study.protocol, study.labels
    decided = [
        *(name, settings, study.metric, labels.kind, labels.outputs, labels.values, labels.weights),
        *(study.owners, study.task.examples.ids, protocol.mode, protocol.inner, protocol.seed),
        *(protocol.choosing, protocol.judging, protocol.folds, protocol.units),
        *(table.digest for table in tables),
    ]

    def made() -> Arrays:
        found = judge()
        told = {"predictions": found.predictions, "score": np.array(found.choosing_score)}
        if found.effects is None:
            return told
        own = found.effects
        # As one text: in an array of strings all would be as long as the longest.
        names = np.frombuffer(json.dumps(own.names.tolist()).encode(), dtype=np.uint8)
        return {**told, "names": names, "values": own.values, "inputs": own.inputs}

    found = recalled(BASELINE, decided, made)
    effects = None
    if "names" in found:
        names = np.array(json.loads(found["names"].tobytes()), dtype=object)
        effects = Effects(names, found["values"], found["inputs"])
    return Baseline(name, found["predictions"], float(found["score"]), effects)


def recalled_curve(
    evidence: Evidence, chosen: Trial, seed: int, measure: Callable[[], Curve]
) -> Curve:
    """Return a learning curve as it was measured before, or measure it and keep it.

    Args:
        evidence: what choosing saw.
        chosen: whose curve it is.
        seed: of the draws.
        measure: measures it.
    """
    labels = evidence.labels
    used = sorted({candidate.source for candidate in chosen.candidates})
    codes = [code_of(type(candidate.method)) for candidate in chosen.candidates]
    if None in codes:
        return measure()
    decided = [
        *(seed, codes, evidence.metric, repr(chosen.candidates), repr(chosen.score)),
        *(evidence.folds, evidence.units, labels.kind, labels.outputs, labels.values),
        *(labels.weights, labels.sequences),
        *(evidence.features[uri].digest for uri in used),
    ]

    def made() -> Arrays:
        sizes, scores = measure()
        return {
            "sizes": np.array(sizes, dtype=np.int64),
            "draws": np.array([len(own) for own in scores], dtype=np.int64),
            "scores": np.array([value for own in scores for value in own], dtype=np.float64),
        }

    found = recalled(CURVE, decided, made)
    draws = np.split(found["scores"], np.cumsum(found["draws"]))[:-1]
    return found["sizes"].tolist(), [own.tolist() for own in draws]
