"""What a person does with texts and tagged words on the command line, from the file to ONNX."""

import csv
import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from seqeval.metrics import f1_score
from seqeval.metrics.sequence_labeling import get_entities

from retarget.cli.app import run as command
from retarget.run import Run

# Sentences made by a rule are nearly alike.
FIT = ("--baseline", "majority", "--folds", 2, "--no-learning-curve", "--engine", "eager",
       "--keep-leaks")  # fmt: skip
HOW = {
    "text": ("--layer", "last", "--method", "probe", "--metric", "accuracy", *FIT),
    "words": ("--layer", "hidden_states.1", "--method", "crf", *FIT),
}
PEOPLE, PLACES = ("Anna", "Tom", "Lena"), ("Oslo", "Graz", "Haven")
TRAINED, JUDGED = 20, 44


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Run a command that must end well, and return what it printed."""
    code = command([str(a) for a in arguments])
    said = capsys.readouterr()
    assert code == 0, said.err
    return said.out


def told(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    """Run a command with --json; its output must be one JSON document."""
    return dict(json.loads(call(capsys, *arguments, "--json")))


def _table(path: Path) -> Path:
    rng = np.random.default_rng(0)
    with path.open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["text", "label", "split"])
        for i in range(TRAINED + JUDGED):
            word = str(rng.choice(["dismal", "lovely"]))
            label = {"dismal": "bad", "lovely": "good"}[word] if rng.random() < 0.9 else "bad"
            text = f"Visit {i} was {word}{', again' * int(rng.integers(4))}."
            rows.writerow([text, label, "train" if i < TRAINED else "test"])
    return path


def _sentences(rows: range) -> Iterator[tuple[list[str], list[str]]]:
    """Give tokens with their tags; what is behind "to" is mostly a place, at times a new one."""
    for i in rows:
        tail = ["on", "day", str(i), "again"][: 3 + i % 2]
        tokens = [PEOPLE[i % 3], "Berg", "came", "to", "New", PLACES[i // 3 % 3], *tail]
        tags = ["B-who", "I-who", "O", "O", "B-where", "I-where"] + ["O"] * len(tail)
        if i % 7 == 3:
            tags[4:6] = ["O", "B-where"]
        if i >= TRAINED and i % 5 == 0:
            tokens[5] = "Perth"  # which nothing is learned from
        yield tokens, tags


def _conll(folder: Path) -> Path:
    folder.mkdir()
    parts = {"train": range(TRAINED), "test": range(TRAINED, TRAINED + JUDGED)}
    for name, rows in parts.items():
        blocks = ["\n".join(map("\t".join, zip(*one, strict=True))) for one in _sentences(rows)]
        (folder / f"{name}.conll").write_text("\n\n".join(blocks) + "\n")
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return a table of texts with classes and a folder of tagged words, each with both splits."""
    folder = tmp_path_factory.mktemp("data")
    return {"text": _table(folder / "visits.csv"), "words": _conll(folder / "trips")}


@pytest.fixture(scope="module")
def runs(
    data: dict[str, Path],
    text_folder: Callable[..., str],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Path]:
    """Return the runs that the command line made of both."""
    folder = tmp_path_factory.mktemp("runs")
    source = text_folder("bert", "mean")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RETARGET_CACHE", str(folder / "cache"))
        for name, path in data.items():
            out = ("--out", folder / name, "--source", source)
            code = command([str(a) for a in ("fit", path, *out, *HOW[name])])
            assert code == 0
    return {name: folder / name for name in data}


@pytest.mark.parametrize("name", ["text", "words"])
def test_inspect_and_fit_tell_the_same_of_a_task(
    capsys: pytest.CaptureFixture[str], data: dict[str, Path], runs: dict[str, Path], name: str
) -> None:
    found = told(capsys, "inspect", data[name])
    kept = json.loads((runs[name] / "run.json").read_text())
    assert found["task"]["examples"] == kept["task"]["examples"] == TRAINED + JUDGED
    assert found["task"]["kind"] == {"text": "classification", "words": "tagging"}[name]
    assert found["task"]["kind"] == kept["task"]["kind"]
    assert found["splits"] == {"train": TRAINED, "test": JUDGED}
    shown = call(capsys, "inspect", data[name])
    assert f"{TRAINED + JUDGED} examples" in shown
    assert {"text": "hold-out", "words": "--keep-leaks"}[name] in shown


def test_a_fit_prints_one_json_document(
    capsys: pytest.CaptureFixture[str],
    data: dict[str, Path],
    runs: dict[str, Path],
    text_folder: Callable[..., str],
    tmp_path: Path,
) -> None:
    out = ("--out", tmp_path / "run", "--source", text_folder("bert", "mean"))
    found = told(capsys, "fit", data["text"], *out, *HOW["text"])
    assert found["run"] == str(tmp_path / "run")
    kept = json.loads((runs["text"] / "run.json").read_text())
    assert found["test"]["metrics"].keys() == kept["test"]["metrics"].keys()
    assert found["test"]["metrics"]["accuracy"] == kept["test"]["metrics"]["accuracy"]


def test_evaluate_counts_what_predict_says_of_texts(
    capsys: pytest.CaptureFixture[str], data: dict[str, Path], runs: dict[str, Path]
) -> None:
    found = told(capsys, "evaluate", runs["text"], data["text"])
    with data["text"].open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["split"] == "test"]
    said = Run(runs["text"]).predict([row["text"] for row in rows], engine="eager").labels
    right = [row["label"] == one for row, one in zip(rows, said, strict=True)]
    assert found["examples"] == JUDGED
    assert found["metrics"]["accuracy"]["value"] == pytest.approx(np.mean(right))
    assert 0.5 < np.mean(right) < 1
    assert found["notes"] == [f"{TRAINED} examples left out: the model learned from them."]
    lengths = np.array([len(row["text"]) for row in rows])
    assert sum(part["examples"] for part in found["per_size"]) == JUDGED
    for part in found["per_size"]:
        low, high = map(int, re.findall(r"\d+", part["name"]))
        inside = (low <= lengths) & (lengths <= high)
        assert part["examples"] == inside.sum()
        (own,) = part["metrics"].values()
        assert own["value"] == pytest.approx(np.mean(np.array(right)[inside]))
    assert "length" in call(capsys, "evaluate", runs["text"], data["text"])


def _tags(text: str, spans: Any) -> list[str]:
    """Return a tag for each word between spaces, by a plain loop."""
    tags, start = [], 0
    for word in text.split(" "):
        here = [span for span in spans if span.start <= start < span.end]
        tags.append(f"{'B' if here[0].start == start else 'I'}-{here[0].label}" if here else "O")
        start += len(word) + 1
    return tags


def _forms(tokens: list[str], tags: list[str]) -> list[str]:
    """Return how entities are written, in lower case, by a plain loop."""
    return [" ".join(tokens[a : b + 1]).lower() for _, a, b in get_entities(tags)]


def _hits(truth: list[str], said: list[str]) -> list[bool]:
    """Return of each true entity whether it was found."""
    return [one in get_entities(said) for one in get_entities(truth)]


def test_evaluate_counts_the_spans_that_predict_finds(
    capsys: pytest.CaptureFixture[str], data: dict[str, Path], runs: dict[str, Path]
) -> None:
    found = told(capsys, "evaluate", runs["words"], data["words"])
    sentences = list(_sentences(range(TRAINED, TRAINED + JUDGED)))
    texts = [" ".join(tokens) for tokens, _ in sentences]
    made = Run(runs["words"]).predict(texts, engine="eager")
    said = [_tags(text, spans) for text, spans in zip(texts, made.spans, strict=True)]
    truth = [tags for _, tags in sentences]
    assert found["metrics"]["entity_f1"]["value"] == pytest.approx(f1_score(truth, said))
    assert 0.3 < f1_score(truth, said) < 1
    assert found["notes"] == [f"{TRAINED} examples left out: the model learned from them."]
    own = json.loads((runs["words"] / "run.json").read_text())["test"]
    for name, estimate in own["metrics"].items():
        assert found["metrics"][name]["value"] == pytest.approx(estimate["value"])
    assert [part["name"] for part in found["per_size"]] == [p["name"] for p in own["per_size"]]
    learned = {form for tokens, tags in _sentences(range(TRAINED)) for form in _forms(tokens, tags)}
    ours = [form in learned for one in sentences for form in _forms(*one)]
    hits = [hit for pair in zip(truth, said, strict=True) for hit in _hits(*pair)]
    assert {part["name"] for part in found["per_novelty"]} == {"seen", "unseen"}
    for part in found["per_novelty"]:
        wanted = part["name"] == "seen"
        own_hits = [hit for seen, hit in zip(ours, hits, strict=True) if seen == wanted]
        assert part["examples"] == len(own_hits) > 0
        recall = part["metrics"]["recall"]
        assert recall["value"] == pytest.approx(np.mean(own_hits))
        assert recall["low"] <= recall["value"] <= recall["high"]
    lengths = np.array(list(map(len, texts)))
    assert len(found["per_size"]) > 1
    for part in found["per_size"]:
        low, high = map(int, re.findall(r"\d+", part["name"]))
        inside = np.flatnonzero((low <= lengths) & (lengths <= high))
        (value,) = part["metrics"].values()
        alone = f1_score([truth[i] for i in inside], [said[i] for i in inside])
        assert value["value"] == pytest.approx(alone)
    shown = call(capsys, "evaluate", runs["words"], data["words"])
    assert "Entity F1" in shown
    assert "seen: written as an entity that the model learned from" in shown


def test_a_run_keeps_no_entity_in_words_and_one_from_before_is_judged_without(
    capsys: pytest.CaptureFixture[str],
    data: dict[str, Path],
    runs: dict[str, Path],
    tmp_path: Path,
) -> None:
    kept = json.loads((runs["words"] / "run.json").read_text())["protocol"]["learned_entities"]
    forms = {form for tokens, tags in _sentences(range(TRAINED)) for form in _forms(tokens, tags)}
    assert len(kept) == len(forms)
    assert all(re.fullmatch("[0-9a-f]{12}", one) for one in kept)
    old = tmp_path / "old"
    shutil.copytree(runs["words"], old)
    record = json.loads((old / "run.json").read_text())
    del record["protocol"]["learned_entities"]
    (old / "run.json").write_text(json.dumps(record))
    found = told(capsys, "evaluate", old, data["words"])
    assert found["per_novelty"] == []
    assert "Entity F1" in call(capsys, "evaluate", old, data["words"])
    assert (
        json.loads((runs["text"] / "run.json").read_text())["protocol"]["learned_entities"] is None
    )


def test_types_that_a_model_does_not_know_are_named_and_not_judged(
    capsys: pytest.CaptureFixture[str], runs: dict[str, Path], tmp_path: Path
) -> None:
    lines = ["Tom B-who", "came O", "to O", "New B-where", "Perth I-where", "in O", "May B-when"]
    (tmp_path / "other.conll").write_text("\n".join(lines) + "\n")
    found = told(capsys, "evaluate", runs["words"], tmp_path / "other.conll")
    assert found["examples"] == 1
    assert {part["name"] for part in found["per_class"]} <= {"who", "where"}


@pytest.mark.parametrize("name", ["text", "words"])
def test_export_prints_how_closely_it_agrees(
    capsys: pytest.CaptureFixture[str], runs: dict[str, Path], name: str, tmp_path: Path
) -> None:
    said = call(capsys, "export", runs[name], "--out", tmp_path / "onnx")
    (largest,) = re.findall(r"Largest difference from the model's predictions: (\S+)", said)
    assert 0 <= float(largest) <= 1e-4
    assert (tmp_path / "onnx" / "model.onnx").is_file()
    found = told(capsys, "export", runs[name], "--out", tmp_path / "again")
    assert found["difference"] == pytest.approx(float(largest), rel=0.06, abs=1e-8)
