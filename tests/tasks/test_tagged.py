"""Spans settled on words, from wherever they come."""

import json
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retarget.core.errors import DataError
from retarget.tasks.modalities import Corrupted
from retarget.tasks.open import open_task
from retarget.tasks.tagged import from_tokens, settle
from retarget.tasks.unfold import unfold
from retarget.tasks.words import Span, Worded, worded

TEXT = "Ada Lovelace met Babbage-Smith in 東京."


def test_spans_are_settled_by_the_stated_rule() -> None:
    text = worded(TEXT)

    def after(*spans: tuple[int, int, str]) -> tuple[list[str], list[str]]:
        kept, changed = settle(text, [Span(*span) for span in spans])
        return [TEXT[s.start : s.end] for s in kept], [kind for kind, _ in changed]

    assert after((0, 12, "p")) == (["Ada Lovelace"], [])
    assert after((3, 13, "p")) == (["Lovelace"], ["trimmed"])
    assert after((2, 6, "p")) == (["Ada Lovelace"], ["widened"])
    assert after((34, 35, "l")) == (["東"], [])
    assert after((3, 4, "p")) == ([], ["empty"])
    assert after((-1, 3, "p"), (30, 99, "p"), (5, 2, "p")) == ([], ["outside"] * 3)
    assert after((0, 3, "p"), (0, 12, "q")) == (["Ada Lovelace"], ["overlapping"])
    assert after((0, 3, "p"), (0, 3, "p")) == (["Ada"], [])


def test_very_many_spans_are_settled_quickly() -> None:
    text = worded("ab " * 40_000)
    spans = [Span(3 * i, 3 * i + 1 + i % 3, "x") for i in range(40_000)]
    started = time.perf_counter()
    kept, changed = settle(text, spans)
    assert len(kept) == 40_000
    assert {kind for kind, _ in changed} == {"widened", "trimmed"}
    assert time.perf_counter() - started < 5


@settings(deadline=None, max_examples=200)
@given(
    st.text("ab .東\u0301\u200d🇩", max_size=14),
    st.lists(
        st.tuples(st.integers(-2, 16), st.integers(-2, 16), st.sampled_from("xy")), max_size=6
    ),
)
def test_settled_spans_are_in_order_apart_and_on_words(
    text: str, spans: list[tuple[int, int, str]]
) -> None:
    words = worded(text)
    kept, changed = settle(words, [Span(*span) for span in spans])
    starts, ends = {a for a, _ in words.words}, {b for _, b in words.words}
    assert all(span.start in starts and span.end in ends for span in kept)
    assert all(a.end <= b.start for a, b in pairwise(kept))
    assert settle(words, kept) == (kept, [])
    lost = [span for kind, span in changed if kind in ("outside", "empty", "overlapping")]
    assert len(kept) + len(lost) <= len(spans)
    if not lost:
        held = {i for span in kept for i in range(span.start, span.end)}
        visible = {i for a, b in words.words for i in range(a, b)}
        assert all(i in held for a, b, _ in spans for i in range(a, b) if i in visible)


def test_lists_of_texts_with_spans_name_what_was_changed() -> None:
    spans: list[Any] = [
        [(0, 4, "p")],
        [],
        None,
        [(0, 99, "p"), {"start": 0, "end": 1, "label": "q"}],
    ]
    task = open_task(["Ada met", "nobody", "who?", "x y"], spans)
    assert task.kind == "tagging"
    assert task.classes == ("p", "q")
    assert task.labelled.tolist() == [True, True, False, True]
    assert task.examples.targets.tolist() == [((0, 3, "p"),), (), None, ((0, 1, "q"),)]
    assert [(p.kind, p.where) for p in task.problems] == [
        ("bad-target", ("row 0",)),
        ("bad-target", ("row 3",)),
    ]
    assert open_task(["a b"], [[(0, 1, "x")]]).examples.inputs["text"][0] == worded("a b")


def test_what_is_no_list_of_spans_is_a_bad_target() -> None:
    task = open_task(["a", "b", "c"], [[(0, 1, "x")], "oops", [(0, 1)]], kind="tagging")
    assert task.labelled.tolist() == [True, False, False]
    assert "a list of (start, end, label)" in task.problems[0].what


def test_lists_of_tokens_with_tags() -> None:
    tokens = [["EU", "rejects"], ["Peter", "", "Black", "burn"], ["so"], []]
    tags = [["B-ORG", "O"], ["B-PER", "O", "I-PER", "O"], None, []]
    task = open_task(tokens, tags)
    assert task.classes == ("ORG", "PER")
    assert task.examples.targets.tolist() == [((0, 2, "ORG"),), ((0, 12, "PER"),), None]
    assert [t.text for t in task.examples.inputs["text"]] == [
        "EU rejects",
        "Peter  Black burn",
        "so",
    ]
    pairs = open_task([["EU", "rejects"]], [["B-ORG", "O"]])
    assert pairs.kind == "tagging"
    assert open_task([["a", "b"], ["c", "d"]], [["x", "y"], ["z", "x"]]).kind == "multilabel"
    plain = open_task([["a", "b", "c"]], [["DET", "_", "NOUN"]])
    assert plain.classes == ("DET", "NOUN")
    assert len(unfold(open_task(tokens, kind="tagging")).task) == 6


def _written(how: str, tokens: list[Any], tags: list[Any], folder: Path) -> Any:
    """Return tokens with tags as a list, a frame, JSON lines or Parquet holds them."""
    if how == "list":
        return open_task(tokens, tags)
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"text": tokens, "label": tags})
    if how == "frame":
        return open_task(frame)
    path = folder / f"x.{how}"
    if how == "parquet":
        frame.to_parquet(path)
    else:
        records = [{"text": a, "label": b} for a, b in zip(tokens, tags, strict=True)]
        path.write_text("\n".join(map(json.dumps, records)))
    return open_task(path)


TABLES = {"list": "row {}", "frame": "row {}", "parquet": "row {}", "jsonl": "line {}"}


@pytest.mark.parametrize("how", TABLES)
def test_broken_tags_are_counted_and_their_rows_named_wherever_they_come_from(
    how: str, tmp_path: Path
) -> None:
    tokens = [["a", "b", "c"], ["d", " ", "e", "f"], ["g", "h"], ["i"]]
    tags = [["O", "I-x", "I-y"], ["B-x", "O", "I-x", "what"], ["B-y", "I-y"], ["B-x"]]
    # So many that what has no form of a tag is one of few.
    task = _written(how, tokens + [["k", "l"]] * 3, tags + [["B-x", "I-x"]] * 3, tmp_path)
    first = 1 if how == "jsonl" else 0
    rows = [TABLES[how].format(first + i) for i in range(2)]
    assert task.examples.targets.tolist()[:3] == [
        ((2, 3, "x"), (4, 5, "y")),
        ((0, 5, "x"),),
        ((0, 3, "y"),),
    ]
    assert [(p.kind, p.where, p.left_out) for p in task.problems] == [
        ("bad-target", (rows[0],), False),
        ("bad-target", (rows[1],), False),
    ]
    assert task.problems[0].what.startswith("2 tags that IOB2 does not allow")
    assert f"I-x, {rows[0]}" in task.problems[0].what
    assert f"what, {rows[1]}" in task.problems[1].what


def test_broken_tags_in_memory_are_those_of_a_conll_file(tmp_path: Path) -> None:
    tokens = [["a", "b", "c"], ["d", "e"], ["f", "g"]]
    tags = [["B-x", "E-x", "S-x"], ["B-x", "O"], ["I-x", "E-x"]]
    lines = ["\n".join(map(" ".join, zip(*one, strict=True))) for one in zip(tokens, tags)]  # noqa: B905 - alike
    (tmp_path / "x.conll").write_text("\n\n".join(lines))
    task, expected = open_task(tokens, tags), open_task(tmp_path / "x.conll")
    assert task.examples.targets.tolist() == expected.examples.targets.tolist()
    (told,), (wanted,) = task.problems, expected.problems
    assert told.where == ("row 1", "row 2")
    assert wanted.where == ("line 5", "line 8")
    assert told.what == wanted.what.replace("line 5", "row 1")


@pytest.mark.parametrize("how", TABLES)
def test_a_row_with_another_number_of_tags_is_left_out_and_the_rest_stays_tagging(
    how: str, tmp_path: Path
) -> None:
    tokens = [["a", "b", "c"], ["d", "e", "f"], ["g", "h"], ["i", "j", "k"]]
    tags = [["B-x", "I-x", "O"], ["B-x", "O"], ["O", "B-y"], []]
    task = _written(how, tokens, tags, tmp_path)
    first = 1 if how == "jsonl" else 0
    rows = [TABLES[how].format(first + i) for i in range(4)]
    assert task.kind == "tagging"
    assert task.examples.names == (rows[0], rows[2])
    assert task.examples.targets.tolist() == [((0, 3, "x"),), ((2, 3, "y"),)]
    (problem,) = task.problems
    assert (problem.kind, problem.where, problem.left_out) == ("bad-row", (rows[1], rows[3]), True)
    assert f"2 examples with another number of tags than of tokens (such as {rows[1]}, with 3" in (
        problem.what
    )


def test_columns_beside_the_data_stay_with_their_rows_where_some_are_left_out() -> None:
    tokens = [["a", "b", "c"], ["d"], ["e", "f", "g"]]
    task = open_task(
        tokens,
        [["B-x", "O", "O"], ["O", "O"], ["O", "O", "B-x"]],
        groups=["p", "q", "r"],
        splits=["train", "val", "test"],
        domain_names=["k", "l", "m"],
        weights=[1.0, 2.0, 3.0],
    )
    examples = task.examples
    assert examples.names == ("row 0", "row 2")
    assert examples.groups.tolist() == ["p", "r"]
    assert examples.splits.tolist() == ["train", "test"]
    assert examples.domains.tolist() == ["k", "m"]
    assert examples.weights.tolist() == [1.0, 3.0]


def test_labels_of_pairs_are_not_taken_for_tags_that_do_not_fit() -> None:
    pairs = [["a b", "c"], ["d", "e f"], ["g", "h"]]
    several = [["good", "long"], ["bad"], ["good", "short"]]
    assert open_task(pairs, several).kind == "multilabel"
    assert open_task([*pairs, ["x", "y", "z"]], [*several, ["bad"]]).kind == "multilabel"
    tagged = open_task(pairs, [["B-x", "O"], ["O"], ["O", "B-x"]])
    assert tagged.kind == "tagging"
    assert len(tagged) == 2
    with pytest.raises(DataError, match="row 0, with 2 tokens and 0 tags"):
        open_task([["a", "b"]] * 2, [[], ["B-x"]], kind="tagging")


def test_texts_without_labels_can_be_tagged() -> None:
    task = open_task(["Ada met", "", "東京"], kind="tagging")
    assert task.examples.inputs["text"] == [worded("Ada met"), worded("東京")]
    assert not task.labelled.any()
    assert task.classes == ()
    assert [p.kind for p in task.problems] == ["unreadable"]


def test_files_and_corrupted_texts_get_words(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Ada met", encoding="utf-8")
    task = open_task([tmp_path / "a.txt"], [[(0, 3, "p")]])
    assert task.examples.inputs["text"] == [worded("Ada met")]
    assert task.examples.targets.tolist() == [((0, 3, "p"),)]


def test_tokens_in_frames_and_json_lines(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"text": [["a", "b", "c"]], "label": [np.array(["B-x", "I-x", "O"])]})
    assert open_task(frame).examples.targets.tolist() == [((0, 3, "x"),)]
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps({"tokens": ["a", "b"], "ner_tags": ["B-x", "O"]}))
    task = open_task(path, columns={"text": "tokens", "label": "ner_tags"})
    assert task.examples.targets.tolist() == [((0, 1, "x"),)]


def _lines(path: Path, records: list[dict[str, object]]) -> Path:
    path.write_text("\n".join(map(json.dumps, records)) + "\n")
    return path


def test_whole_numbers_beside_as_many_tokens_are_a_label_of_each_word(tmp_path: Path) -> None:
    records: list[dict[str, object]] = [
        {"tokens": ["Anna", "ran", "home"], "tags": [3, 0, 7]},
        {"tokens": ["so", "did", "Bo", "."], "tags": [-100, 0, 3, None]},
        {"tokens": ["short", "one", "here"], "tags": [1, 0]},
    ]
    task = open_task(_lines(tmp_path / "x.jsonl", records))
    assert (task.kind, task.classes) == ("tagging", ("0", "3", "7"))
    assert task.examples.inputs["text"][0].text == "Anna ran home"
    assert list(task.examples.targets) == [
        (Span(0, 4, "3"), Span(5, 8, "0"), Span(9, 13, "7")),
        (Span(3, 6, "0"), Span(7, 9, "3")),
    ]
    assert [(p.where, p.left_out) for p in task.problems] == [(("line 3",), True)]
    assert "its tags are numbers without names: each labels one word, 0 too" in task.why
    frame = pytest.importorskip("pandas").DataFrame(records[:2])
    frame["tags"] = [np.array([3, 0, 7]), np.array([-100, 0, 3, -1])]
    assert list(open_task(frame).examples.targets) == list(task.examples.targets)


def test_numbers_of_labels_of_a_text_or_a_pair_are_no_tags(tmp_path: Path) -> None:
    texts: list[dict[str, object]] = [{"text": "a b", "label": [0, 1]}, {"text": "c", "label": [2]}]
    assert open_task(_lines(tmp_path / "x.jsonl", texts)).kind == "multilabel"
    pairs: list[dict[str, object]] = [{"text": ["a", "b"], "label": [i, 3]} for i in range(3)]
    assert open_task(_lines(tmp_path / "y.jsonl", pairs)).kind == "multilabel"


SPANS: tuple[list[list[object]], ...] = ([[0, 4, "who"], [12, 16, "where"]], [], [[0, 2, "who"]])
SAID = ("Anna ran to Rome", "nothing", "Bo, too")


@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet", "structs"])
@pytest.mark.parametrize("spell", [json.dumps, str])
def test_spans_in_a_cell_are_those_of_json_lines(
    suffix: str, spell: Callable[[object], str], tmp_path: Path
) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"text": SAID, "spans": list(map(spell, SPANS))})
    path = tmp_path / f"x.{suffix}"
    if suffix == "structs":
        path = tmp_path / "x.parquet"
        keys = ("start", "end", "label")
        frame["spans"] = [[dict(zip(keys, s, strict=True)) for s in spans] for spans in SPANS]
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False, sep="\t" if suffix == "tsv" else ",")
    records: list[dict[str, object]] = [
        {"text": text, "spans": spans} for text, spans in zip(SAID, SPANS, strict=True)
    ]
    lines = open_task(_lines(tmp_path / "y.jsonl", records))
    task = open_task(path)
    assert (task.kind, task.classes) == ("tagging", ("where", "who"))
    assert list(task.examples.targets) == list(lines.examples.targets)
    assert task.problems == ()


def test_a_cell_that_spells_no_spans_is_a_bad_target_and_named(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    cells = ['"[[0, 4, ""who""]]"', '"[[0, 2, ""who""]]"', '"[[0, 2"', '"[__import__(""os"")]"', ""]
    path.write_text("text,label\n" + "".join(f"Anna ran,{cell}\n" for cell in cells))
    task = open_task(path)
    assert task.kind == "tagging"
    assert task.labelled.tolist() == [True, True, False, False, False]
    bad = [p for p in task.problems if "can't be read as a list" in p.what]
    assert [p.where for p in bad] == [("line 4", "line 5")]
    words = tmp_path / "y.csv"
    words.write_text("text,label\n" + "fine,[good]\nbad,[bad]\n")
    assert open_task(words).classes == ("[bad]", "[good]")


def test_unfolding_looks_through_corruptions() -> None:
    task = open_task(["Ada met", "x"], [[(0, 3, "p")], None])
    clean = unfold(task)
    texts = [Corrupted(one, "typos", 2) for one in task.examples.inputs["text"]]
    task.examples.inputs["text"][:] = texts  # type: ignore[index]  # a list, as made here
    noisy = unfold(task)
    assert (
        noisy.task.examples.targets.tolist() == clean.task.examples.targets.tolist() == [1, 0, -1]
    )
    assert noisy.task.classes == ("O", "B-p", "I-p")
    assert noisy.task.examples.names == ("row 0, word 1", "row 0, word 2", "row 1, word 1")
    assert noisy.task.examples.ids.tolist() == clean.task.examples.ids.tolist()
    assert noisy.sentences.tolist() == [0, 0, 1]


def test_tokens_that_do_not_show_are_no_words() -> None:
    assert from_tokens(["a", " ", "", "b c"]) == Worded("a    b c", ((0, 1), (5, 8)))


def test_spans_in_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    records: list[Any] = [
        {"text": "Ada met", "entities": [{"start": 0, "end": 3, "label": "p"}], "group": "g"},
        {"text": "none", "entities": []},
        {"text": "unknown"},
    ]
    path.write_text("\n".join(map(json.dumps, records)) + "\nbroken\n")
    task = open_task(path)
    assert task.examples.targets.tolist() == [((0, 3, "p"),), (), None]
    assert task.examples.groups.tolist() == ["g", "", ""]
    assert [(p.kind, p.where) for p in task.problems] == [("bad-row", ("line 4",))]
    path.write_text(json.dumps(records[1]))
    assert open_task(path).kind == "tagging"
    path.write_text("\n".join(json.dumps({"text": t, "labels": ["a", "b"]}) for t in "xyz"))
    assert open_task(path).kind == "multilabel"
    assert open_task(path, kind="classification").kind == "classification"


def test_label_studio_tells_of_regions_that_moved(tmp_path: Path) -> None:
    def region(start: Any, end: Any, text: str, label: str = "p") -> dict[str, Any]:
        return {"value": {"start": start, "end": end, "text": text, "labels": [label]}}

    tasks: list[Any] = [
        {
            "data": {"text": "Ada met Bob"},
            "annotations": [
                {"was_cancelled": True, "result": [region(4, 7, "met")]},
                {"result": [region(0, 3, "Ada"), region(4, 7, "Bob"), region("x", 1, "A"), {}]},
            ],
        },
        {"data": {"review": "unlabelled"}},
        {"data": {"a": "x", "b": "y"}, "annotations": []},
        None,
    ]
    path = tmp_path / "export.json"
    path.write_text(json.dumps(tasks))
    task = open_task(path)
    assert task.examples.targets.tolist() == [((0, 3, "p"),), None]
    assert [(p.kind, p.where) for p in task.problems] == [
        ("bad-row", ("task 2", "task 3")),
        ("bad-target", ("task 0",)),
    ]
    path.write_text('[{"annotations"')
    with pytest.raises(DataError, match="is not JSON"):
        open_task(path)


@settings(
    deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_mutated_spans_end_in_a_task_or_in_a_sentence(tmp_path: Path, data: st.DataObject) -> None:
    record = {"text": "Ada met Bob", "spans": [[0, 3, "p"], {"start": 8, "end": 11, "label": "q"}]}
    task = {"data": {"text": "Ada"}, "annotations": [{"result": [{"value": record}]}]}
    name, whole = data.draw(
        st.sampled_from(
            [("x.jsonl", f"{json.dumps(record)}\n" * 3), ("x.json", json.dumps([task] * 2))]
        )
    )
    content = bytearray(whole.encode())
    for _ in range(data.draw(st.integers(1, 6))):
        place = data.draw(st.integers(0, len(content)))
        piece = data.draw(st.sampled_from([b"", b"9", b"null", b"\0", b"\xff", b'"', b"[", b"{}"]))
        content[place : place + data.draw(st.integers(0, 6))] = piece
    (tmp_path / name).write_bytes(bytes(content))
    try:
        opened = open_task(tmp_path / name)
    except DataError:
        return
    if opened.kind == "tagging":
        unfold(opened)
