"""Files as they come: each is read, or refused in a sentence that says what is wrong with it."""

import gzip
import json
from pathlib import Path

import pytest

from retarget.core.errors import DataError
from retarget.tasks.open import open_task

LINES = [json.dumps({"text": text, "label": label}) for text, label in (("a", "x"), ("b", "y"))]
# (name, content): two examples each, however the lines end and whatever stands before them.
TWO = (
    ("ends.csv", "text,label\r\na,x\r\nb,y\r\n"),
    ("old.csv", "text,label\ra,x\rb,y\r"),
    ("old.jsonl", "\r".join(LINES)),
    ("ends.jsonl", "\r\n".join(LINES)),
    ("together.csv", "text,label\na,x\n\ufeffb,y\n"),
    ("together.jsonl", "\n\ufeff".join(LINES)),
    ("spaces.csv", " text , label \na,x\nb,y\n"),
    ("tabs.tsv", 'text\tlabel\n"a"\tx\nb\ty\n'),
)  # fmt: skip
# (name, content, what is said): nothing that could be read.
REFUSED = (
    ("empty.csv", b"", "is empty"),
    ("header.csv", b"text,label\n", "nothing but a header"),
    ("empty.jsonl", b"\xef\xbb\xbf\r\n", "is empty"),
    ("list.jsonl", b'[{"text": "a"}]', "holds a JSON list"),
    ("list.json", b'[{"text": "a"}]', r"one a line.*\.jsonl"),
    ("deep.jsonl", b"[" * 100_000, "holds a JSON list"),
    ("number.jsonl", b'{"text": "a", "label": ' + b"9" * 5000 + b"}", "No line of number.jsonl"),
    ("empty.conll", b"", "holds no examples: it is empty"),
    ("blank.conllu", b"\n\n \n", "holds no examples: it is empty"),
    ("packed.csv.gz", gzip.compress(b"text,label\na,x\n"), "archive"),
    ("packed.csv", gzip.compress(b"text,label\na,x\n" * 50), "not text"),
    ("nul.txt", b"\0" * 9, "NUL"),
)


@pytest.mark.parametrize(("name", "content"), TWO)
def test_lines_are_found_however_they_end(name: str, content: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content.encode())
    task = open_task(tmp_path / name)
    assert task.examples.inputs["text"] == ["a", "b"]
    assert (task.classes, task.problems) == (("x", "y"), ())


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("name", ["x.conll", "x.txt"])
def test_sentences_are_found_however_lines_end(
    end: str, mark: str, name: str, tmp_path: Path
) -> None:
    lines = ["Anna B-who", "ran O", "", f"{mark}Bo B-who", "sat O", ""]
    (tmp_path / name).write_bytes(end.join(lines).encode())
    task = open_task(tmp_path / name)
    assert [text.text for text in task.examples.inputs["text"]] == ["Anna ran", "Bo sat"]
    assert [spans[0].label for spans in task.examples.targets] == ["who", "who"]
    assert task.problems == ()


@pytest.mark.parametrize(("name", "content", "said"), REFUSED, ids=[one[0] for one in REFUSED])
def test_what_holds_nothing_is_refused_with_the_reason(
    name: str, content: bytes, said: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=said):
        open_task(tmp_path / name)


def test_rows_that_an_open_quotation_mark_swallowed_are_named_with_the_advice(
    tmp_path: Path,
) -> None:
    (tmp_path / "x.csv").write_text('text,label\nfine,x\n"never closed,x\nlost,y\nlost,y\n')
    task = open_task(tmp_path / "x.csv")
    assert task.examples.inputs["text"] == ["fine"]
    (problem,) = task.problems
    assert (problem.where, problem.left_out) == (("lines 3 to 5",), True)
    assert problem.what.endswith("left out. Look for a quotation mark that is not closed.")


@pytest.mark.parametrize("cell", ["[{[]}]", "[{[]: 1}]", "[" * 500, "[0, 1"])
def test_a_label_that_looks_like_a_list_and_is_none_is_a_class(cell: str, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(f'text,label\na,"{cell}"\nb,y\n')
    task = open_task(tmp_path / "x.csv")
    assert (set(task.classes), task.problems) == ({cell, "y"}, ())


def test_tokens_may_be_numbers_or_nothing(tmp_path: Path) -> None:
    records = [
        {"tokens": ["room", 12, None, "is"], "tags": ["O", "B-number", "O", "O"]},
        {"tokens": ["a", "b", "c"], "tags": ["O", "O", "O"]},
    ]
    (tmp_path / "x.jsonl").write_text("\n".join(map(json.dumps, records)))
    task = open_task(tmp_path / "x.jsonl")
    assert (task.kind, task.problems) == ("tagging", ())
    text, spans = task.examples.inputs["text"][0], task.examples.targets[0]
    assert [text.text[a:b] for a, b in text.words] == ["room", "12", "is"]
    assert [(text.text[s.start : s.end], s.label) for s in spans] == [("12", "number")]


def test_ends_of_spans_may_be_written_with_a_fraction_of_zero(tmp_path: Path) -> None:
    ends = ((0.0, 4.0), (0, 4), (0.0, 4.5))
    lines = [json.dumps({"text": "Anna ran", "spans": [[a, b, "who"]]}) for a, b in ends]
    (tmp_path / "x.jsonl").write_text("\n".join(lines))
    task = open_task(tmp_path / "x.jsonl")
    assert task.examples.targets[0] == task.examples.targets[1] == ((0, 4, "who"),)
    assert [p.where for p in task.problems] == [("line 3",)]


@pytest.mark.parametrize("codec", ["iso2022_jp", "iso2022_kr"])
def test_encodings_of_seven_bits_are_known_by_their_signs(codec: str, tmp_path: Path) -> None:
    word = "日本語" if codec == "iso2022_jp" else "한국어"
    (tmp_path / "x.csv").write_bytes(f"text,label\n{word},x\nb,y\n".encode(codec))
    task = open_task(tmp_path / "x.csv")
    assert task.examples.inputs["text"] == [word, "b"]
    assert "by the form of its bytes" in task.why


@pytest.mark.parametrize("label", ["😀", "🇳🇴", "👩\u200d👩\u200d👧", "метка", "a b"])
def test_labels_and_columns_may_be_of_any_script(label: str, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(f"мой текст,{label}\na,{label}\nb,y\n", "utf-8")
    task = open_task(tmp_path / "x.csv", columns={"text": "мой текст", "label": label})
    assert set(task.classes) == {label, "y"}
