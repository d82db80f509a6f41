import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from retarget.sources import text_pooling


def drawn(seed: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    tokens = random.normal(size=(4, 7, 3)).astype(np.float32)
    counts = (random.random((4, 7)) < 0.6).astype(np.float32)
    counts[3] = 0
    return tokens, counts


def by_loops(name: str, tokens: np.ndarray, counts: np.ndarray) -> np.ndarray:
    kept = [k for k in range(len(tokens)) if counts[k]]
    if name == "cls":
        return tokens[0]
    if not kept:
        return np.zeros(tokens.shape[1])
    if name == "lasttoken":
        return tokens[kept[-1]]
    rows = [tokens[k] for k in kept]
    if name == "max":
        return np.max(rows, axis=0)
    if name == "weightedmean":
        return sum((k + 1) * tokens[k] for k in kept) / sum(k + 1 for k in kept)
    return sum(rows) / (len(rows) if name == "mean" else len(rows) ** 0.5)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 999))
def test_every_way_of_pooling_is_that_of_a_plain_loop(seed):
    tokens, counts = drawn(seed)
    for name, pool in text_pooling.NAMED.items():
        found = pool(torch.from_numpy(tokens), torch.from_numpy(counts)).numpy()
        for row in range(4):
            expected = by_loops(name, tokens[row], counts[row])
            np.testing.assert_allclose(found[row], expected, rtol=1e-5, atol=1e-6)
    both = text_pooling.mean_and_largest(torch.from_numpy(tokens), torch.from_numpy(counts))
    np.testing.assert_allclose(both[0, 3:], by_loops("max", tokens[0], counts[0]), rtol=1e-6)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 999))
def test_a_word_is_the_mean_of_its_pieces(seed):
    random = np.random.default_rng(seed)
    tokens = random.normal(size=(2, 6, 3)).astype(np.float32)
    words = random.integers(0, 5, (2, 6))
    found = text_pooling.of_words(torch.from_numpy(tokens), torch.from_numpy(words)).numpy()
    for row in range(2):
        for place in range(6):
            own = tokens[row][words[row] == place + 1]
            expected = own.mean(0) if len(own) else np.zeros(3)
            np.testing.assert_allclose(found[row, place], expected, rtol=1e-5, atol=1e-6)
