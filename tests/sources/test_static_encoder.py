import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from retarget.core.errors import SourceError
from retarget.sources.blueprint import Blueprint
from retarget.sources.registry import resolve
from retarget.tasks.words import Worded, worded


def run(encoder, texts, pooling="mean"):
    batch = encoder.collate([encoder.prepare(text) for text in texts])
    with torch.inference_mode():
        return encoder.pooled(batch, pooling)["pooled"].numpy()


def test_a_text_is_the_mean_of_its_pieces_as_model2vec_has_it(text_models):
    folder = text_models / "static"
    tensors = load_file(folder / "model.safetensors")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    texts = ["The cat sat on the mat.", "Zürich ☃ 42", "☃"]
    for found, text in zip(run(resolve(f"file:{folder}").load(), texts), texts, strict=True):
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        ids = [i for i in ids if i != tokenizer.token_to_id("[UNK]")]
        rows = [tensors["embeddings"][tensors["mapping"][i]] * tensors["weights"][i] for i in ids]
        mean = np.mean([row.numpy() for row in rows], axis=0) if rows else np.zeros(6)
        np.testing.assert_allclose(found, mean / (np.linalg.norm(mean) + 1e-32), atol=1e-6)


def test_a_text_is_the_mean_of_its_known_words(text_models):
    vectors = {}
    for line in (text_models / "vectors.vec").read_text().splitlines()[1:]:
        word, *numbers = line.split(" ")
        vectors[word] = np.array([float(x) for x in numbers])
    encoder = resolve(f"file:{text_models / 'vectors.vec'}").load()
    found = run(encoder, ["The CAT, in Paris!", "PARIS", "nothing known", ("the", "dog")])
    expected = [
        np.mean([vectors[w] for w in ("the", "cat", ",", "Paris")], axis=0),
        vectors["paris"],
        np.zeros(5),
        (vectors["the"] + vectors["dog"]) / 2,
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    words = run(encoder, [worded("Paris sat unknown cat")], "words")[0]
    wanted = [vectors["Paris"], vectors["sat"], np.zeros(5), vectors["cat"]]
    np.testing.assert_allclose(words[:4], wanted, rtol=1e-5, atol=1e-6)
    whole = run(encoder, [Worded("the cat", ((0, 7),))], "words")[0, 0]
    np.testing.assert_allclose(whole, (vectors["the"] + vectors["cat"]) / 2, rtol=1e-5)
    assert encoder.preprocessing()["lowercase"] is False
    assert encoder.preprocessing()["vocabulary"] == 11


def test_folders_whose_parts_do_not_fit_are_refused(text_models, tmp_path):
    folder = tmp_path / "static"
    shutil.copytree(text_models / "static", folder)
    tensors = load_file(folder / "model.safetensors")
    save_file({**tensors, "mapping": tensors["mapping"][:50]}, folder / "model.safetensors")
    with pytest.raises(SourceError, match="don't fit"):
        resolve(f"file:{folder}").load()
    save_file({"embeddings": tensors["embeddings"]}, folder / "model.safetensors")
    with pytest.raises(SourceError, match="don't belong together"):
        resolve(f"file:{folder}").load()
    save_file({**tensors, "mapping": tensors["mapping"] + 9999}, folder / "model.safetensors")
    with pytest.raises(SourceError, match="don't fit"):
        resolve(f"file:{folder}").load()
    save_file({"else": tensors["embeddings"]}, folder / "model.safetensors")
    with pytest.raises(SourceError, match="no table embeddings"):
        resolve(f"file:{folder}").load()


@pytest.mark.parametrize(
    "change",
    [{"rows": 0}, {"rows": "5"}, {"width": 10**6}, {"normalize": 1}, {"words": None}],
)
def test_tables_of_no_sane_size_are_refused(change):
    told = {"rows": 10**4, "width": 5, "normalize": False, "words": "a\nb", **change}
    record = {"library": "static", "architecture": "words", "arguments": told}
    with pytest.raises(SourceError, match=r"sane|missing"):
        Blueprint.from_record(json.loads(json.dumps(record))).build(0)


def test_weights_of_another_shape_are_refused():
    told = {"rows": 2, "width": 5, "normalize": False, "words": "a\nb"}
    with pytest.raises(SourceError, match="belong"):
        Blueprint("static", "words", told).build({"embedding.weight": torch.zeros(3, 5)})


def test_texts_have_no_size(text_models):
    with pytest.raises(SourceError, match="no size"):
        resolve(f"file:{text_models / 'vectors.vec'}?size=64").load()
