import numpy as np
import pytest

from retarget.features.features import Features, Space, StoredLayer
from retarget.features.store import FeatureStore

SPACE = Space("f" * 32, "tokens", (StoredLayer("a", (2,)), StoredLayer("b", (3, 4))), "eager", 16)


def test_layers_lie_side_by_side_in_a_row() -> None:
    assert [layer.size for layer in SPACE.layers] == [2, 12]
    assert SPACE.width == 14
    assert SPACE.columns("a") == slice(0, 2)
    assert SPACE.columns("b") == slice(2, 14)
    with pytest.raises(KeyError, match="c"):
        SPACE.columns("c")


def test_features_are_read_by_layer_and_row(store: FeatureStore) -> None:
    ids = np.array([f"{n:032x}" for n in range(4)])
    rows = np.random.default_rng(0).standard_normal((4, 14)).astype(np.float32)
    store.create(SPACE)
    with store.writer(SPACE) as writer:
        writer.append(ids, rows)
    features = Features("tiny:a", store, SPACE, ids, 0.5)
    assert features.layers == ("a", "b")
    assert np.array_equal(features.layer("b"), rows[:, 2:].reshape(4, 3, 4))
    assert np.array_equal(features.layer("a", np.array([3, 0])), rows[[3, 0], :2])
    assert np.array_equal(features.take(np.array([2, 1])).layer("a"), rows[[2, 1], :2])
