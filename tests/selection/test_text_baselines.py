"""The denominators of texts learn what there is to learn, and nothing of what judges them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from seqeval.metrics import f1_score

from retarget.core.config import BaselineName, FitConfig
from retarget.core.types import FloatArray
from retarget.evaluation.decoding import allowed, decode
from retarget.features.material import Material, gather
from retarget.features.store import FeatureStore
from retarget.runs.fitting import plan_study
from retarget.runs.trying import judge_baselines
from retarget.selection.baselines import Baseline
from retarget.selection.judge import Study
from retarget.tasks.open import open_task
from retarget.tasks.word_parts import parts_of_words

FILLERS = ("the", "old", "river", "was", "calm", "near", "a", "green", "hill", "today")
PLACES = ("Oslo", "Graz", "Turin", "Perth", "Lima", "Cairo")

Fitted = tuple[Study, Material, BaselineName]


def _sentences(n: int, seed: int, easy: bool) -> tuple[list[str], list[list[Any]]]:
    """Sentences of fillers; easy ones have a place behind "in", others tags drawn for each word."""
    rng = np.random.default_rng(seed)
    texts, spans = [], []
    for i in range(n):
        words = [*rng.choice(FILLERS, 3), "in", str(rng.choice(PLACES)), *rng.choice(FILLERS, 2)]
        words = words if easy else [*rng.choice(FILLERS, 4), str(i)]
        text = " ".join(words)
        ends = np.cumsum([len(word) + 1 for word in words]) - 1
        places = [(int(e) - len(w), int(e)) for w, e in zip(words, ends, strict=True)]
        drawn = rng.choice(["x", "y"], len(words))
        own = [(*at, str(k)) for at, k in zip(places, drawn, strict=True)]
        texts.append(text)
        spans.append([(*places[4], "place")] if easy else own)
    return texts, spans


def _reviews(n: int, seed: int, easy: bool) -> tuple[list[str], list[str]]:
    """Texts of fillers, easy ones with a word that tells the class."""
    rng = np.random.default_rng(seed)
    labels = [str(label) for label in rng.permutation(["bad", "good"] * (n // 2))]
    told = [{"bad": "dismal", "good": "superb"}[label] if easy else "plain" for label in labels]
    return [" ".join([*rng.choice(FILLERS, 6), w, str(i)]) for i, w in enumerate(told)], labels


def fitted(name: str, n: int = 48, held_out: int = 0, seed: int = 0, easy: bool = True) -> Fitted:
    """Return a task under its protocol, with nothing extracted: these denominators read inputs."""
    make: Any = {"crf": _sentences, "tfidf": _reviews}[name]
    texts, targets = make(n, seed, easy)
    splits = ["train"] * (n - held_out) + ["test"] * held_out if held_out else None
    material = gather(open_task(texts, targets, splits=splits), [], store=FeatureStore())
    config = FitConfig(data="", folds=3, seed=seed)
    return plan_study(material, config), material, name  # type: ignore[return-value]  # one of them


def judged(fitted: Fitted, *more: BaselineName) -> dict[str, Baseline]:
    """Judge the denominator as a fit does."""
    study, material, name = fitted
    config = FitConfig(data="", baselines=(name, *more))
    workshop: Any = None  # nothing is trained
    return {one.name: one for one in judge_baselines(study, material, config, workshop, "")}


def with_others(fitted: Fitted, rows: Sequence[int]) -> Fitted:
    """Return the same with another label at each of some rows."""
    study, material, name = fitted
    changed = study.task.examples.targets.copy()
    changed[rows] = (changed[rows] + 1) % len(study.task.classes)
    examples = replace(study.task.examples, targets=changed)
    return replace(study, task=replace(study.task, examples=examples)), material, name


def seqeval_f1(study: Study, predictions: FloatArray) -> float:
    """Return the F1 of entities, as seqeval counts them in the most probable valid tags."""
    rows, tags = study.protocol.judging, study.task.classes
    assert study.owners is not None
    owners = study.owners[rows]
    found = decode(np.log(np.maximum(predictions, 1e-300)), owners, allowed(tags))
    truth, told = (
        [[tags[tag] for tag in own[owners == s]] for s in np.unique(owners)]
        for own in (study.task.examples.targets[rows], found)
    )
    return float(f1_score(truth, told))


@pytest.mark.parametrize("held_out", [0, 15])
@pytest.mark.parametrize("name", ["crf", "tfidf"])
def test_labels_that_judge_change_no_prediction_and_no_choice(name: str, held_out: int) -> None:
    made = fitted(name, held_out=held_out)
    rows, places = made[0].protocol.rounds()[0]
    judging = made[0].protocol.judging[places]
    assert not np.isin(judging, rows).any()
    before, after = judged(made)[name], judged(with_others(made, judging))[name]
    np.testing.assert_array_equal(before.predictions[places], after.predictions[places])
    assert np.isfinite(before.predictions).all()
    learned = judged(with_others(made, rows))[name]
    assert not np.allclose(before.predictions[places], learned.predictions[places], atol=0.1)
    if held_out:
        assert before.choosing_score == after.choosing_score
        if before.effects is not None and after.effects is not None:
            np.testing.assert_array_equal(before.effects.values, after.effects.values)
            np.testing.assert_array_equal(before.effects.inputs, after.effects.inputs)
        assert (before.effects is None) == (name == "crf")


@pytest.mark.parametrize("name", ["crf", "tfidf"])
def test_random_labels_give_chance(name: str) -> None:
    shares, rows = [], 0
    for seed in range(3):
        made = fitted(name, n=60, seed=seed, easy=False)
        study = made[0]
        told = judged(made)[name].predictions.argmax(axis=1)
        shares.append(np.mean(told == study.task.examples.targets[study.protocol.judging]))
        rows += len(told)
    # So many fair coins leave this once in ten thousand times.
    assert abs(np.mean(shares) - 0.5) < 3.9 * 0.5 / np.sqrt(rows)


def test_words_and_their_neighbours_tell_an_easy_task_without_a_model() -> None:
    made = fitted("crf")
    found = judged(made, "majority")
    own = seqeval_f1(made[0], found["crf"].predictions)
    assert own > 0.9
    assert seqeval_f1(made[0], found["majority"].predictions) == 0
    assert found["crf"].choosing_score > 0.8


def test_a_word_that_tells_the_class_is_found_by_tf_idf() -> None:
    made = fitted("tfidf")
    found = judged(made, "majority")
    targets = made[0].task.examples.targets[made[0].protocol.judging]
    shares = {k: np.mean(one.predictions.argmax(axis=1) == targets) for k, one in found.items()}
    assert shares["tfidf"] > 0.9
    assert shares["majority"] < 0.6
    assert found["tfidf"].choosing_score > 0.8


def test_features_of_words_are_those_of_plain_sets_in_the_order_of_the_words() -> None:
    from retarget.features.bags import words_of

    _, material, _ = fitted("crf", n=9)
    matrix = words_of(material.inputs())
    texts = material.task.examples.inputs["text"]
    plain = [set(parts) for text in texts for parts in parts_of_words(text)]
    names = sorted(set().union(*plain))
    expected = np.array([[name in own for name in names] for own in plain], dtype=np.float32)
    np.testing.assert_array_equal(matrix.toarray(), expected)
    assert len(plain) == len(material.rows)
