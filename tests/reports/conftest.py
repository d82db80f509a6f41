"""Records rich enough to fill every part of a report, built in code."""

import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image, ImageDraw

from retarget.core.config import FitConfig
from retarget.evaluation.results import (
    Calibration,
    CalibrationBin,
    Confusion,
    CurvePoint,
    Estimate,
    Evaluation,
    Gain,
    LearningCurve,
    Part,
    Verdict,
)
from retarget.features.features import PassCost
from retarget.runs.schema import (
    Chosen,
    MapPoint,
    Mistake,
    ProblemRecord,
    ProtocolRecord,
    RunRecord,
    TaskRecord,
    Trial,
)


def _beside(name: str) -> ModuleType:
    """Return a module of this folder, whose files don't import each other by name."""
    path = Path(__file__).parent / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"retarget_tests_{name}", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_tuned, _language = _beside("tuned"), _beside("language")

CLASSES = (
    "apple", "avocado", "banana", "blueberries", "cherries", "coconut", "grapes", "kiwi fruit",
    "lemon", "mango", "melon", "passion fruit from the southern Andes",
)  # fmt: skip
SOURCES = (
    "bundled:efficientnet-lite0",
    "bundled:efficientnet-lite1",
    "bundled:efficientnet-lite2",
    "timm:convnext_tiny.fb_in22k_ft_in1k_384",
)
LAYERS = (*(f"blocks.{i}" for i in range(7)), "head")
HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "]]></title></svg><script>alert(2)</script>",
    "{{7*7}}{% raw %}",
    "\u202egpj.exe\u2066",
    "\x1b[31mred\x1b]8;;http://evil.example\x07link",
    "[bold red]markup[/] [link=http://evil.example]x[/link]",
    "' onmouseover='alert(3)",
    "javascript:alert(4)",
    "日本語のとても長いクラス名 " * 4,
    "unbreakable" * 18,
    "new\nline & <b>bold</b> :smile:",
)


def estimate(value: float, half: float, how: str = "bootstrap") -> Estimate:
    return Estimate(value, value - half, value + half * 0.6, how)


def trials(rng: np.random.Generator, sources: tuple[str, ...]) -> tuple[Trial, ...]:
    """All layers, and all together, of all sources by two methods; deeper is mostly better."""
    found = []
    for s, source in enumerate(sources):
        for method in ("probe", "prototype"):
            for k, layers in enumerate([*((layer,) for layer in LAYERS), LAYERS]):
                depth = min(k, 7) / 7
                score = 0.55 + 0.36 * depth**0.7 - 0.05 * (depth > 0.9) - 0.02 * s
                score += rng.normal(0, 0.012) - 0.06 * (method == "prototype")
                found.append(
                    Trial(
                        source=source,
                        layers=layers,
                        method=method,
                        setting=0.01 * 2**k if method == "probe" else None,
                        loss=2.2 * (1 - score) + 0.05,
                        loss_se=0.021,
                        score=score,
                        seconds=0.3 + rng.uniform(0, 0.8),
                        seconds_per_example=0.0031 * (1 + 0.8 * s),
                        operations=3.9e8 * (1 + s),
                    )
                )
    best = min(range(len(found)), key=lambda i: found[i].loss)
    found[best] = found[best].model_copy(update={"chosen": True})
    return tuple(sorted(found, key=lambda trial: trial.loss))


def confusion(rng: np.random.Generator, classes: tuple[str, ...]) -> Confusion:
    counts = rng.poisson(0.35, (len(classes), len(classes)))
    counts += np.diag(rng.integers(14, 30, len(classes)))
    return Confusion(classes, tuple(tuple(int(n) for n in row) for row in counts))


def parts(rng: np.random.Generator, names: tuple[str, ...], *metrics: str) -> tuple[Part, ...]:
    return tuple(
        Part(
            name,
            int(rng.integers(12, 60)),
            {
                metric: estimate(rng.uniform(0.72, 0.94), rng.uniform(0.02, 0.1))
                for metric in metrics
            },
        )
        for name in names
    )


def calibration() -> Calibration:
    middles = np.linspace(0.25, 0.97, 9)
    bins = tuple(
        CalibrationBin(m - 0.05, m + 0.05, int(6 + 150 * m**4), m, float(m + 0.05 * np.sin(9 * m)))
        for m in middles
    )
    before, after = estimate(0.083, 0.014), estimate(0.021, 0.009)
    return Calibration(before, after, 1.37, bins)


def evaluation(rng: np.random.Generator, classes: tuple[str, ...]) -> Evaluation:
    values = {
        "accuracy": 0.874, "balanced_accuracy": 0.868, "macro_f1": 0.866, "auroc": 0.987,
        "average_precision": 0.921, "log_loss": 0.412, "brier": 0.187, "calibration_error": 0.021,
    }  # fmt: skip
    return Evaluation(
        metric="accuracy",
        higher_is_better=True,
        examples=388,
        metrics={k: estimate(v, 0.034 if k == "accuracy" else 0.018) for k, v in values.items()},
        per_class=parts(rng, classes, "accuracy", "f1", "auroc"),
        per_group=parts(rng, tuple(f"author {i:02d}" for i in range(55)), "accuracy"),
        per_domain=parts(rng, ("colour", "black outline"), "accuracy", "auroc"),
        calibration=calibration(),
        confusion=confusion(rng, classes),
    )


def curve(metric: str = "accuracy") -> LearningCurve:
    labels = (24, 48, 96, 150, 200, 350, 600)
    points = tuple(
        CurvePoint(n, estimate(0.95 - 1.6 / n**0.55, 0.6 / n**0.5, "fitted curve"), n > 200)
        for n in labels
    )
    return LearningCurve(metric, points, "About 150 more labels would bring +0.03 in accuracy.")


def feature_map(rng: np.random.Generator, labels: tuple[str, ...]) -> tuple[MapPoint, ...]:
    centres = rng.normal(0, 3, (len(labels), 2))
    return tuple(
        MapPoint(
            x=float(x), y=float(y), label=label, domain="colour" if i % 2 else "black",
            judged=bool(i % 3),
        )
        for label, centre in zip(labels, centres, strict=True)
        for i, (x, y) in enumerate(rng.normal(centre, 0.75, (34, 2)))
    )  # fmt: skip


def problems(names: tuple[str, ...]) -> tuple[ProblemRecord, ...]:
    return (
        ProblemRecord(kind="unreadable", what="The file is truncated after 1,024 bytes.",
                      where=names, examples=len(names), left_out=True),
        ProblemRecord(kind="duplicate", what="The same content appears more than once; one copy "
                      "of each was kept.", where=tuple(f"apple/{i:04d}.png" for i in range(50)),
                      examples=64, left_out=True),
        ProblemRecord(kind="leak", what="The same picture is in train and in test; it was kept in "
                      "test only.", where=("mango/0012.png", "mango/0103.png"), examples=2,
                      left_out=True),
        ProblemRecord(kind="rare-class", what="Class kiwi fruit has 2 examples: its scores say "
                      "little.", where=("kiwi fruit",), examples=2, left_out=False),
    )  # fmt: skip


def task(classes: tuple[str, ...], kind: str, names: tuple[str, ...]) -> TaskRecord:
    return TaskRecord(
        name="fruit drawings",
        origin="/data/fruit drawings",
        layout="A folder with one folder for every class.",
        why="It holds 12 folders of pictures and no train, val or test folder.",
        kind=kind,
        inputs={"image": "image"},
        classes=classes,
        class_counts={name: 40 + 3 * i for i, name in enumerate(classes)},
        examples=612,
        labelled=588,
        unlabelled=24,
        groups=55,
        domains=("black outline", "colour"),
        quarantined=71,
        problems=problems(names),
    )


def build(
    classes: tuple[str, ...] = CLASSES,
    names: tuple[str, ...] = ("apple/IMG 0042.JPG", "banana/ünïcode näme.png"),
    sources: tuple[str, ...] = SOURCES,
    kind: str = "classification",
) -> RunRecord:
    """A record with every part filled."""
    rng = np.random.default_rng(3)
    tried = trials(rng, sources)
    chosen = tuple(trial for trial in tried if trial.chosen)
    gains = {
        "majority": Gain(0.78, 0.742, 0.815, 0.094, "paired bootstrap"),
        "pixels": Gain(0.322, 0.27, 0.374, 0.552, "paired bootstrap"),
        f"random:{sources[0].split(':')[-1]}": Gain(0.104, 0.061, 0.147, 0.77, "paired bootstrap"),
    }
    mistakes = tuple(
        Mistake(
            name=names[i % len(names)], target=classes[i % len(classes)],
            predicted=classes[(i * 5 + 1) % len(classes)], confidence=0.99 - 0.03 * i,
            picture=f"pictures/{i}.jpg" if i != 5 else None,
        )
        for i in range(9)
    )  # fmt: skip
    return RunRecord(
        config=FitConfig(data="fruit drawings/", sources=sources[:2], seed=7, domains=True,
                         columns={"label": "diagnosis"}, out="runs/fruit"),
        task=task(classes, kind, names),
        protocol=ProtocolRecord(
            mode="hold-out", folds=5, choosing=200, judging=388,
            why="There is no given test split and there are enough labels, so 388 were set aside."),
        extraction=tuple(
            PassCost(source, "onnx", 612, 0, 4.1 + i, 149.2 - 20 * i, 0.61 if i else None)
            for i, source in enumerate(sources)
        ),
        trials=tried,
        chosen=Chosen(source=chosen[0].source, members=chosen,
                      why="Cheapest within one standard error of the least loss."),
        test=evaluation(rng, classes),
        gain=gains,
        verdict=Verdict("helps", "Transfer helps: accuracy is 0.104 higher (+0.06 to +0.15) than "
                        "with the same architecture and random weights.", list(gains)[-1],
                        "accuracy"),
        learning_curve=curve(),
        mistakes=mistakes,
        map=feature_map(rng, classes),
        seconds={"reading": 1.2, "extraction": 21.4, "choosing": 14.8, "judging": 6.1,
                 "total": 44.1},
        seed=7,
        device="cpu, 2 threads",
        versions={"retarget": "0.1.0", "python": "3.11.2", "torch": "2.14.0", "numpy": "2.4.1"},
        verified="The saved model gave the same predictions in a fresh process.",
    )  # fmt: skip


def build_regression() -> RunRecord:
    """A record of a task with numbers as targets, lower is better, transfer hurts."""
    rng = np.random.default_rng(4)
    base = build()
    test = Evaluation(
        metric="rmse",
        higher_is_better=False,
        examples=388,
        metrics={"rmse": estimate(1412.7, 160), "mae": estimate(980.2, 90),
                 "r2": estimate(0.4, 0.1), "spearman": estimate(0.71, 0.06)},
        per_domain=tuple(
            Part(name, 50, {"rmse": estimate(v, 150)}) for name, v in (("a", 1300.0), ("b", 1600.0))
        ),
    )  # fmt: skip
    points = tuple(
        p.model_copy(update={"label": repr(float(rng.normal(60 * p.x, 50)))}) for p in base.map
    )
    return base.model_copy(
        update={
            "task": base.task.model_copy(
                update={"kind": "regression", "classes": ("price",), "class_counts": {},
                        "problems": ()}),
            "test": test,
            "gain": {"majority": Gain(310.0, 150.0, 480.0, 1722.7),
                     "pixels": Gain(-220.0, -350.0, -90.0, 1192.7)},
            "verdict": Verdict("hurts", "Transfer hurts: RMSE is 220 higher than from pixels.",
                               "pixels", "rmse"),
            "learning_curve": None,
            "mistakes": tuple(
                m.model_copy(update={"target": "1,200", "predicted": "3,400"})
                for m in base.mistakes),
            "map": points,
        }
    )  # fmt: skip


def build_multilabel() -> RunRecord:
    """A record of a task with several labels an example; can't be told apart."""
    rng = np.random.default_rng(5)
    base = build()
    labels = tuple(
        dict.fromkeys(
            "|".join(sorted(rng.choice(CLASSES[:8], 2, replace=False))) for _ in range(60)
        )
    )
    test = replace(
        base.test,
        metric="average_precision",
        confusion=None,
        per_class=parts(rng, CLASSES, "average_precision", "auroc"),
        per_group=(),
        per_domain=(),
    )
    points = tuple(
        p.model_copy(update={"label": labels[i % len(labels)]}) for i, p in enumerate(base.map)
    )
    return base.model_copy(
        update={
            "task": base.task.model_copy(update={"kind": "multilabel"}),
            "protocol": base.protocol.model_copy(update={"mode": "cross-fitting"}),
            "test": test,
            "gain": {"pixels": Gain(0.012, -0.02, 0.044, 0.909)},
            "verdict": Verdict("cannot be told apart", "Transfer can't be told apart from pixels.",
                               "pixels", "average_precision", 140),
            "chosen": base.chosen.model_copy(update={"members": base.trials[:3]}),
            "map": points,
        }
    )  # fmt: skip


def build_hostile() -> RunRecord:
    """A record in which every text that came from outside is hostile."""
    bad = HOSTILE[0]
    base = build(HOSTILE, HOSTILE, (*HOSTILE[:3], HOSTILE[10]))
    rng = np.random.default_rng(6)
    everything = " ".join(HOSTILE[:6])
    base = _tuned.with_hostile_trainings(base, HOSTILE)
    return base.model_copy(
        update={
            "config": base.config.model_copy(
                update={"data": everything, "columns": {bad: everything}, "out": HOSTILE[5]}),
            "task": base.task.model_copy(
                update={"name": everything, "origin": everything, "layout": everything,
                        "why": everything, "domains": HOSTILE}),
            "test": replace(
                base.test, per_domain=parts(rng, HOSTILE, "accuracy", bad),
                per_group=parts(rng, HOSTILE, "accuracy")),
            "gain": {name: Gain(0.1, 0.0, 0.2, 0.5, name) for name in HOSTILE},
            "verdict": Verdict("helps", everything, bad, bad),
            "device": everything,
            "versions": {name: name for name in HOSTILE},
            "seconds": dict.fromkeys(HOSTILE, 1.0),
            "verified": everything,
        }
    )  # fmt: skip


def build_bare() -> RunRecord:
    """The least that a record can hold."""
    base = build()
    one = base.trials[0]
    return base.model_copy(
        update={
            "trials": (one,),
            "extraction": (),
            "chosen": base.chosen.model_copy(update={"members": (one,)}),
            "test": Evaluation("accuracy", True, 3, {}),
            "gain": {},
            "learning_curve": None,
            "mistakes": (),
            "map": (),
            "seconds": {},
            "versions": {},
            "task": base.task.model_copy(update={"problems": (), "class_counts": {}}),
        }
    )


def build_many() -> RunRecord:
    """A record with 1,000 trials and 60 classes."""
    rng = np.random.default_rng(7)
    classes = tuple(f"species {i:02d}" for i in range(60))
    base = build(classes, sources=tuple(f"timm:model_{i}" for i in range(56)))
    return base.model_copy(update={"map": feature_map(rng, classes)})


def build_tuned() -> RunRecord:
    """A record with trainings."""
    made: RunRecord = _tuned.with_trainings(build())
    return made


def build_texts() -> RunRecord:
    """A record of a task on texts, some of them strange."""
    made: RunRecord = _language.with_texts(build(), (_language.SENTENCE, *_language.STRANGE))
    return made


def build_tags() -> RunRecord:
    """A record of a tagging task."""
    made: RunRecord = _language.with_tags(build(), _language.STRANGE)
    return made


BUILDERS: dict[str, Callable[[], RunRecord]] = {
    "classification": build,
    "regression": build_regression,
    "multilabel": build_multilabel,
    "hostile": build_hostile,
    "bare": build_bare,
    "many": build_many,
    "tuned": build_tuned,
    "texts": build_texts,
    "tags": build_tags,
}


def draw_pictures(folder: Path) -> Path:
    """Make a run directory with small pictures and return it."""
    (folder / "pictures").mkdir(parents=True)
    for i in range(9):
        picture = Image.new("RGB", (96, 96 if i % 2 else 64), (250, 250 - 9 * i, 230))
        draw = ImageDraw.Draw(picture)
        draw.ellipse((18, 10, 78, 58), fill=(40 + 20 * i, 140, 200 - 20 * i), outline=(30, 30, 30))
        picture.save(folder / "pictures" / f"{i}.jpg")
    return folder


@pytest.fixture(scope="session")
def records() -> dict[str, RunRecord]:
    """Records by what they hold."""
    return {name: make() for name, make in BUILDERS.items()}


@pytest.fixture(scope="session")
def record(records: dict[str, RunRecord]) -> RunRecord:
    """A record of a classification with every part filled."""
    return records["classification"]


@pytest.fixture(scope="session")
def hostile_names() -> tuple[str, ...]:
    return HOSTILE


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A run directory with the pictures that the records name."""
    yield draw_pictures(tmp_path_factory.mktemp("run") / "fruit")
