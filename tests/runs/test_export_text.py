"""Exported text models say what the models say, in a process that knows no Retarget."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from tokenizers import Tokenizer

from retarget.core.errors import StoreError
from retarget.core.types import Kind, Pooling
from retarget.evaluation.decoding import allowed, decode
from retarget.methods.model import TransferModel
from retarget.runs.export import export_onnx
from retarget.runs.exported import model_says
from retarget.sources.registry import resolve
from retarget.tasks.tags import to_spans
from retarget.tasks.words import worded

LONG = " ".join(["The dog barked; a fine day, said Anna (42) from Zürich."] * 9)
TEXTS = ["Good morning, world.", "zzz", "A cat & 3 dogs sat on the mat: naïve 東京 👩‍🚀!", LONG]
TAGS = ("O", "B-place", "I-place", "B-who", "I-who")

# The script runs in isolation, and finds neither Retarget nor what it is made with.
BLOCKED = """
import runpy, sys
for name in ("retarget", "torch", "transformers", "scipy"):
    sys.modules[name] = None
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run_alone(folder: Path, *texts: str, stdin: str | None = None) -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-I", "-c", BLOCKED, str(folder / "example.py"), *texts],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


Models = Callable[..., TransferModel]


@pytest.mark.parametrize(
    ("kind", "pooling", "layers"),
    [
        ("classification", "mean", ("pooled",)),
        ("classification", "cls", ("hidden_states.1", "hidden_states.2")),
        ("multilabel", "mean+max", ("hidden_states.2", "pooled")),
        ("regression", "first+last", ("pooled",)),
        ("classification", "last", ("hidden_states.2",)),
    ],
)
def test_strings_in_the_models_predictions_out(
    text_folder: Callable[[str], str],
    heads_on: Models,
    tmp_path: Path,
    kind: Kind,
    pooling: Pooling,
    layers: tuple[str, ...],
) -> None:
    source = resolve(text_folder("bert"))
    encoder = source.load()
    model = heads_on(kind, pooling, [encoder], [(0, layers, "a"), (0, ("pooled",), "b")])
    made = export_onnx(model, [source], tmp_path)
    assert made.difference <= 1e-4
    assert "windows" in made.compared
    assert "a pair" in made.compared
    pair = ("The cat sat.", "It is a fine day.")
    expected, _ = model_says(model, [encoder], [*TEXTS, pair])
    shown = run_alone(tmp_path, *TEXTS) + run_alone(tmp_path, "--pair", *pair)
    for told, text, own in zip(shown, [*TEXTS, list(pair)], expected, strict=True):
        assert told["text"] == text
        if kind == "regression":
            assert told["values"] == pytest.approx(own, abs=1e-4)
        else:
            assert list(told["probabilities"]) == list(model.classes)
            np.testing.assert_allclose(list(told["probabilities"].values()), own, atol=1e-4)


def test_the_graph_reads_what_any_tokenizer_gives(
    text_folder: Callable[[str], str], heads_on: Models, tmp_path: Path
) -> None:
    source = resolve(text_folder("bert"))
    encoder = source.load()
    model = heads_on("classification", "mean", [encoder], [(0, ("pooled",), "a")])
    export_onnx(model, [source], tmp_path)
    tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    tokenizer.enable_padding()
    found = tokenizer.encode_batch(TEXTS[:3])
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    (probabilities,) = session.run(
        None,
        {
            "input_ids": np.array([f.ids for f in found]),
            "attention_mask": np.array([f.attention_mask for f in found]),
            "token_type_ids": np.array([f.type_ids for f in found]),
        },
    )
    expected, _ = model_says(model, [encoder], TEXTS[:3])
    np.testing.assert_allclose(probabilities, expected, atol=1e-5)


def test_encoders_that_read_alike_share_their_inputs(
    text_folder: Callable[[str, str], str], static_folder: str, heads_on: Models, tmp_path: Path
) -> None:
    uris = [text_folder("bert", ""), text_folder("bert", "cls"), static_folder]
    sources = [resolve(uri) for uri in uris] + [resolve(uris[0]).random(1)]
    encoders = [source.load() for source in sources]
    members = [(i, ("pooled",), "a") for i in range(4)]
    model = heads_on("classification", "mean", encoders, members)
    assert export_onnx(model, sources, tmp_path).difference <= 1e-4
    card = json.loads((tmp_path / "model.json").read_text())
    assert [one["tokenizer"] for one in card["texts"]] == ["tokenizer.json", "tokenizer_1.json"]
    expected, _ = model_says(model, encoders, TEXTS)
    shown = run_alone(tmp_path, stdin="\n".join(TEXTS) + "\n")
    for told, own in zip(shown, expected, strict=True):
        np.testing.assert_allclose(list(told["probabilities"].values()), own, atol=1e-4)


@pytest.mark.parametrize("sort", ["static_folder", "word_vectors"])
def test_static_vectors_are_exported(
    request: pytest.FixtureRequest, heads_on: Models, tmp_path: Path, sort: str
) -> None:
    source = resolve(request.getfixturevalue(sort))
    encoder = source.load()
    model = heads_on("classification", "mean", [encoder], [(0, ("pooled",), "a")])
    assert export_onnx(model, [source], tmp_path).difference <= 1e-4
    expected, _ = model_says(model, [encoder], TEXTS)
    shown = run_alone(tmp_path, *TEXTS)
    for told, own in zip(shown, expected, strict=True):
        np.testing.assert_allclose(list(told["probabilities"].values()), own, atol=1e-4)


@pytest.mark.parametrize("sorts", [("linear", "linear"), ("linear", "crf"), ("crf",)])
def test_spans_are_those_of_the_model(
    text_folder: Callable[[str], str], heads_on: Models, tmp_path: Path, sorts: tuple[str, ...]
) -> None:
    source = resolve(text_folder("bert"))
    encoder = source.load()
    on = [(0, (f"hidden_states.{2 - i}",), sort) for i, sort in enumerate(sorts)]
    model = heads_on("tagging", "words", [encoder], on, TAGS)
    assert export_onnx(model, [source], tmp_path).difference <= 1e-4
    texts = [worded(text) for text in TEXTS]
    values, owners = model_says(model, [encoder], texts)
    tags = decode(np.log(values), owners, allowed(TAGS))
    shown = run_alone(tmp_path, *TEXTS)
    spans = 0
    for i, (told, text) in enumerate(zip(shown, texts, strict=True)):
        own = [TAGS[tag] for tag in tags[owners == i]]
        expected = to_spans(text.words, own)
        assert [(s["start"], s["end"], s["label"]) for s in told["spans"]] == [*expected]
        assert all(s["text"] == text.text[s["start"] : s["end"]] for s in told["spans"])
        spans += len(expected)
    assert spans > 2


def test_a_text_without_words_has_no_spans(
    text_folder: Callable[[str], str], heads_on: Models, tmp_path: Path
) -> None:
    source = resolve(text_folder("bert"))
    model = heads_on("tagging", "words", [source.load()], [(0, ("pooled",), "a")], TAGS)
    export_onnx(model, [source], tmp_path)
    assert run_alone(tmp_path, " ") == [{"text": " ", "spans": []}]


def test_a_graph_that_disagrees_is_not_kept(
    text_folder: Callable[[str], str],
    heads_on: Models,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from retarget.runs import graph

    right = graph.MemberModule.forward
    monkeypatch.setattr(graph.MemberModule, "forward", lambda self, x: -right(self, x))
    source = resolve(text_folder("bert"))
    model = heads_on("classification", "mean", [source.load()], [(0, ("pooled",), "a")])
    with pytest.raises(StoreError, match="differs from the model"):
        export_onnx(model, [source], tmp_path / "out")
    assert not (tmp_path / "out").exists()
