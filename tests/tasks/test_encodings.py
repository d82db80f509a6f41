"""Encodings, with Python's own codecs as the oracle: what they wrote is what is read."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retarget.core.errors import DataError
from retarget.tasks.encodings import codec_of, decode, marked_codec, name_of
from retarget.tasks.open import open_task

# (codec, name, texts): what people write in files of these encodings.
WRITTEN = (
    ("cp1252", "Windows-1252", ("Das Essen war schön und überaus würzig", "Größer als früher")),
    ("cp1250", "Windows-1250", ("Żółć jest zła ale piękne są łąki", "Dlaczego tak się stało")),
    ("cp1251", "Windows-1251", ("Очень хорошо и мне понравилось", "просто ужасно плохо")),
    ("koi8_r", "KOI8-R", ("Очень хорошо и мне понравилось", "просто ужасно плохо")),
    ("cp932", "Shift-JIS (CP932)", ("とても良い映画でした", "二度と見たくない")),
    ("gbk", "GB18030", ("这部电影非常好看", "我再也不想看了")),
    ("euc_kr", "EUC-KR (CP949)", ("정말 재미있는 영화였어요", "다시는 보고 싶지 않아요")),
)  # fmt: skip
SHORT = {
    "Russian": "Привет мир и все люди",
    "Chinese": "上一个字很好，你好。他是一个好人，我们的朋友",
    "Japanese": "これは日本語の文章です。とても良い。",
    "Korean": "한국어 문장 입니다 그리고 또",
    "Arabic": "مرحبا بالعالم كيف حالك",
}


@pytest.fixture(params=["not here", "old"])
def no_chardet(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    def detect(byte_str: bytes, should_rename_legacy: bool = False) -> dict[str, str]:
        """Version 5 takes no encodings to choose among."""
        return {"encoding": "MacCyrillic"}

    old = SimpleNamespace(detect=detect)
    monkeypatch.setitem(sys.modules, "chardet", None if request.param == "not here" else old)


def _table(folder: Path, codec: str, texts: tuple[str, ...]) -> Path:
    path = folder / "x.csv"
    rows = [f"{text},{label}" for text in texts for label in "ab"]
    path.write_bytes("\n".join(["text,label", *rows]).encode(codec))
    return path


@pytest.mark.parametrize(("codec", "name", "texts"), WRITTEN)
def test_what_is_stated_is_what_is_read(
    codec: str, name: str, texts: tuple[str, ...], tmp_path: Path
) -> None:
    task = open_task(_table(tmp_path, codec, texts), encoding=codec)
    assert task.examples.inputs["text"] == [text for text in texts for _ in "ab"]
    assert (task.kind, task.problems) == ("classification", ())
    assert f"read as {name_of(codec)} (as stated)" in task.why


@pytest.mark.parametrize(("codec", "name", "texts"), WRITTEN)
def test_files_of_usual_encodings_are_guessed_and_said_to_be(
    codec: str, name: str, texts: tuple[str, ...], tmp_path: Path
) -> None:
    pytest.importorskip("chardet")
    task = open_task(_table(tmp_path, codec, texts))
    assert task.examples.inputs["text"] == [text for text in texts for _ in "ab"]
    assert f"read as {name} (a guess from its bytes)" in task.why
    (problem,) = task.problems
    assert (problem.kind, problem.left_out) == ("encoding", False)
    assert problem.where == ("line 2", "line 3", "line 4", "line 5")
    assert f"read as {name}, which is a guess" in problem.what
    assert "--encoding NAME" in problem.what
    assert "pip install" not in problem.what


@pytest.mark.usefixtures("no_chardet")
def test_without_the_package_the_guess_is_windows_1252_and_how_to_do_better_is_said(
    tmp_path: Path,
) -> None:
    task = open_task(_table(tmp_path, "cp1251", WRITTEN[2][2]))
    assert task.examples.inputs["text"][0] == WRITTEN[2][2][0].encode("cp1251").decode("cp1252")
    assert "read as Windows-1252 (a guess from its bytes)" in task.why
    (problem,) = task.problems
    assert "4 lines of x.csv are not UTF-8 (lines 2 to 5)" in problem.what
    assert "--encoding NAME" in problem.what
    assert 'pip install "retarget[text]"' in problem.what


def test_a_guess_is_of_each_file_and_files_of_one_guess_are_told_together(tmp_path: Path) -> None:
    pytest.importorskip("chardet")
    told = {"a/1": ("cp1251", WRITTEN[2][2][0]), "a/2": ("cp932", "。".join(WRITTEN[4][2])),
            "b/1": ("cp1251", WRITTEN[2][2][1]), "b/2": ("utf-8", "schön")}  # fmt: skip
    for name, (codec, text) in told.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.txt").write_bytes(text.encode(codec))
    task = open_task(tmp_path)
    assert task.examples.inputs["text"] == [text for _, text in told.values()]
    assert [p.where for p in task.problems] == [("a/1.txt", "b/1.txt"), ("a/2.txt",)]
    assert "of 4 files read 2 as Windows-1251 (a guess from its bytes), 1 as" in task.why
    paths = [tmp_path / f"{name}.txt" for name in told]
    listed = open_task(paths, list("aabb"))
    assert listed.examples.inputs["text"] == task.examples.inputs["text"]
    assert len(listed.problems) == 2


@pytest.mark.parametrize("codec", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_how_an_encoding_was_told_is_said(codec: str, tmp_path: Path) -> None:
    reason = {"utf-8": "its bytes are valid", "utf-16-le": "by the form of its bytes"}
    task = open_task(_table(tmp_path, codec, ("good", "bad", "schön")))
    name = codec[:6].upper().rstrip("-")
    assert f"read as {name} ({reason.get(codec, 'by its mark')})" in task.why
    assert task.examples.inputs["text"][-1] == "schön"
    assert task.problems == ()


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("script", SHORT)
def test_one_line_of_utf_16_without_a_mark_is_known_in_any_script(script: str, codec: str) -> None:
    decoded = decode(SHORT[script].encode(codec))
    assert (decoded.text, decoded.encoding, decoded.how) == (SHORT[script], "UTF-16", "form")
    stated = decode(SHORT[script].encode(codec), "utf-16")
    assert (stated.text, stated.how) == (SHORT[script], "stated")


@pytest.mark.parametrize(("codec", "name", "texts"), WRITTEN)
def test_no_usual_encoding_is_taken_for_utf_16(
    codec: str, name: str, texts: tuple[str, ...]
) -> None:
    for text in (*texts, "".join(texts), "x".join(texts)):
        assert decode(text.encode(codec)).encoding != "UTF-16"
        assert decode(text.encode()).text == text


@pytest.mark.parametrize("codec", ["cp932", "gb18030", "euc_kr", "utf-8", "ascii", "cp1252"])
def test_bad_bytes_of_a_stated_encoding_are_named_by_line(codec: str, tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    # In none of these is the byte before the comma a whole character.
    path.write_bytes(b"text,label\ngood,a\nba\x81,b\nmore,a\nba\x81\nd,b\n")
    task = open_task(path, encoding=codec)
    assert task.examples.inputs["text"][:3] == ["good", "ba\ufffd", "more"]
    damaged, short = task.problems
    assert damaged.where == ("line 3", "line 5")
    assert f"hold bytes that are not {name_of(codec)} (line 3, line 5)" in damaged.what
    assert short.where == ("line 5",)


def test_a_few_bad_lines_of_utf_8_are_not_a_reason_to_guess() -> None:
    good, bad = "Очень хорошо".encode(), "größer\n".encode("cp1252")
    found = decode(b"\n".join([good, good, bad, b"plain"]))
    assert (found.encoding, found.how, found.foreign) == ("UTF-8", "valid", (3,))
    assert found.text.split("\n")[2] == "größer"


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_one_bad_line_spoils_no_other_however_lines_end(end: bytes, tmp_path: Path) -> None:
    texts = [f"Größe {i}" for i in range(11)]
    rows = [b"text,label", *(f"{text},{'ab'[i % 2]}".encode() for i, text in enumerate(texts))]
    rows[5] = "Größe 4,a".encode("cp1252")
    (tmp_path / "x.csv").write_bytes(end.join(rows))
    task = open_task(tmp_path / "x.csv")
    assert task.examples.inputs["text"] == texts
    assert "read as UTF-8 (its bytes are valid)" in task.why
    assert [(p.kind, p.where) for p in task.problems] == [("encoding", ("line 6",))]


@pytest.mark.parametrize(
    ("codec", "word"),
    [("iso2022_kr", "한국어"), ("iso2022_jp_2", "日本語"), ("hz", "中文"), ("utf-7", "日本")],
)
def test_a_bad_byte_does_not_undo_how_other_lines_are_read(codec: str, word: str) -> None:
    lines = [f"{word}{i}" for i in range(4)]
    rows = "\n".join(lines).encode(codec).split(b"\n")
    rows[1] += b"\xff"
    found = decode(b"\n".join(rows), codec)
    read = found.text.split("\n")
    assert [*read[:1], *read[2:]] == [*lines[:1], *lines[2:]]
    assert "\ufffd" in read[1]
    assert found.damaged == (2,)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("codec", ["cp932", "utf-16-le"])
def test_bad_bytes_are_named_by_line_however_lines_end(
    end: str, codec: str, tmp_path: Path
) -> None:
    bad = {"cp932": b"\x81", "utf-16-le": b"\x00\xd8"}[codec]  # half of a character
    first, last = (f"{row}{end}".encode(codec) for row in ("text,label", "good,b"))
    start = "ba".encode(codec) + bad + f",a{end}".encode(codec)
    (tmp_path / "x.csv").write_bytes(first + start + last)
    task = open_task(tmp_path / "x.csv", encoding=codec)
    assert task.examples.inputs["text"] == ["ba\ufffd", "good"]
    assert [(p.kind, p.where) for p in task.problems] == [("encoding", ("line 2",))]


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_the_same_bytes_are_the_same_text(data: bytes) -> None:
    assert decode(data) == decode(data)


@settings(deadline=None)
@given(st.text())
def test_what_is_stated_in_a_wide_encoding_comes_back(text: str) -> None:
    text = text.encode("utf-8", "replace").decode().lstrip("\ufeff")
    for codec in ("utf-16", "utf-32", "utf-8", "utf-8-sig", "gb18030"):
        assert decode(text.encode(codec), codec).text == text


@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_beginning_may_end_inside_of_a_character(size: int) -> None:
    data = "上🙂上🙂".encode()
    cut = decode(data[:-size], cut=True)
    assert (cut.text, cut.how) == ("上🙂上", "valid")


@pytest.mark.parametrize("name", ["klingon", "", "hex", "rot13", "undefined", "idna", "a\0b", "Ж"])
def test_what_is_no_text_encoding_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="There is no text encoding"):
        codec_of(name)
    path = _table(tmp_path, "utf-8", ("good",))
    with pytest.raises(DataError, match="There is no text encoding"):
        open_task(path, encoding=name)


@pytest.mark.parametrize("codec", [one[0] for one in WRITTEN])
def test_the_name_that_people_read_can_be_stated(codec: str) -> None:
    name = name_of(codec).partition(" (")[0]
    text = "Ж" if codec in ("cp1251", "koi8_r") else "a"
    assert text.encode(codec_of(name)) == text.encode(codec)


def test_an_encoding_of_nothing_is_refused() -> None:
    with pytest.raises(DataError, match="nothing was read from files"):
        open_task(["good", "bad"], ["a", "b"], encoding="utf-8")


@pytest.mark.parametrize("codec", ["utf-8-sig", "utf-16", "utf-32"])
def test_marks_are_those_that_python_writes(codec: str) -> None:
    assert marked_codec("a".encode(codec)) == codec
    assert marked_codec(b"a") is None


def test_columns_are_found_by_names_in_the_stated_encoding(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from retarget.cli.app import run

    path = tmp_path / "x.csv"
    rows = "".join(f"とても良い{i},正\n良くない{i},負\n" for i in range(5))
    path.write_bytes(f"本文,極性\n{rows}".encode("shift_jis"))
    options = ["--column", "text=本文", "--column", "label=極性", "--encoding", "shift_jis"]
    assert run(["inspect", str(path), *options]) == 0
    said = capsys.readouterr().out
    assert "read as SHIFT-JIS (as stated)" in said
    assert "正" in said
    assert "--encoding shift_jis" in said  # the command that fits on the same data
