import numpy as np
import pytest
import torch

from retarget.core.errors import SourceError
from retarget.sources import saved, static_source
from retarget.sources.registry import resolve
from retarget.sources.static_source import read_vectors


def test_vectors_are_read_as_a_plain_loop_reads_them(text_models):
    path = text_models / "vectors.vec"
    expected = {}
    for line in path.read_text().splitlines()[1:]:
        word, *numbers = line.split(" ")
        if len(numbers) == 5:
            expected[word] = [float(x) for x in numbers]
    words, vectors, left_out = read_vectors(path)
    assert words == list(expected)
    np.testing.assert_allclose(vectors, np.array(list(expected.values())), rtol=1e-6)
    assert left_out == 1
    assert resolve(f"file:{path}").left_out == 1


def test_bad_lines_are_left_out_and_counted(tmp_path):
    good = [f"w{i} 0.1 0.2 {i}" for i in range(10)]
    bad = [b"w0 1 2 3", b"nan nan 1 2", b"\xff\xfe 1 2 3", b"tab\t1 2 3 4", b"", b"\x00"]
    lines = [*(line.encode() for line in good), *bad, b". . . 1 2 3"]
    (tmp_path / "glove.txt").write_bytes(b"\n".join(lines) + b"\n")
    words, vectors, left_out = read_vectors(tmp_path / "glove.txt")
    assert words == [*(f"w{i}" for i in range(10)), ". . ."]
    assert vectors.shape == (11, 3)
    assert left_out == len(bad)


@pytest.mark.parametrize(
    "content", [b"", b"hello world\nthis is prose\n", b"3 5\n", b"\x00" * 300_000]
)
def test_other_texts_are_refused(tmp_path, content):
    (tmp_path / "notes.txt").write_bytes(content)
    with pytest.raises(SourceError, match="no file of word vectors"):
        resolve(f"file:{tmp_path / 'notes.txt'}").load()


def test_reading_is_bounded(text_models, monkeypatch):
    monkeypatch.setattr(static_source, "MOST_WORDS", 4)
    assert len(read_vectors(text_models / "vectors.vec")[0]) == 4
    monkeypatch.setattr(static_source, "MOST_BYTES", 50)
    with pytest.raises(SourceError, match="more vectors than fit"):
        read_vectors(text_models / "vectors.vec")


def test_a_kept_copy_spares_reading_the_file_again(text_models, monkeypatch):
    path = text_models / "vectors.vec"
    first = resolve(f"file:{path}")
    encoder = first.load()
    assert saved.is_kept(first.fingerprint)
    monkeypatch.setattr(static_source, "read_vectors", None)
    again = resolve(f"file:{path}").load()
    assert torch.equal(encoder.prepare("The cat"), again.prepare("The cat"))
    assert torch.equal(*(made.weights()["embedding.weight"] for made in (encoder, again)))
