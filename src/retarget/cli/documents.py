"""What `--json` prints: one type for every command, from which docs/schemas are written."""

from dataclasses import dataclass
from typing import Any

from retarget.api import CacheInfo
from retarget.evaluation.results import Evaluation
from retarget.reports.predictions import Prediction
from retarget.run import Run
from retarget.runs.compare import Comparison
from retarget.runs.inspection import InspectionRecord
from retarget.runs.schema import RunRecord
from retarget.runs.sources import SourceList


class FittedRun(RunRecord):
    """What a run found, which is all of its `run.json`, and where it lies."""

    run: str


@dataclass(frozen=True)
class FittedTexts:
    """The two runs of `retarget demo text`."""

    runs: tuple[FittedRun, ...]


@dataclass(frozen=True)
class PredictedInputs:
    """What `run` says of every input; those that could not be read come last in their file,
    folder or thousand."""

    run: str
    predictions: tuple[Prediction, ...]


@dataclass(frozen=True)
class WrittenReport:
    """The file that `retarget report` wrote."""

    report: str


@dataclass(frozen=True)
class ExportedModel:
    """Where an export lies, and how far it is from the model: of probabilities, or of values
    relative to their size."""

    folder: str
    difference: float


@dataclass(frozen=True)
class CachePlace:
    """Where the cache is."""

    path: str


@dataclass(frozen=True)
class FreedCache:
    """What clearing the cache freed."""

    freed_megabytes: float


DOCUMENTS: dict[str, Any] = {
    "fit": FittedRun,
    "demo": FittedRun | FittedTexts,
    "inspect": InspectionRecord,
    "sources": SourceList,
    "evaluate": Evaluation,
    "compare": Comparison,
    "predict": PredictedInputs,
    "report": WrittenReport,
    "export": ExportedModel,
    "cache info": CacheInfo,
    "cache path": CachePlace,
    "cache clear": FreedCache,
}


def fitted(run: Run) -> FittedRun:
    """Return what `fit --json` prints of a run."""
    return FittedRun(run=str(run.folder), **dict(run.record))
