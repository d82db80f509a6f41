import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from retarget.tasks import neighbours
from retarget.tasks.modalities import load
from retarget.tasks.neighbours import ALIKE, EQUAL, near_duplicates
from retarget.tasks.open import open_task


def names(n: int) -> np.ndarray:
    return np.array([str(i) for i in range(n)])


def plainly(vectors: np.ndarray, ids: np.ndarray) -> list[tuple[int, int]]:
    """Every pair by both correlations, one at a time."""
    own = vectors - vectors.mean(axis=1, keepdims=True)
    rest = own - own.mean(axis=0)

    def alike(v: np.ndarray, i: int, j: int) -> float:
        return float(v[i] @ v[j] / max(np.linalg.norm(v[i]) * np.linalg.norm(v[j]), 1e-12))

    return [
        (i, j)
        for i in range(len(ids))
        for j in range(i + 1, len(ids))
        if ids[i] != ids[j] and (alike(own, i, j) >= EQUAL or alike(rest, i, j) >= ALIKE)
    ]


def clustered(n: int, size: int, noise: float, seed: int = 0) -> np.ndarray:
    """n pictures in `n // size` sets of nearly equal ones, around a common average."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(0, 40, (n // size, 768)) + rng.normal(100, 30, 768)
    return (np.repeat(centres, size, axis=0) + rng.normal(0, noise, (n, 768))).astype(np.float32)


@pytest.mark.parametrize("noise", [1.0, 4.0, 7.0, 20.0])
def test_pairs_are_those_of_the_plain_comparison(noise: float) -> None:
    vectors = clustered(120, 3, noise)
    ids = names(120)
    ids[1] = ids[0]
    found = [tuple(pair) for pair in near_duplicates(vectors, ids).tolist()]
    assert found == plainly(vectors.astype(np.float64), ids)
    if noise < 5:
        assert len(found) == 119


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = clustered(100, 2, 3.0)
    whole = near_duplicates(vectors, names(100)).tolist()
    monkeypatch.setattr(neighbours, "_BLOCK", 7)
    monkeypatch.setattr(neighbours, "_CHECKED_AT_ONCE", 3)
    assert near_duplicates(vectors, names(100)).tolist() == whole
    assert len(whole) == 50


def test_a_few_pictures_of_one_scene_are_found() -> None:
    scene = np.random.default_rng(0).normal(0, 50, 768)
    vectors = scene + np.random.default_rng(1).normal(0, 1, (3, 768))
    assert near_duplicates(vectors, names(3)).tolist() == [[0, 1], [0, 2], [1, 2]]


def test_light_and_scale_do_not_matter() -> None:
    vectors = np.random.default_rng(0).uniform(0, 200, (50, 768)).astype(np.float32)
    vectors[1] = vectors[0] * 1.2 + 9
    for scaled in (vectors, vectors / 255):
        assert near_duplicates(scaled, names(50)).tolist() == [[0, 1]]


def test_pictures_of_one_colour_are_like_nothing() -> None:
    vectors = np.random.default_rng(0).uniform(0, 200, (20, 768)).astype(np.float32)
    vectors[:5] = np.array([0, 10, 50, 100, 255])[:, None]
    assert near_duplicates(vectors, names(20)).shape == (0, 2)
    assert near_duplicates(vectors[:5], names(5)).shape == (0, 2)
    assert near_duplicates(vectors[:1], names(1)).shape == (0, 2)
    assert near_duplicates(vectors[:0], names(0)).shape == (0, 2)


def test_it_stops_at_very_many_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "MOST_PAIRS", 10)
    assert len(near_duplicates(clustered(60, 60, 1.0), names(60))) == 10


def test_memory_grows_with_pictures_and_not_with_pairs_of_them() -> None:
    vectors = clustered(6000, 2, 3.0)
    tracemalloc.start()
    found = near_duplicates(vectors, names(6000))
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found) == 3000
    # All pairs at once would take 144 MB a matrix.
    assert most < 5 * vectors.nbytes + 60e6


@pytest.mark.slow
def test_twenty_thousand_pictures_are_compared_in_seconds() -> None:
    vectors = clustered(20_000, 2, 3.0)
    start = time.process_time()
    assert len(near_duplicates(vectors, names(20_000))) == 10_000
    assert time.process_time() - start < 40


def _small(folder: Path, **how: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    task = open_task(folder, **how)  # type: ignore[arg-type]  # only flags are passed
    pictures = [
        np.asarray(load("image", r, 64).resize((16, 16), Image.Resampling.BOX))
        for r in task.examples.inputs["image"]
    ]
    vectors = np.stack(pictures).reshape(len(task), -1).astype(np.float32)
    return vectors, task.examples.ids, task.examples.targets


def test_known_near_duplicates_are_found_and_different_pictures_are_not(
    shared_data: Path,
) -> None:
    vectors, ids, targets = _small(shared_data / "medical" / "breast-ultrasound")
    pairs = near_duplicates(vectors, ids)
    assert 93 <= len(pairs) <= 230
    assert (targets[pairs[:, 0]] != targets[pairs[:, 1]]).sum() >= 4
    for name, most, how in (("ants-bees", 0, {}), ("drawn-styles", 1, {"domains": True})):
        vectors, ids, _ = _small(shared_data / name, **how)
        assert len(near_duplicates(vectors, ids)) <= most


def test_saving_again_is_recognised(shared_data: Path, tmp_path: Path) -> None:
    vectors, ids, _ = _small(shared_data / "ants-bees")
    task = open_task(shared_data / "ants-bees")
    again = []
    for row in range(0, 60):
        picture = load("image", task.examples.inputs["image"][row], 128)
        path = tmp_path / f"{row}.jpg"
        picture.resize((picture.width // 2, picture.height // 2)).save(path, quality=40)
        again.append(np.asarray(load("image", path).resize((16, 16), Image.Resampling.BOX)))
    both = np.vstack([vectors, np.stack(again).reshape(60, -1).astype(np.float32)])
    pairs = near_duplicates(both, names(len(both))).tolist()
    expected = {(row, len(ids) + row) for row in range(60)}
    assert len(expected & set(map(tuple, pairs))) >= 59
    assert len(pairs) <= 61
