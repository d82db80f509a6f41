"""What a fit tries: its own candidates and trainings, and the denominators of transfer gain."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retarget.core.config import BaselineName, FitConfig
from retarget.core.errors import UsageError
from retarget.core.progress import tell
from retarget.core.text import count
from retarget.features.bags import bag_of, words_of
from retarget.features.material import Material
from retarget.methods.finetune import STEP_PASSES
from retarget.methods.schedule import epochs_for
from retarget.methods.tuning import TUNINGS, Tuning
from retarget.methods.tunings import FEW
from retarget.selection.baselines import (
    Baseline,
    judge_bag,
    judge_chain,
    judge_majority,
    judge_table,
    judge_tuning,
)
from retarget.selection.candidates import candidates, methods_for, name_of, tunings_for
from retarget.selection.judge import Judged, Study, judge
from retarget.selection.recalled import recalled_baseline
from retarget.selection.tune import FROZEN, Pool, Workshop
from retarget.sources.registry import plain, resolve
from retarget.tasks.modalities import LOADERS
from retarget.tasks.task import Task

if TYPE_CHECKING:
    from retarget.methods.callbacks import Callback

TRAINED: tuple[BaselineName, ...] = ("scratch", "small-cnn")


def baselines_of(config: FitConfig, task: Task) -> tuple[BaselineName, ...]:
    """Return the denominators asked for, or the usual ones.

    Raises:
        UsageError: one is asked for that this task doesn't have.
    """
    (modality,) = set(task.inputs.values())
    bare: BaselineName = "crf" if task.kind == "tagging" else "tfidf"
    if plain(modality) is not None:
        bare = "pixels"
    trained = tuple(name for name in TRAINED if TUNINGS[name].suits(modality))
    usual: tuple[BaselineName, ...] = ("majority", bare, "random")
    if config.baselines is None:
        return (*usual, *trained) if trains(config) else usual
    if strange := [name for name in config.baselines if name not in (*usual, *trained)]:
        raise UsageError(
            f"{task.name} has no denominator {', '.join(strange)}. Choose from: "
            f"{', '.join((*usual, *trained))}."
        )
    return config.baselines


def trains(config: FitConfig) -> bool:
    """Return whether a method is asked for that changes weights."""
    return any(name_of(asked) in TUNINGS for asked in config.methods)


def stresses(config: FitConfig) -> bool:
    """Return whether models are judged under corruption too."""
    return trains(config) if config.robustness is None else config.robustness


def tunings_of(study: Study, config: FitConfig) -> tuple[Tuning, ...]:
    """Return the methods asked for that change weights, with what was said of all trainings."""
    said: dict[str, Any] = {
        "epochs": config.epochs,
        "lr": config.lr,
        "from_layer": _layer(config.from_layer),
        "class_weight": config.class_weight,
        "keep_mixes": stresses(config) or None,
    }
    told = {name: value for name, value in said.items() if value is not None}
    return tunings_for(study.task.kind, config.methods, told)


def _layer(told: str | None) -> str | int | None:
    return int(told) if told is not None and told.isdecimal() else told


def workshop_for(
    study: Study, material: Material, config: FitConfig, callbacks: "Sequence[Callback]" = ()
) -> Workshop:
    """Return what trainings need. The time that may be taken is shared among all of them."""
    trackers: tuple[Callback, ...] = ()
    if config.track:
        from retarget.methods.tracking import tracker

        trackers = (tracker(config.track, Path(f"{config.out or 'retarget-run'}-{config.track}")),)
    number = trainings(study, config)
    each = config.time / max(1, number) if config.time else None
    return Workshop(
        inputs=material.inputs(),
        read=material.read,
        pooling=study.pooling,
        seed=config.seed,
        device=config.device,
        seconds=each,
        callbacks=(*callbacks, *trackers),
    )


def trainings(study: Study, config: FitConfig) -> int:
    """Return how many trainings a fit takes, those of its denominators included."""
    names = {name_of(asked) for asked in config.methods} & set(TUNINGS)
    return len(names | (set(baselines_of(config, study.task)) & set(TRAINED))) * len(study.rounds())


def tell_cost(study: Study, material: Material, config: FitConfig) -> None:
    """Say before anything is trained how many trainings there are and about how long they take."""
    number = trainings(study, config)
    if not number:
        return
    encoders = [material.features[uri] for uri in material.encoders]
    slowest = max((f.seconds_per_example for f in encoders), default=0.0)
    rows = study.rounds()[-1].rows
    examples = len(study.examples_of(rows))
    each = slowest * len(rows) / max(1, examples)
    about = number * training_seconds(examples, each, config.epochs)
    within = f"at most about {config.time / 60:.1f} min (--time)" if config.time else ""
    rough = f"roughly {max(1.0, about / 60):.0f} min" if about else "some minutes"
    folds = f" in {count(len(study.rounds()), 'round')}" if len(study.rounds()) > 1 else ""
    less = "" if config.time else " --time 5m bounds it"
    fewer = "; fewer --folds take less" if folds and not config.time else ""
    tell(f"{count(number, 'training')}{folds}: {within or rough}.{less}{fewer}")


def training_seconds(examples: int, per_example: float, epochs: int | None = None) -> float:
    """Return about how long one training of everything takes, where it is not stopped early.

    Args:
        examples: that it may learn from.
        per_example: measured seconds of extraction.
        epochs: at most; the usual if not said.
    """
    twice = 2 if examples < FEW else 1
    return twice * examples * (epochs or epochs_for(examples)) * STEP_PASSES * per_example


def judge_ours(study: Study, material: Material, config: FitConfig, workshop: Workshop) -> Judged:
    """Choose what to transfer, and judge the choosing."""
    uris = config.sources or material.encoders
    tables = material.tables([resolve(uri).uri for uri in uris])
    kind = study.task.kind
    frozen = methods_for(kind, config.methods, config.class_weight)
    scouts = frozen or methods_for(kind, ("probe",), config.class_weight)
    pool = Pool(
        candidates=candidates(tuple(tables.values()), scouts, config.layers),
        tunings=tunings_of(study, config),
        workshop=workshop,
        scouts=not frozen,
        label="+".join(m.name for m in frozen) or FROZEN,
    )
    return judge(study, tables, pool)


def judge_baselines(
    study: Study, material: Material, config: FitConfig, workshop: Workshop, chosen: str
) -> tuple[Baseline, ...]:
    """Judge the denominators of transfer gain that were asked for, for the source chosen."""
    wanted = baselines_of(config, study.task)
    made = [judge_majority(study)] if "majority" in wanted else []
    if "pixels" in wanted:
        made.append(_of_features("pixels", study, material, material.plain))
    loader = LOADERS[material.modality]
    if "tfidf" in wanted and loader.parts and len(material.task):
        made.append(recalled_baseline("tfidf", study, lambda: _of_parts(study, material)))
    if "crf" in wanted and loader.parts_of_words and len(material.task):
        made.append(recalled_baseline("crf", study, lambda: _of_words(study, material)))
    if "random" in wanted:
        random = next(uri for uri in material.features if uri.startswith("random:"))
        made.append(_of_features("random", study, material, random))
    trained = tunings_for(study.task.kind, [n for n in TRAINED if n in wanted], _pace(config))
    return (*made, *(judge_tuning(study, tuning, chosen, workshop) for tuning in trained))


def _of_features(name: str, study: Study, material: Material, uri: str) -> Baseline:
    """Judge the best that can be had from one source's features."""
    methods, tables = methods_for(study.task.kind, ()), material.tables([uri])
    return recalled_baseline(
        name,
        study,
        lambda: judge_table(name, study, tables, methods),
        tables=tuple(tables.values()),
        settings=repr(methods),
    )


def _of_parts(study: Study, material: Material) -> Baseline:
    bag = bag_of(material.inputs())
    assert bag is not None, "what has this denominator has countable parts"
    return judge_bag(study, bag)


def _of_words(study: Study, material: Material) -> Baseline:
    words = words_of(material.inputs())
    assert words is not None, "what has this denominator has words"
    return judge_chain(study, words)


def _pace(config: FitConfig) -> dict[str, Any]:
    """Return what of the settings holds for training from nothing; its learning rate is its own."""
    told = {"epochs": config.epochs, "class_weight": config.class_weight}
    return {name: value for name, value in told.items() if value is not None}
