"""Alignment and distance, against plain loops, closed forms and what must not matter."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retarget.evaluation import drift
from retarget.evaluation.drift import cka, layer_drift, weight_distance


def hsic_by_loops(K: np.ndarray, L: np.ndarray) -> float:
    """Song et al. 2012, equation 5, term by term."""
    n = len(K)
    pairs = sum(K[i, j] * L[i, j] for i in range(n) for j in range(n) if i != j)
    sums = [sum(M[i, j] for i in range(n) for j in range(n) if i != j) for M in (K, L)]
    chains = sum(
        K[i, j] * L[j, q] for i in range(n) for j in range(n) for q in range(n) if i != j and j != q
    )
    middle = sums[0] * sums[1] / ((n - 1) * (n - 2))
    return float((pairs + middle - 2 / (n - 2) * chains) / (n * (n - 3)))


def cka_by_loops(x: np.ndarray, y: np.ndarray) -> float:
    K, L = x @ x.T, y @ y.T
    return hsic_by_loops(K, L) / np.sqrt(hsic_by_loops(K, K) * hsic_by_loops(L, L))


@given(
    n=st.integers(4, 14),
    d=st.integers(1, 30),
    e=st.integers(1, 30),
    seed=st.integers(0, 1000),
    far=st.sampled_from([0.0, 5.0, 100.0]),
)
@settings(deadline=None, max_examples=40)
def test_alignment_is_that_of_plain_loops(n: int, d: int, e: int, seed: int, far: float) -> None:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, d))
    y = rng.standard_normal((n, e)) + x[:, :1] + far
    centred = y - y.mean(axis=0)
    assert cka(x, y) == pytest.approx(cka_by_loops(x, centred), abs=1e-6)
    assert cka(x, y) == pytest.approx(cka(y, x), abs=1e-9)
    assert -1 <= cka(x, y) <= 1


def test_both_ways_to_the_trace_agree_in_any_block(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    for n, d, e in ((40, 5, 7), (12, 90, 70)):
        x, y = rng.standard_normal((n, d)), rng.standard_normal((n, e))
        whole = cka(x, y)
        monkeypatch.setattr(drift, "_BLOCK", 30)
        assert cka(x, y) == pytest.approx(whole, abs=1e-12)
        monkeypatch.undo()
        assert whole == pytest.approx(cka_by_loops(x, y), abs=1e-9)


def test_turning_scaling_and_shifting_do_not_matter() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((60, 9)), rng.standard_normal((60, 9))
    y += 2 * x
    turn = np.linalg.qr(rng.standard_normal((9, 9)))[0]
    assert cka(x, 1e-6 * x @ turn + 3) == pytest.approx(1)
    assert cka(x @ turn, 1e20 * y - 7) == pytest.approx(cka(x, y))
    order = rng.permutation(60)
    assert cka(x[order], y[order]) == pytest.approx(cka(x, y))
    assert cka(x, y[order]) < 0.5 * cka(x, y)


def test_other_scales_of_its_features_do_matter() -> None:
    x = np.random.default_rng(0).standard_normal((200, 2))
    stretched = x * (1, 10)
    # Independent features of variances (1, 1) and (1, 100): Σ v w / √(Σ v² Σ w²).
    assert cka(x, stretched) == pytest.approx(101 / np.sqrt(2 * 10001), abs=0.03)


def test_two_views_of_one_signal_align_as_their_variances_say() -> None:
    rng = np.random.default_rng(0)
    signal, a, b = rng.standard_normal((3, 3000, 4))
    # Cov(x, y) = I and Cov(x) = Cov(y) = (1 + s²) I, so CKA = 1 / (1 + s²)².
    assert cka(signal + 0.5 * a, signal + 0.5 * b) == pytest.approx(1.25**-2, abs=0.03)


def test_what_has_nothing_in_common_does_not_align_however_wide() -> None:
    rng = np.random.default_rng(0)
    found = [cka(rng.standard_normal((30, 800)), rng.standard_normal((30, 800))) for _ in range(30)]
    assert abs(np.mean(found)) < 0.03
    assert min(found) < 0 < max(found)


def test_a_dead_layer_has_no_alignment() -> None:
    x = np.random.default_rng(0).standard_normal((20, 5))
    assert np.isnan(cka(x, np.full((20, 3), 0.1)))
    assert np.isnan(cka(np.zeros((20, 3)), x))
    assert np.isnan(cka(x, np.zeros((20, 0))))


def test_half_precision_and_large_numbers_are_no_trouble() -> None:
    x = np.random.default_rng(0).standard_normal((50, 8))
    assert cka(x.astype(np.float16), x) == pytest.approx(1, abs=1e-4)
    assert cka((x * 1e30).astype(np.float32), x) == pytest.approx(1)


@pytest.mark.parametrize(
    ("x", "y", "told"),
    [
        (np.ones((3, 2)), np.ones((3, 2)), "at least 4"),
        (np.ones((5, 2)), np.ones((6, 2)), "can't be compared"),
        (np.ones(5), np.ones(5), "at least 4"),
        (np.full((5, 2), np.nan), np.ones((5, 2)), "NaN"),
    ],
)
def test_what_cannot_be_aligned_is_refused(x: np.ndarray, y: np.ndarray, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        cka(x, y)


@dataclass(frozen=True)
class Rows:
    """Features by layer, as a table has them."""

    of: dict[str, np.ndarray]

    @property
    def layers(self) -> tuple[str, ...]:
        return tuple(self.of)

    def layer(self, name: str) -> np.ndarray:
        return self.of[name]


def test_layers_are_compared_by_name_in_the_order_they_had() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.standard_normal((2, 40, 6))
    moved = second + rng.standard_normal((40, 6))
    found = layer_drift(Rows({"z": first, "a": second}), Rows({"a": moved, "z": 2 * first}))
    assert list(found) == ["z", "a"]
    assert found["z"] == pytest.approx(1)
    assert found["a"] == pytest.approx(cka_by_loops(second, moved), abs=1e-9)
    with pytest.raises(ValueError, match="the layers b, z"):
        layer_drift(Rows({"a": first, "b": first}), Rows({"a": first, "z": first}))


def test_features_of_a_run_are_compared_as_they_are_in_its_table() -> None:
    from retarget.features.table import Table

    matrix = np.random.default_rng(0).standard_normal((20, 5)).astype(np.float32)
    table = Table("file:x", matrix, {"low": slice(0, 2), "high": slice(2, 5)}, 1.0, 0.1)
    assert layer_drift(table, table) == pytest.approx({"low": 1.0, "high": 1.0})


def test_distance_is_relative_to_all_weights_of_a_layer() -> None:
    before = {"a": np.array([[3.0, 0], [0, 0]], np.float32), "b": np.array([4.0]), "c": np.ones(2)}
    after = {"a": before["a"] + 1, "b": before["b"], "c": np.ones(2), "new": np.ones(9)}
    found = weight_distance(before, after, {"low": ("a", "b"), "none": (), "high": ("c",)})
    assert found == pytest.approx({"low": 2 / 5, "high": 0.0})  # √4 over √(9 + 16)


@given(step=st.floats(0, 10), scale=st.sampled_from([1e-6, 1.0, 1e6]))
@settings(deadline=None, max_examples=20)
def test_distance_has_no_unit(step: float, scale: float) -> None:
    start = np.random.default_rng(0).standard_normal((7, 3))
    found = weight_distance({"w": scale * start}, {"w": scale * (1 + step) * start}, {"w": ["w"]})
    assert found["w"] == pytest.approx(step, abs=1e-9)


def test_zeros_that_moved_are_infinitely_far() -> None:
    zeros = {"w": np.zeros(3)}
    assert weight_distance(zeros, zeros, {"w": ["w"]}) == {"w": 0.0}
    assert weight_distance(zeros, {"w": np.ones(3)}, {"w": ["w"]}) == {"w": np.inf}


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ({"w": np.ones(2)}, {}, "w is missing after"),
        ({}, {"w": np.ones(2)}, "w is missing before"),
        ({"w": np.ones(2)}, {"w": np.ones(3)}, r"\(2,\) and is \(3,\)"),
    ],
)
def test_weights_that_do_not_match_are_refused(
    before: dict[str, np.ndarray], after: dict[str, np.ndarray], told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        weight_distance(before, after, {"low": ["w"]})
