"""Words that carry a class: of word vectors, of which a text is the plain mean, they are exact."""

from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from retarget.core.config import FitConfig
from retarget.features.material import Material, gather
from retarget.features.store import FeatureStore
from retarget.runs.carrying import added_by_words, carrying_words
from retarget.runs.fitting import plan_study
from retarget.runs.trying import judge_baselines, judge_ours, workshop_for
from retarget.selection.judge import Judged, Study
from retarget.sources.registry import resolve
from retarget.tasks.open import open_task

WORDS = ("good", "fine", "bad", "poor", "film", "the", "plot", "and", "very", "x")


def _texts(n: int = 48, seed: int = 0) -> tuple[list[str], list[str]]:
    """Texts of six words, of which good and fine, or bad and poor, tell the class."""
    rng = np.random.default_rng(seed)
    texts, labels = [], []
    for i in range(n):
        words = [*rng.choice(WORDS[4:], 5), WORDS[(i % 2) * 2 + rng.integers(2)]]
        texts.append(" ".join(rng.permutation(words)) + f" {'.' * (1 + i // 7)} {i}")
        labels.append("no" if i % 2 else "yes")
    return texts, labels


@pytest.fixture(scope="module")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("vectors") / "glove.txt"
    rng = np.random.default_rng(1)
    lines = [f"{word} {' '.join(f'{v:.4f}' for v in rng.normal(size=12))}" for word in WORDS]
    path.write_text("\n".join(lines) + "\n")
    return path


def _fitted(data: Any, targets: Any, source: str) -> tuple[Study, Judged, Material, Any]:
    config = FitConfig(data="", methods=["probe"], baselines=["majority", "tfidf"], folds=3)
    material = gather(open_task(data, targets), [resolve(source)], store=FeatureStore())
    study = plan_study(material, config)
    workshop = workshop_for(study, material, config)
    ours = judge_ours(study, material, config, workshop)
    return study, ours, material, judge_baselines(study, material, config, workshop, source)


@pytest.mark.slow
def test_words_that_tell_the_class_carry_it_by_both_ways(vectors: Path) -> None:
    texts, labels = _texts()
    study, ours, material, baselines = _fitted(texts, labels, f"file:{vectors}")
    told = carrying_words(study, ours, material, baselines)
    assert [(one.by, one.name) for one in told] == [
        ("tfidf", "no"), ("tfidf", "yes"), ("transfer", "no"), ("transfer", "yes"),
    ]  # fmt: skip
    best = {"no": {"bad", "poor"}, "yes": {"good", "fine"}}
    for one in told:
        # TF-IDF may have chosen pieces of words.
        assert all(any(p.part.strip() in w for w in best[one.name]) for p in one.parts[:2])
        if one.by == "transfer":
            assert {part.part for part in one.parts[:2]} == best[one.name]
        assert all(part.adds > 0 and part.texts >= 2 for part in one.parts)
        assert [p.adds for p in one.parts] == sorted((p.adds for p in one.parts), reverse=True)
    held = {word: sum(word in text.split() for text in texts) for word in WORDS}
    for part in (part for one in told if one.by == "transfer" for part in one.parts):
        assert part.texts == held[part.part]
        assert part.part != "x"


@pytest.mark.slow
def test_pairs_and_numbers_have_no_words_of_what_was_transferred(vectors: Path) -> None:
    texts, labels = _texts(24)
    pairs = [(text, "the plot") for text in texts]
    fitted = _fitted(pairs, labels, f"file:{vectors}")
    assert {one.by for one in carrying_words(*fitted)} == {"tfidf"}
    numbers = _fitted(texts, [len(text) + 0.5 for text in texts], f"file:{vectors}")
    assert carrying_words(*numbers) == ()


def test_inputs_without_words_have_none() -> None:
    task = SimpleNamespace(kind="classification", classes=("a", "b"))
    material: Any = SimpleNamespace(modality="image")
    assert carrying_words(SimpleNamespace(task=task), None, material, ()) == ()  # type: ignore[arg-type]  # not read


def test_added_by_words_is_the_mean_over_texts_of_what_each_adds() -> None:
    rng = np.random.default_rng(2)
    texts = np.sort(rng.integers(0, 70, 600))
    some = ("the", "a", "don", "日", "!", "rare", "t")
    words = rng.choice(some, 600, p=[0.5, 0.1, 0.2, 0.1, 0.05, 0.001, 0.049])
    outputs = rng.normal(size=(600, 3))
    found: dict[str, dict[int, list[Any]]] = defaultdict(lambda: defaultdict(list))
    for word, text, own in zip(words.tolist(), texts.tolist(), outputs, strict=True):
        found[word][text].append(own - outputs.mean(axis=0))
    names, adds, held = added_by_words(words.tolist(), texts, outputs)
    assert sorted(names) == sorted(["the", "don", "日"])
    for name, own, number in zip(names, adds, held, strict=True):
        means = [np.mean(one, axis=0) for one in found[name].values()]
        assert number == len(means)
        np.testing.assert_allclose(own, np.mean(means, axis=0))


def test_words_of_too_few_texts_are_left_out_and_fewer_texts_ask_for_fewer() -> None:
    many = np.repeat(np.arange(60), 2)
    words = ["two" if i in (0, 2) else "three" if i in (1, 3, 5) else "all" for i in range(120)]
    assert added_by_words(words, many, np.zeros((120, 1)))[0] == ["all", "three"]
    assert added_by_words(words[:20], many[:20], np.zeros((20, 1)))[0] == ["all", "three", "two"]
