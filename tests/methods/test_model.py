"""A saved model is arrays and text, read with suspicion."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from retarget.core.errors import SourceError
from retarget.methods.heads import LinearHead
from retarget.methods.model import Member, TransferModel, load_model
from retarget.methods.scale import FLOOR, BlockScale


@pytest.fixture
def model() -> TransferModel:
    """Return a model of two members on two layers."""
    generator = np.random.default_rng(0)

    def member(layers: tuple[str, ...], width: int, temperature: float) -> Member:
        scale = BlockScale.fit(generator.normal(size=(20, width)).astype(np.float32), [width])
        head = LinearHead(generator.normal(size=(3, width)), generator.normal(size=3))
        return Member(layers, "probe", scale, head, temperature)

    members = (member(("a",), 4, 1.5), member(("a", "b"), 9, 0.7))
    return TransferModel("classification", ("x", "y", "ž<>"), members, 1.2, ("made:up",), "mean")


@pytest.fixture
def layers() -> dict[str, np.ndarray]:
    """Return features of seven examples."""
    generator = np.random.default_rng(1)
    return {
        "a": generator.normal(size=(7, 4)).astype(np.float32),
        "b": generator.normal(size=(7, 5)).astype(np.float32),
    }


def test_a_model_read_again_predicts_the_same(
    model: TransferModel, layers: dict[str, np.ndarray], tmp_path: Path
) -> None:
    model.save(tmp_path)
    again = load_model(tmp_path)
    assert again.classes == model.classes
    np.testing.assert_array_equal(
        again.predict([layers.__getitem__]), model.predict([layers.__getitem__])
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"version": 1}, "version"),
        ({"kind": "magic"}, "magic"),
        ({"members": []}, "members"),
        ({"classes": [1, 2, 3]}, "text expected"),
        ({"temperature": 0}, "above zero"),
        ({"temperature": float("nan")}, "above zero"),
        ({"pooling": "../x"}, "pooling"),
        ({"sources": [None]}, "text expected"),
        ({"sources": ["a:", "b:"]}, "2 encoders"),
    ],
)
def test_a_changed_model_is_refused(
    model: TransferModel, tmp_path: Path, change: dict[str, object], said: str
) -> None:
    model.save(tmp_path)
    told = json.loads((tmp_path / "model.json").read_text())
    (tmp_path / "model.json").write_text(json.dumps({**told, **change}))
    with pytest.raises(SourceError, match=said):
        load_model(tmp_path)


def test_a_pickle_in_place_of_heads_is_refused_and_not_run(
    model: TransferModel, tmp_path: Path
) -> None:
    model.save(tmp_path)
    mark = tmp_path / "executed"

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[object, ...]]:
            return Path.touch, (mark,)

    (tmp_path / "heads.safetensors").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(SourceError):
        load_model(tmp_path)
    assert not mark.exists()


def test_heads_that_claim_gigabytes_are_refused(model: TransferModel, tmp_path: Path) -> None:
    model.save(tmp_path)
    header = b'{"0.centre":{"dtype":"F32","shape":[4000000000],"data_offsets":[0,16000000000]}}'
    (tmp_path / "heads.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(SourceError):
        load_model(tmp_path)


def test_a_missing_model_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="holds no model"):
        load_model(tmp_path)


def test_blocks_have_equal_parts_of_a_unit_norm() -> None:
    generator = np.random.default_rng(0)
    x = np.concatenate(
        [generator.normal(5, 100, (50, 3)), generator.normal(0, 0.01, (50, 8))], axis=1
    ).astype(np.float32)
    scaled = BlockScale.fit(x, [3, 8])(x)
    np.testing.assert_allclose(scaled.mean(axis=0), 0.0, atol=1e-5)
    for block in (scaled[:, :3], scaled[:, 3:]):
        np.testing.assert_allclose((block**2).sum(axis=1).mean(), 0.5, rtol=1e-4)


def test_a_feature_that_hardly_varies_is_not_blown_up() -> None:
    x = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)
    x[:, 0] = 1.0
    x[0, 0] += 1e-6
    scale = BlockScale.fit(x, [4])
    assert scale.factor[0] <= 1.5 * scale.factor[1:].mean() / FLOOR
    assert np.isfinite(scale(x)).all()
