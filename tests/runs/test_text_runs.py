"""Small runs on texts, from what was asked to the record: gain and corruption are what they say."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from seqeval.metrics import f1_score

import retarget as rt
from retarget import api
from retarget.core.types import FloatArray
from retarget.evaluation.decoding import allowed, decode
from retarget.selection.baselines import Baseline
from retarget.selection.judge import Judged, Study
from retarget.tasks import modalities
from retarget.tasks.modalities import LOADERS, Corrupted
from retarget.tasks.task import Task

PEOPLE, PLACES = ("Anna Berg", "Tom", "Lena Voss"), ("Oslo", "New Haven", "Graz")
CELLS = {
    (name, severity) for name in ("typos", "case", "punctuation", "ocr") for severity in (1, 2, 3)
}


@dataclass(frozen=True)
class Seen:
    """A run, its task, and what the fit found on the way."""

    run: rt.Run
    task: Task
    study: Study
    ours: Judged
    baselines: tuple[Baseline, ...]


def _data(kind: str, n: int = 30) -> tuple[list[Any], list[Any]]:
    texts: list[Any] = []
    targets: list[Any] = []
    for i in range(n):
        person, place = PEOPLE[i % 3], PLACES[i // 3 % 3]
        word = ("lovely", "dismal")[i % 2]
        text = f"{person} came to {place} on day {i}; it was {word}."
        at = text.index(place)
        spans = [(0, len(person), "person"), (at, at + len(place), "place")]
        texts.append((text, f"And then? It was {word}.") if kind == "pair" else text)
        targets.append(
            {
                "tagging": spans,
                "multilabel": [word, person] if i % 4 else [word],
                "regression": i % 2 * 10 + i / 7,
            }.get(kind, word)
        )
    return texts, targets


@pytest.fixture(scope="module")
def seen(
    text_folder: Callable[..., str], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Seen]:
    """Give a maker of runs, each made once."""
    made: dict[str, Seen] = {}

    def make(kind: str) -> Seen:
        if kind in made:
            return made[kind]
        found: dict[str, Any] = {}

        def kept(name: str) -> None:
            original = getattr(api, name)

            def call(*told: Any, **more: Any) -> Any:
                found[name] = original(*told, **more)
                return found[name]

            patch.setattr(api, name, call)

        folder = tmp_path_factory.mktemp(kind)
        splits = ["train"] * 20 + ["test"] * 10
        task = rt.open_task(*_data(kind), splits=splits)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("RETARGET_CACHE", str(folder / "cache"))
            for name in ("plan_study", "judge_ours", "judge_baselines"):
                kept(name)
            run = rt.fit(
                task,
                sources=[text_folder("bert", "mean")],
                layer="last",
                method="probe",
                baselines=["majority", "crf" if kind == "tagging" else "tfidf"],
                robustness=True,
                metric="log_loss" if kind == "classification" else None,
                learning_curve=False,
                folds=2,
                out=str(folder / "run"),
                engine="eager",
            )
        made[kind] = Seen(run, task, *(found[name] for name in found))
        return made[kind]

    return make


def _f1(tags: tuple[str, ...], targets: Any, predictions: FloatArray, owners: Any) -> float:
    told = decode(np.log(np.maximum(predictions, 1e-300)), owners, allowed(tags))
    truth, said = (
        [[tags[tag] for tag in own[owners == s]] for s in np.unique(owners)]
        for own in (targets, told)
    )
    return float(f1_score(truth, said))


def test_the_gain_over_a_crf_is_that_of_the_predictions_judged(seen: Callable[[str], Seen]) -> None:
    import pyarrow.parquet

    made = seen("tagging")
    table = pyarrow.parquet.read_table(made.run.folder / "predictions.parquet").to_pydict()
    owners, targets = np.array(table["sequence"]), np.array(table["target"])
    tags = made.study.task.classes
    ours = _f1(tags, targets, np.array(table["prediction"]), owners)
    (crf,) = (one for one in made.baselines if one.name == "crf")
    theirs = _f1(tags, targets, crf.predictions, owners)
    found = made.run.record.gain["crf"]
    assert made.run.record.test.metrics["entity_f1"].value == pytest.approx(ours)
    assert found.denominator_score == pytest.approx(theirs)
    assert found.value == pytest.approx(ours - theirs)
    assert found.low <= found.value <= found.high
    assert theirs > 0.5


@pytest.mark.parametrize("kind", ["classification", "pair", "multilabel", "regression", "tagging"])
def test_every_kind_of_text_is_judged_under_every_corruption(
    seen: Callable[[str], Seen], kind: str
) -> None:
    made = seen(kind)
    again = rt.load_run(made.run.folder).record
    (method,) = again.methods
    assert method.robustness is not None
    assert {(c.corruption, c.severity) for c in method.robustness.cells} == CELLS
    assert set(LOADERS["text"].corruptions) == {name for name, _ in CELLS}
    scores = {(c.corruption, c.severity): c.score.value for c in method.robustness.cells}
    assert np.isfinite(list(scores.values())).all()
    assert method.robustness.clean.value == pytest.approx(
        again.test.metrics[again.test.metric].value
    )


def test_what_was_tried_alone_is_not_said_to_be_better(seen: Callable[[str], Seen]) -> None:
    record = seen("classification").run.record
    assert len(record.trials) == 1
    assert record.chosen.why == "It was the only one tried."


@pytest.mark.parametrize("cell", [("typos", 3), ("punctuation", 3), ("ocr", 1)])
def test_a_score_under_corruption_is_that_of_predicting_the_corrupted_texts(
    seen: Callable[[str], Seen], cell: tuple[str, int]
) -> None:
    made = seen("classification")
    rows = made.study.protocol.judging
    texts = made.task.examples.inputs["text"]
    noisy = [modalities.load("text", Corrupted(texts[row], *cell)) for row in rows]
    assert any(text != texts[row] for text, row in zip(noisy, rows, strict=True))
    told, clean = (
        made.run.predict(asked, engine="eager").values
        for asked in (noisy, [texts[row] for row in rows])
    )
    assert np.abs(told - clean).max() > 1e-3
    targets = made.task.examples.targets[rows]
    loss = np.mean([-np.log(own[target]) for own, target in zip(told, targets, strict=True)])
    robust = made.run.record.methods[0].robustness
    assert robust is not None
    (found,) = (c for c in robust.cells if (c.corruption, c.severity) == cell)
    assert found.score.value == pytest.approx(loss, abs=1e-4)
