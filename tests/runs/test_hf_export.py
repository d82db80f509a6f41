"""What is exported opens as transformers' own pipelines, and says what the model says."""

import json
import runpy
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import transformers

from retarget.core.errors import StoreError, UsageError
from retarget.core.hashing import hash_bytes
from retarget.core.types import ExportFormat, Kind, Pooling
from retarget.features.views import Inputs
from retarget.methods.base import Labels
from retarget.methods.contrastive import Contrastive
from retarget.methods.finetune import BitFit, FineTune
from retarget.methods.heads import LinearHead
from retarget.methods.lora import Lora
from retarget.methods.model import TransferModel
from retarget.methods.tuning import Subject, Tuned, Tuning
from retarget.runs.export import export_model
from retarget.runs.exported import model_says
from retarget.runs.hf_export import export_huggingface
from retarget.sources.hf_folder import _TextFolder
from retarget.sources.registry import resolve
from retarget.sources.source import Source
from retarget.sources.text_intake import TRIED
from retarget.tasks.words import worded

Models = Callable[..., TransferModel]
TEXTS = ["Good morning, world.", "zzz", "The dog barked loudly at it."]
TAGS = ("O", "B-place", "I-place", "B-who", "I-who")


@pytest.mark.parametrize(
    ("sort", "pooling"),
    [
        ("bert", "cls"),
        ("distilbert", "cls"),
        ("roberta", "cls"),
        ("mpnet", "cls"),
        ("electra", "cls"),
        ("eurobert", "cls"),
        ("eurobert", "mean"),
        ("modernbert", "cls"),
        ("modernbert", "mean"),
    ],
)
def test_the_pipeline_says_what_the_model_says(
    text_folder: Callable[..., str], heads_on: Models, tmp_path: Path, sort: str, pooling: Pooling
) -> None:
    source = resolve(text_folder(sort))
    encoder = source.load()
    on = [(0, ("hidden_states.2",), "a")]
    model = heads_on("classification", pooling, [encoder], on, ("zebra", "apple", "Ä b"))
    made = export_huggingface(model, [source], tmp_path / "out")
    assert made.difference <= 1e-4
    pipe = transformers.pipeline("text-classification", model=str(made.folder), device="cpu")
    assert list(pipe.model.config.id2label.values()) == ["zebra", "apple", "Ä b"]
    expected, _ = model_says(model, [encoder], TEXTS)
    for batch in (1, 3):
        for told, own in zip(pipe(TEXTS, top_k=None, batch_size=batch), expected, strict=True):
            scores = {one["label"]: one["score"] for one in told}
            np.testing.assert_allclose([scores[c] for c in model.classes], own, atol=1e-4)
    assert not list(tmp_path.glob(".export-*"))


@pytest.mark.parametrize("kind", ["multilabel", "regression"])
def test_labels_and_values_too(
    text_folder: Callable[..., str], heads_on: Models, tmp_path: Path, kind: Kind
) -> None:
    source = resolve(text_folder("bert", "cls"))
    encoder = source.load()
    model = heads_on(kind, "mean", [encoder], [(0, ("pooled",), "a")])
    assert export_huggingface(model, [source], tmp_path / "out").difference <= 1e-4
    pipe = transformers.pipeline("text-classification", model=str(tmp_path / "out"), device="cpu")
    expected, _ = model_says(model, [encoder], TEXTS)
    for told, own in zip(pipe(TEXTS, top_k=None), expected, strict=True):
        scores = {one["label"]: one["score"] for one in told}
        np.testing.assert_allclose([scores[c] for c in model.classes], own.ravel(), atol=1e-4)


@pytest.mark.parametrize("sort", ["bert", "distilbert", "modernbert"])
def test_tags_of_words_of_one_piece_are_the_pipelines(
    text_folder: Callable[..., str], heads_on: Models, tmp_path: Path, sort: str
) -> None:
    source = resolve(text_folder(sort))
    encoder = source.load()
    model = heads_on("tagging", "words", [encoder], [(0, ("hidden_states.2",), "a")], TAGS)
    made = export_huggingface(model, [source], tmp_path / "out")
    assert made.difference <= 1e-4
    assert "average" in made.notes[-1]
    pipe = transformers.pipeline("token-classification", model=str(made.folder), device="cpu")
    text = worded("the cat sat on a mat.")
    told = {(t["start"], t["end"]): t for t in pipe(text.text, ignore_labels=[])}
    expected, _ = model_says(model, [encoder], [text])
    found = [
        (told[word], own) for word, own in zip(text.words, expected, strict=True) if word in told
    ]
    assert len(found) >= 3
    for one, own in found:
        assert one["entity"] == TAGS[own.argmax()]
        assert one["score"] == pytest.approx(own.max(), abs=1e-4)


def test_a_folder_whose_tokenizer_reads_words_otherwise_is_refused(
    text_folder: Callable[..., str],
    heads_on: Models,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = resolve(text_folder("bert"))
    encoder = source.load()
    model = heads_on("tagging", "words", [encoder], [(0, ("hidden_states.2",), "a")], TAGS)
    write = _TextFolder._write_tokenizer

    def shifted(self: _TextFolder, folder: Path) -> None:
        write(self, folder)
        path = folder / "tokenizer.json"
        told = json.loads(path.read_text())
        vocabulary = told["model"]["vocab"]
        plain = sorted(word for word in vocabulary if word.isalpha())
        numbers = [vocabulary[word] for word in plain]
        vocabulary.update(zip(plain, numbers[1:] + numbers[:1], strict=True))
        path.write_text(json.dumps(told))

    monkeypatch.setattr(_TextFolder, "_write_tokenizer", shifted)
    with pytest.raises(StoreError):
        export_huggingface(model, [source], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def _trained(tuning: Tuning, source: Source, pooling: Pooling) -> Tuned:
    """Train on a few texts, or on their words where these are asked for, judged by none."""
    random = np.random.default_rng(0)
    words = ["the", "cat", "sat", "on", "mat", "dog", "barked", "morning", "letters", "world"]
    texts = [" ".join(random.choice(words, 3 + i % 4)) for i in range(12)]
    ids = np.array([hash_bytes(text.encode()) for text in texts])
    known = np.arange(12) // 3 % 2
    if pooling != "words":
        labels = Labels("classification", known, 2, np.ones(12))
        inputs, judges = Inputs("text", texts, ids), np.zeros(12, np.bool_)
        return tuning.fit(Subject(source, inputs, labels, judges, "accuracy", pooling))
    sentences = [worded(text) for text in texts]
    owners = np.repeat(np.arange(12), [len(s.words) for s in sentences])
    tags = np.concatenate([np.arange(len(s.words)) == 1 for s in sentences]).astype(np.int64)
    labels = Labels("tagging", tags * (1 + known[owners]), 3, np.ones(len(tags)), sequences=owners)
    inputs = Inputs("text", sentences, ids, owners)
    return tuning.fit(Subject(source, inputs, labels, owners < 0, "word_accuracy", pooling))


@pytest.mark.parametrize(
    "tuning",
    [
        FineTune(epochs=2, lr=3e-3, mix=False),
        BitFit(epochs=1),
        Lora(epochs=2, lr=2e-2),
        Contrastive(epochs=1, steps=2, lr=3e-3),
    ],
    ids=lambda tuning: str(tuning.name),
)
def test_what_was_trained_on_first_pieces_is_said_by_the_pipeline(
    text_folder: Callable[..., str], tmp_path: Path, tuning: Tuning
) -> None:
    origin = resolve(text_folder("bert"))
    tuned = _trained(tuning, origin, "cls")
    assert tuned.member.layers == ("hidden_states.2",)
    source = resolve(tuned.uri)
    # First pieces of random weights are nearly alike, so heads that tell them apart are steep.
    model = TransferModel("classification", ("no", "yes"), (tuned.member,), 1.0, ("x",), "cls")
    made = export_huggingface(model, [source], tmp_path / "out")
    assert made.difference <= 1e-4
    expected, _ = model_says(model, [source.load()], TEXTS)
    before, _ = model_says(model, [origin.load()], TEXTS)
    assert np.abs(expected - before).max() > 1e-3  # the encoder is another, not its head alone
    pipe = transformers.pipeline("text-classification", model=str(made.folder), device="cpu")
    for told, own in zip(pipe(TEXTS, top_k=None), expected, strict=True):
        scores = {one["label"]: one["score"] for one in told}
        np.testing.assert_allclose([scores[c] for c in model.classes], own, atol=1e-4)


def test_a_trained_tagger_is_said_by_the_pipeline(
    text_folder: Callable[..., str], tmp_path: Path
) -> None:
    tuned = _trained(FineTune(epochs=1), resolve(text_folder("distilbert")), "words")
    source, classes = resolve(tuned.uri), ("O", "B-who", "B-what")
    model = TransferModel("tagging", classes, (tuned.member,), 1.2, ("x",), "words")
    made = export_huggingface(model, [source], tmp_path / "out")
    pipe = transformers.pipeline("token-classification", model=str(made.folder), device="cpu")
    text = worded("the cat sat on a mat.")
    told = {(t["start"], t["end"]): t for t in pipe(text.text, ignore_labels=[])}
    expected, _ = model_says(model, [source.load()], [text])
    found = [(told[w], own) for w, own in zip(text.words, expected, strict=True) if w in told]
    assert len(found) >= 3
    for one, own in found:
        assert one["entity"] == classes[own.argmax()]
        assert one["score"] == pytest.approx(own.max(), abs=1e-4)


def test_a_prompt_goes_with_a_graph_and_into_no_pipeline(
    text_folder: Callable[..., str], heads_on: Models, tmp_path: Path
) -> None:
    folder = tmp_path / "prompted"
    shutil.copytree(text_folder("bert").removeprefix("file:"), folder)
    told = {"prompts": {"q": "the dog: "}, "default_prompt_name": "q"}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(told))
    source = resolve(f"file:{folder}")
    encoder = source.load()
    model = heads_on("classification", "cls", [encoder], [(0, ("hidden_states.2",), "a")])
    with pytest.raises(UsageError, match="prompt 'the dog: '"):
        export_huggingface(model, [source], tmp_path / "out")
    made = export_model(model, [source], tmp_path / "graph", "onnx")
    predict = runpy.run_path(str(made.folder / "example.py"))["predict"]
    expected, _ = model_says(model, [encoder], TEXTS)
    for text, own in zip(TEXTS, expected, strict=True):
        np.testing.assert_allclose([predict(text)[c] for c in model.classes], own, atol=1e-4)


def test_a_mean_of_kinds_is_refused_with_what_to_fit_instead(
    text_folder: Callable[..., str], heads_on: Models, tmp_path: Path
) -> None:
    one, other = resolve(text_folder("bert")), resolve(text_folder("distilbert"))
    on = [(0, ("hidden_states.2",), "finetune"), (1, ("hidden_states.2",), "probe")]
    model = heads_on("classification", "cls", [one.load(), other.load()], on)
    with pytest.raises(UsageError, match=r"average of 2 heads.*`--method finetune --pooling cls`"):
        export_huggingface(model, [one, other], tmp_path / "out")


@pytest.mark.parametrize(
    ("pooling", "on", "why"),
    [
        ("mean", [(0, ("hidden_states.2",), "a")], "the mean of the pieces"),
        ("cls", [(0, ("hidden_states.1",), "a")], "reads hidden_states.1"),
        ("cls", [(0, ("pooled",), "a")], "here the mean"),
        ("cls", [(0, ("hidden_states.2",), "a"), (0, ("hidden_states.2",), "b")], "2 heads"),
    ],
)
def test_what_no_class_can_say_is_refused(
    text_folder: Callable[..., str], heads_on: Models, tmp_path: Path, pooling, on, why
) -> None:
    source = resolve(text_folder("bert"))
    model = heads_on("classification", pooling, [source.load()], on)
    with pytest.raises(UsageError, match=why) as told:
        export_huggingface(model, [source], tmp_path / "out")
    assert "--method probe --layer hidden_states.2 --pooling cls" in str(told.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("format", ["onnx", "huggingface"])
def test_a_head_steeper_than_float32_is_refused_with_the_reason(
    text_folder: Callable[..., str], heads_on: Models, tmp_path: Path, format: ExportFormat
) -> None:
    source = resolve(text_folder("bert"))
    encoder = source.load()
    model = heads_on("classification", "cls", [encoder], [(0, ("hidden_states.2",), "a")])
    batch = encoder.collate([encoder.prepare(raw) for raw in TRIED[:1]])
    (member,) = model.members
    # Of the first of the texts that are tried the head is in doubt, and steep.
    centre = encoder.pooled(batch, "cls")["hidden_states.2"][0].detach().numpy()
    head = LinearHead(member.head.arrays()["weight"], np.zeros(3))
    scale = replace(member.scale, centre=centre)
    steep = replace(member, scale=scale, head=head, temperature=1e-5)
    with pytest.raises(StoreError, match=r"the model's head is steep.*another --layer") as told:
        export_model(replace(model, members=(steep,)), [source], tmp_path / "out", format)
    assert "report" not in str(told.value)
    assert not (tmp_path / "out").exists()


def test_a_chain_and_static_vectors_are_refused(
    text_folder: Callable[..., str], static_folder: str, heads_on: Models, tmp_path: Path
) -> None:
    source = resolve(text_folder("bert"))
    model = heads_on("tagging", "words", [source.load()], [(0, ("hidden_states.2",), "crf")], TAGS)
    with pytest.raises(UsageError, match="has a head of crf"):
        export_huggingface(model, [source], tmp_path / "out")
    static = resolve(static_folder)
    model = heads_on("classification", "mean", [static.load()], [(0, ("pooled",), "a")])
    with pytest.raises(UsageError, match="no model that a pipeline of transformers opens"):
        export_huggingface(model, [static], tmp_path / "out")


def test_a_format_that_there_is_not_is_named(
    text_folder: Callable[..., str], heads_on: Models, tmp_path: Path
) -> None:
    source = resolve(text_folder("bert"))
    model = heads_on("classification", "cls", [source.load()], [(0, ("pooled",), "a")])
    with pytest.raises(UsageError, match=r"'gguf'.*onnx, huggingface"):
        export_model(model, [source], tmp_path, "gguf")  # type: ignore[arg-type]  # the point


def test_models_whose_class_has_no_plain_head_are_refused(
    text_folder: Callable[..., str], heads_on: Models, tmp_path: Path
) -> None:
    source = resolve(text_folder("gpt2"))
    model = heads_on("classification", "cls", [source.load()], [(0, ("hidden_states.2",), "a")])
    with pytest.raises(UsageError, match="class for gpt2 models has no plain head"):
        export_model(model, [source], tmp_path, "huggingface")


@pytest.mark.slow
@pytest.mark.parametrize("format", ["onnx", "huggingface"])
@pytest.mark.parametrize("kind", ["classification", "tagging"])
def test_minilm_is_exported(
    heads_on: Models, tmp_path: Path, format: ExportFormat, kind: Kind
) -> None:
    source = resolve("bundled:minilm")
    tagging = kind == "tagging"
    model = heads_on(
        kind,
        "words" if tagging else "cls",
        [source.load()],
        [(0, ("hidden_states.6",), "a")],
        TAGS if tagging else ("no", "yes"),
    )
    made = export_model(model, [source], tmp_path / "out", format)
    assert made.difference <= 1e-4
    assert {path.name for path in made.folder.iterdir()} == set(made.files)
