"""Layers behind a model's pooling: as sentence-transformers runs them, or refused by name."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from retarget.core.errors import SourceError
from retarget.sources.registry import resolve

TEXTS = ["The cat sat.", "Good morning, world! A naïve émigré (aged 42).", "中国", "x"]


@pytest.fixture(scope="module")
def dense_model(text_models, tmp_path_factory):
    """Two dense layers and a normalization behind the pooling, as the library writes them."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer import modules

    torch.manual_seed(7)
    made = SentenceTransformer(str(text_models / "distilbert"), device="cpu")
    made.append(modules.Dense(16, 24))
    made.append(
        modules.Dense(24, 8, bias=False, activation_function=torch.nn.GELU(), use_residual=True)
    )
    made.append(modules.Normalize())
    folder = tmp_path_factory.mktemp("dense")
    made.save_pretrained(str(folder))
    return folder


def vectors(encoder, texts=TEXTS):
    batch = encoder.collate([encoder.prepare(text) for text in texts])
    with torch.inference_mode():
        return encoder.pooled(batch, "mean")["pooled"].numpy()


def test_vectors_are_those_of_sentence_transformers(dense_model: Path, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    source = resolve(f"file:{dense_model}")
    encoder = source.load()
    assert encoder.layers[-1].width == 8
    found = vectors(encoder)
    theirs = SentenceTransformer(str(dense_model), device="cpu")
    np.testing.assert_allclose(found, theirs.encode(TEXTS), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    assert [d["activation"] for d in encoder.preprocessing()["dense"]] == ["Tanh", "GELU"]
    source.save(tmp_path)
    np.testing.assert_array_equal(vectors(resolve(f"file:{tmp_path}").load()), found)
    deepest = encoder.groups()[-1]
    assert deepest.layer == "pooled" and len(deepest.parameters) == 4
    other = vectors(source.random(3).load())
    assert other.shape == found.shape and np.abs(other - found).max() > 1e-3


def test_other_weights_of_theirs_are_another_source(dense_model: Path, tmp_path: Path) -> None:
    before = resolve(f"file:{dense_model}").fingerprint
    folder = shutil.copytree(dense_model, tmp_path / "copy")
    assert resolve(f"file:{folder}").fingerprint == before
    path = next(folder.glob("2_Dense/model.safetensors"))
    save_file({name: value + 1 for name, value in load_file(path).items()}, path)
    assert resolve(f"file:{folder}").fingerprint != before


def _config(folder: Path, **changes: object) -> None:
    path = folder / "2_Dense" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def _modules(folder: Path, *kinds: str) -> None:
    path = folder / "modules.json"
    by_kind = {m["type"].rpartition(".")[2]: m for m in json.loads(path.read_text())}
    path.write_text(json.dumps([by_kind.get(k, {"type": f"x.{k}", "path": k}) for k in kinds]))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda f: _config(f, activation_function="os.system"), r"ends in os\.system.*Identity"),
        (lambda f: _config(f, activation_function="torch.nn.Bilinear"), "ends in Bilinear"),
        (lambda f: _config(f, in_features=10**6), "1 to 16,384"),
        (lambda f: _config(f, out_features=23), "gives 23 numbers, and the next reads 24"),
        (lambda f: _config(f, bias="yes"), "true or false of a bias"),
        (lambda f: _config(f, bias=False), "dense layers.*unexpected"),
        (lambda f: _config(f, module_input_name="token_embeddings"), "reads no vectors"),
        (lambda f: (f / "2_Dense" / "model.safetensors").unlink(), "no 2_Dense/model.safetensors"),
        (lambda f: _modules(f, "Transformer", "Pooling", "Normalize", "Dense"), "a module Dense"),
        (lambda f: _modules(f, "Transformer", "Pooling", "CNN"), "a module CNN.*Without"),
        (lambda f: _modules(f, "Transformer", "Dense", "Pooling"), "a module Dense"),
    ],
)
def test_what_can_not_be_done_is_refused_and_never_left_out(
    dense_model: Path, tmp_path: Path, change, match
) -> None:
    folder = shutil.copytree(dense_model, tmp_path / "copy")
    change(folder)
    with pytest.raises(SourceError, match=match):
        resolve(f"file:{folder}").load()


def test_layers_of_another_width_than_what_was_pooled_are_refused(
    dense_model: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(dense_model, tmp_path / "copy")
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode": ["cls", "mean"]}')
    with pytest.raises(SourceError, match="reads 16 numbers, but the pooling gives 32"):
        resolve(f"file:{folder}").load()
