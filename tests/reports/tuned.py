"""What trainings add to a record: their curves, kinds of method, robustness, drift."""

import numpy as np

from retarget.evaluation.results import Estimate, Gain
from retarget.evaluation.robustness import Robustness, Withstood
from retarget.methods.tuning import Epoch, TrainingCost
from retarget.runs.schema import (
    Chosen,
    Drift,
    LayerDrift,
    MethodRecord,
    MixRecord,
    RunRecord,
    TrainingRecord,
    Trial,
)

SOURCE = "bundled:efficientnet-lite0"
LAYERS = (*(f"blocks.{i}" for i in range(7)), "head")


def estimate(value: float, half: float) -> Estimate:
    return Estimate(value, value - half, value + half * 0.6, "bootstrap")


def training(
    rng: np.random.Generator, trainable: int, parameters: int = 3_400_000
) -> TrainingRecord:
    """A training of twelve epochs that overfits from the eighth on."""
    epochs = tuple(
        Epoch(
            number=i,
            loss=float(2.4 * np.exp(-i / 3.5) + rng.uniform(0, 0.04)),
            validation_loss=float(1.9 * np.exp(-i / 3) + 0.45 + 0.02 * max(0, i - 7)),
            score=float(0.9 - 0.8 * np.exp(-i / 3)),
            lr=5e-4,
            seconds=14.2 * i,
        )
        for i in range(13)
    )
    seconds, disk = 214.0 * trainable / parameters + 31.0, 88.3 if trainable < parameters else 0.0
    cost = TrainingCost(parameters, trainable, seconds, 0.41, 512.0 + trainable / 4e3, disk)
    return TrainingRecord(
        cost=cost,
        epochs=epochs,
        taken=8,
        why="Epoch 8 of 12: the lowest validation loss (0.602); 4 more did not lower it.",
        gap=(0.34, 0.21, 0.47),
        settings={"epochs": 12, "lr": 5e-4, "batch": 32, "from_layer": "all", "mixup": 0.0,
                  "precision": "float32", "augment": 0.5, "layer_decay": 0.75, "share": 0.7,
                  "cached_behind": "", "refit": True, "targets": ["conv_pw", "conv_pwl"]},
        mixes=tuple(MixRecord(share=i / 10, validation_loss=0.9 - 0.05 * i, score=0.8 + 0.01 * i)
                    for i in range(11)),
        notes=("the cache of activations would not pay within 12 epochs",),
    )  # fmt: skip


def robust(clean: float, kept: float, corruptions: tuple[str, ...]) -> Robustness:
    """A robustness whose shares fall with severity; contrast can't be told from none."""
    cells = tuple(
        Withstood(
            name,
            severity,
            estimate(0.1 + (clean - 0.1) * share, 0.05),
            None if name == "contrast" and severity == 3 else estimate(share, 0.06),
        )
        for i, name in enumerate(corruptions)
        for severity in (1, 2, 3)
        for share in (kept + 0.12 - 0.03 * i - 0.08 * (severity - 1),)
    )
    return Robustness("accuracy", estimate(clean, 0.04), 0.09, cells, estimate(kept, 0.05))


CORRUPTIONS = ("blur", "noise", "jpeg", "brightness", "contrast", "occlusion")
METHODS = (
    ("frozen", 1.0, 0.842, 0, 0.71),
    ("finetune", 0.7, 0.884, 3_400_000, 0.66),
    ("finetune", 0.25, 0.861, 3_400_000, 0.74),
    ("finetune", 0.5, 0.879, 3_400_000, 0.735),
    ("finetune", 0.75, 0.886, 3_400_000, 0.70),
    ("finetune", 1.0, 0.880, 3_400_000, 0.62),
    ("lora", 1.0, 0.871, 148_000, 0.70),
    ("scratch", 1.0, 0.515, 3_400_000, 0.52),
    ("mean", 1.0, 0.893, 6_948_000, 0.725),
)


def with_trainings(base: RunRecord) -> RunRecord:
    """Add trainings, kinds of method, their robustness, and what they changed."""
    rng = np.random.default_rng(8)
    frozen = tuple(t.model_copy(update={"chosen": False}) for t in base.trials)
    tuned = tuple(
        Trial(
            source=SOURCE, layers=("pooled",), method=name, setting=None, loss=loss,
            loss_se=0.05, score=score, seconds=made.cost.seconds, seconds_per_example=0.0031,
            operations=3.9e8, training=made,
        )
        for name, loss, score, made in (
            ("finetune", 0.31, 0.902, training(rng, 3_400_000)),
            ("lora", 0.36, 0.887, training(rng, 148_000, 3_548_000)),
            ("scratch", 1.6, 0.53, training(rng, 3_400_000)),
        )
    )  # fmt: skip
    mean = tuned[0].model_copy(
        update={"training": None, "method": "mean", "layers": (*LAYERS, "pooled"), "loss": 0.3,
                "score": 0.911, "seconds": 0.0, "chosen": True})  # fmt: skip
    methods = tuple(
        MethodRecord(
            name=name, share=share, score=estimate(score, 0.034),
            test=None if name == METHODS[i - 1][0] else base.test,
            gain=Gain(score - 0.842, score - 0.872, score - 0.812, 0.842) if i else None,
            trainable=trainable, seconds=214.0 * (trainable > 0 and name != "mean"),
            robustness=robust(score + 0.004, kept, CORRUPTIONS),
        )
        for i, (name, share, score, trainable, kept) in enumerate(METHODS)
    )  # fmt: skip
    drift = tuple(
        Drift(method=name, layers=tuple(
            LayerDrift(layer=layer, weights=None if layer == "blocks.2" else most * (i + 1) ** 2,
                       cka=None if layer == "blocks.0" else 0.998 - 4 * most * i**2)
            for i, layer in enumerate(("conv_stem", *LAYERS, "pooled"))))
        for name, most in (("finetune", 0.0016), ("lora", 0.0007))
    )  # fmt: skip
    members = (frozen[0], *tuned)
    chosen = Chosen(
        source=SOURCE,
        members=tuple(m.model_copy(update={"chosen": True}) for m in members),
        why="Each method counts by its loss on validation: finetune 60%, frozen 40%.",
    )
    trials = tuple(sorted((*frozen, *tuned, mean), key=lambda t: t.loss))
    return base.model_copy(
        update={"trials": trials, "chosen": chosen, "methods": methods, "drift": drift}
    )


def with_hostile_trainings(record: RunRecord, names: tuple[str, ...]) -> RunRecord:
    """Put trainings into a record, in which every text is hostile."""
    tuned = with_trainings(record)
    bad, everything = names[:4], " ".join(names[:6])
    made = tuned.trials[1].training
    assert made is not None
    settings = dict.fromkeys(names, everything) | {"list": list(names)}
    made = made.model_copy(update={"why": everything, "notes": names, "settings": settings})
    trials = tuple(
        record.trials[0].model_copy(
            update={"method": name, "layers": (name,), "training": made, "chosen": False})
        for name in bad
    )  # fmt: skip
    methods = tuple(
        one.model_copy(update={"name": bad[i % 4], "robustness": robust(0.8, 0.6, names)})
        for i, one in enumerate(tuned.methods)
    )
    drift = Drift(method=everything, layers=tuple(
        LayerDrift(layer=name, weights=0.1, cka=0.5) for name in names))  # fmt: skip
    return record.model_copy(
        update={"trials": (*record.trials, *trials), "methods": methods, "drift": (drift,)}
    )
