import csv
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retarget.core.errors import DataError, UnreadableInput
from retarget.tasks import modalities
from retarget.tasks.encodings import decode
from retarget.tasks.memory import references_of
from retarget.tasks.open import open_task
from retarget.tasks.texts import identify_text, keep_text, load_text, measure_text
from retarget.tasks.words import Worded


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp1252"])
def test_a_text_is_the_same_in_any_encoding(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("Schöne Grüße\nan alle".encode(encoding))
    assert load_text(path) == "Schöne Grüße\nan alle"
    assert identify_text(path) == identify_text("Schöne Grüße\nan alle")


ROWS = {
    "Latin": "text,label\nGood – very good,a\nŻółć is bad,b\n",
    "Cyrillic": "text,label\nОчень хорошо,a\nЏер и Њива,b\nплохо,a\n",
    "Chinese": "text,label\n" + "".join(f"上一个字很好{i},a\n" for i in range(9)),
    "Gujarati": "text,label\nસારું છે,a\nખરાબ છે,b\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n",
}


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("script", ROWS)
def test_utf_16_without_its_mark_is_known(script: str, encoding: str, tmp_path: Path) -> None:
    text = ROWS[script]
    decoded = decode(text.encode(encoding))
    assert (decoded.text, decoded.encoding, decoded.how) == (text, "UTF-16", "form")
    (tmp_path / "x.csv").write_bytes(text.encode(encoding))
    (tmp_path / "y.csv").write_bytes(text.encode())
    found, expected = open_task(tmp_path / "x.csv"), open_task(tmp_path / "y.csv")
    assert found.examples.inputs["text"] == expected.examples.inputs["text"]
    assert found.problems == ()


@pytest.mark.parametrize("codec", ["utf-32-le", "utf-32-be"])
def test_utf_32_is_known_by_its_mark(codec: str, tmp_path: Path) -> None:
    text = ROWS["Latin"] + "🙂,a\n"
    data = f"\ufeff{text}".encode(codec)
    decoded = decode(data)
    assert (decoded.text, decoded.encoding, decoded.how) == (text, "UTF-32", "mark")
    (tmp_path / "x.csv").write_bytes(data)
    task = open_task(tmp_path / "x.csv")
    assert task.examples.inputs["text"][-1] == "🙂"
    assert task.problems == ()
    # A surrogate, which UTF-32 may not hold, spoils its character only.
    damaged = decode(f"\ufeffa\nb{chr(0xD800)}c\n".encode(codec, "surrogatepass"))
    assert (damaged.text, damaged.encoding, damaged.damaged) == ("a\nb\ufffdc\n", "UTF-32", (2,))
    (tmp_path / "x.txt").write_bytes(data)
    assert load_text(tmp_path / "x.txt") == text


def test_a_cell_that_is_too_long_is_said_to_be_and_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("retarget.tasks.tables._LONGEST_CELL", 1000)
    before = csv.field_size_limit(1000)
    try:
        path = tmp_path / "x.csv"
        path.write_text('text,label\nfine,a\n"two\nlines",b\n' + "x" * 1001 + ",a\ngood,b\n")
        with pytest.raises(DataError, match=r"too long, of more than 1,000 .* begins at line 5\."):
            open_task(path)
        path.write_text("text,label\nfine,a\n" + '"never closed,b\n' + "fine,a\n" * 200)
        with pytest.raises(DataError, match=r"begins at line 3\. .*quotation mark"):
            open_task(path)
        path.write_text("text,label\nfine,a\n" + "x" * 1000 + ",b\n")
        assert len(open_task(path)) == 2
    finally:
        csv.field_size_limit(before)


def test_spans_are_read_in_utf_16_too(tmp_path: Path) -> None:
    lines = [json.dumps({"text": "Anna ran", "label": [[0, 4, "who"]]}) for _ in range(3)]
    for name, encoding in (("x", "utf-16-le"), ("y", "utf-16")):
        path = tmp_path / f"{name}.jsonl"
        path.write_bytes("\n".join(lines).encode(encoding))
        assert open_task(path).classes == ("who",)


@settings(deadline=None, max_examples=100)
@given(st.text(min_size=4, max_size=200), st.lists(st.integers(0, 200), max_size=2))
def test_one_or_two_nul_bytes_make_no_utf_16(text: str, places: list[int]) -> None:
    data = bytearray(text.replace("\0", "").encode("utf-8", "replace") + b"and more of it\n")
    for place in places:
        data.insert(min(place, len(data)), 0)
    if not data.startswith((b"\xff\xfe", b"\xfe\xff")):
        assert decode(bytes(data)).encoding != "UTF-16"


def test_bad_bytes_spoil_their_line_only() -> None:
    decoded = decode("grün\n".encode() + b"gr\xfcn\n" + "grün".encode())
    assert (decoded.text, decoded.foreign) == ("grün\ngrün\ngrün", (2,))


@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.one_of(st.text(), st.tuples(st.text(), st.text())))
def test_what_is_kept_is_the_same_text(tmp_path: Path, text: Any) -> None:
    try:
        known = identify_text(text)
    except UnreadableInput:
        return
    path = keep_text(text, tmp_path / "kept")
    assert identify_text(path) == known
    assert load_text(path) == load_text(text)


def test_words_are_kept_and_surrogates_made_whole(tmp_path: Path) -> None:
    text = Worded("ab \ud800c", ((0, 2), (3, 5)))
    path = keep_text(text, tmp_path / "kept")
    assert load_text(path) == Worded("ab \ufffdc", ((0, 2), (3, 5)))
    assert identify_text(path) == identify_text(text) != identify_text("ab \ud800c")
    assert measure_text(text) == {"length, characters": 5, "length, words": 2}
    for words in ([[0, 0]], [[0, 9]], [[1, 2], [0, 1]], [3]):
        path.write_text(json.dumps({"text": "abc", "words": words}))
        with pytest.raises(UnreadableInput, match="words"):
            load_text(path)


def test_a_string_is_never_opened_where_texts_are_read(tmp_path: Path) -> None:
    path = tmp_path / "secret.txt"
    path.write_text("secret")
    assert references_of("text", [str(path), ["a", "b"], None]) == [str(path), ("a", "b"), ""]
    assert modalities.caption("text", "a\n b\x1b", 20) == "a b\\x1b"


def test_what_is_wrong_in_a_table_is_counted_and_named(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    rows = [b"text,label", b"fine,a", b"gr\xfcn,b", b"one,two,three", b"n\0l,a", b"  ,a"]
    path.write_bytes(b"\n".join([*rows, b"x" * 1_000_001 + b",a", b"good,b"]))
    task = open_task(path)
    assert task.examples.inputs["text"] == ["fine", "grün", "good"]
    assert [(p.kind, p.where) for p in task.problems] == [
        ("encoding", ("line 3",)),
        ("bad-row", ("line 4",)),
        ("bad-row", ("line 5",)),
        ("unreadable", ("line 6",)),
        ("unreadable", ("line 7",)),
    ]


@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.binary(max_size=80))
@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl"])
def test_any_bytes_are_a_task_or_one_sentence(suffix: str, data: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"x.{suffix}"
    path.write_bytes(b'{"text": "a"}\n' * (suffix == "jsonl") + b"text\ta\n" + data)
    try:
        assert len(open_task(path)) >= 1
    except DataError as error:
        assert len(str(error)) > 20


def test_pairs_splits_and_domains_of_several_tables(tmp_path: Path) -> None:
    for name in ("train", "dev"):
        (tmp_path / f"{name}.tsv").write_text("premise\thypothesis\tlabel\na\tb\tx\nc\td\ty\n")
    task = open_task(tmp_path)
    assert task.examples.inputs["text"][0] == ("a", "b")
    assert task.examples.splits.tolist() == ["val", "val", "train", "train"]
    (tmp_path / "dev.tsv").rename(tmp_path / "oslo.tsv")
    (tmp_path / "train.tsv").rename(tmp_path / "rome.tsv")
    assert open_task(tmp_path).examples.domains.tolist() == ["oslo"] * 2 + ["rome"] * 2


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_tables_of_texts_hold_numbers_groups_and_domains(suffix: str, tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(
        {
            "review": ["good", "bad", "so so", "fine"],
            "stars": [4.5, 1.25, None, 3.0],
            "writer": ["ann", "bob", "ann", None],
            "shop": ["oslo", "rome", "rome", "oslo"],
        }
    )
    path = tmp_path / f"x.{suffix}"
    if suffix == "parquet":
        frame.to_parquet(path)
    elif suffix == "csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_json(path, orient="records", lines=True)
    columns = {"label": "stars", "group": "writer", "domain": "shop"}
    task = open_task(path, columns=columns)
    examples = task.examples
    assert (task.kind, task.classes) == ("regression", ("stars",))
    assert examples.inputs["text"] == ["good", "bad", "so so", "fine"]
    assert examples.targets[[0, 1, 3]].tolist() == [4.5, 1.25, 3.0]
    assert task.labelled.tolist() == [True, True, False, True]
    assert examples.groups.tolist() == ["ann", "bob", "ann", ""]
    assert examples.domains.tolist() == ["oslo", "rome", "rome", "oslo"]
    assert task.problems == ()


def test_bad_bytes_in_a_folder_of_texts_are_named_with_their_file(tmp_path: Path) -> None:
    for label, number in (("a", 1), ("a", 2), ("b", 3), ("b", 4)):
        (tmp_path / label).mkdir(exist_ok=True)
        (tmp_path / label / f"{number}.txt").write_text(f"Grüße {number}\nan alle", "utf-8")
    (tmp_path / "b" / "5.txt").write_bytes("fünf\nund\n".encode() + b"gr\xfcn")
    (tmp_path / "b" / "6.txt").write_bytes(b"nul\0")
    task = open_task(tmp_path)
    assert "fünf\nund\ngrün" in task.examples.inputs["text"]
    assert [(p.kind, p.where, p.left_out) for p in task.problems] == [
        ("encoding", ("b/5.txt line 3",), False),
        ("unreadable", ("b/6.txt",), True),
    ]
    assert "1 line of b/5.txt is not UTF-8 (line 3)" in task.problems[0].what
