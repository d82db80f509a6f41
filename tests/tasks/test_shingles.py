from pathlib import Path

import numpy as np
import pytest

from retarget.tasks.open import open_task
from retarget.tasks.shingles import ALIKE, near_texts, normalised
from retarget.tasks.texts import identify_text


def near(texts: list) -> list[list[int]]:
    ids = np.array([identify_text(text) for text in texts])
    return near_texts(texts, ids).tolist()


def test_equal_once_normalised_is_near_and_equal_is_not() -> None:
    texts = ["Don't buy it!", "dont  BUY it", "Don't buy it!", "ﬁne", "FINE.", "do buy it", "!!!"]
    assert near(texts) == [[0, 1], [3, 4]]
    assert near([("a b", "c"), ("a", "b c"), ("A. b", "C!")]) == [[0, 2]]


def test_pairs_are_those_of_plain_loops() -> None:
    rng = np.random.default_rng(0)
    texts = []
    for _ in range(60):
        words = [f"w{i}" for i in rng.integers(0, 500, 25)]
        texts.append(" ".join(words))
        for _ in range(2):
            words = [w if rng.random() > 0.05 else "other" for w in words]
            texts.append(" ".join(words))
    texts = list(dict.fromkeys(texts))
    sets = []
    for text in texts:
        words = normalised(text)
        sets.append({tuple(words[i : i + 3]) for i in range(len(words) - 2)})
    plain = [
        [i, j]
        for i in range(len(texts))
        for j in range(i + 1, len(texts))
        if len(sets[i] & sets[j]) >= ALIKE * len(sets[i] | sets[j])
    ]
    assert len(plain) > 20
    assert near(texts) == plain


def test_short_texts_and_texts_without_spaces_go_by_characters() -> None:
    assert near(["it is a very fine movie", "it is a very fine movies", "bad", "sad"]) == [[0, 1]]
    chinese = "这部电影的剧情非常精彩演员的表演也很出色值得推荐给大家"
    assert near([chinese, chinese + "啊", chinese[::-1]]) == [[0, 1]]


def test_nothing_is_near_nothing() -> None:
    assert near_texts([], np.array([], dtype=str)).shape == (0, 2)
    assert near_texts(["", "\0", "a"], np.array(["x", "y", "z"])).shape == (0, 2)


def test_sst2_has_few(shared_data: Path) -> None:
    task = open_task(shared_data / "sst2")
    pairs = near_texts(task.examples.inputs["text"], task.examples.ids)
    assert 0 < len(pairs) < 10


@pytest.mark.parametrize("count", [400])
def test_very_many_alike_end_soon(count: int) -> None:
    texts = [f"order number {i} was shipped today from our warehouse to you" for i in range(count)]
    assert len(near(texts)) > count
