"""What encoders say that a graph takes in becomes again what they read."""

import copy
from pathlib import Path

import pytest
import torch
from PIL import Image

from retarget.core.errors import SourceError
from retarget.core.types import Pooling
from retarget.sources.registry import resolve
from retarget.sources.text_encoder import TextEncoder
from retarget.sources.text_intake import TextIntake


@pytest.mark.parametrize("pooling", ["mean", "words"])
def test_what_texts_are_taken_apart_into_is_joined_again(
    text_models: Path, pooling: Pooling
) -> None:
    encoder = resolve(f"file:{text_models / 'bert'}").load()
    intake = encoder.intake([encoder, encoder], pooling)
    raws = ["the cat sat", "the dog barked at the cat " * 12]  # one of them of several windows
    (batch,) = intake.batches(raws)
    names = [entry.name for entry in intake.entries[0]]
    assert names == ["input_ids", "attention_mask", "token_type_ids", "words"][: len(names)]
    assert len(names) == (4 if pooling == "words" else 3)
    parts = intake.fed(raws)
    assert list(parts) == names
    assert set(parts["attention_mask"].unique().tolist()) == {0, 1, 2}
    joined = intake.joined(list(parts.values()))
    assert torch.equal(joined, batch)


def test_pictures_of_one_preprocessing_share_an_input() -> None:
    encoders = [resolve(uri).load() for uri in ("pixels:", "random:small:", "random:small:")]
    intake = encoders[0].intake(encoders, "mean")
    assert intake.numbers == (0, 1, 1)
    assert [entries[0].name for entries in intake.entries] == ["input", "input_1"]
    raws = [Image.new("RGB", (50, 40), "red")]
    fed = intake.fed(raws)
    assert torch.equal(fed["input_1"][0], encoders[1].prepare(raws[0]))
    assert tuple(fed["input"].shape[1:]) == intake.entries[0][0].shape[1:]


@pytest.mark.parametrize("beside", ["static", "long"])
def test_windows_are_compared_beside_an_encoder_of_longer_ones(
    text_models: Path, beside: str
) -> None:
    encoder = resolve(f"file:{text_models / 'bert'}").load()
    assert isinstance(encoder, TextEncoder)
    other = copy.copy(encoder)
    if beside == "static":
        found = resolve(f"file:{text_models / 'static'}").load()
        assert isinstance(found, TextEncoder)
        other = found
    else:
        other.length = 4_096
    intake, alone = TextIntake([encoder, other], "mean"), TextIntake([other], "mean")
    windows = max(encoder.windows(encoder.prepare(text)) for text in intake.tried)
    assert windows > 1
    assert f"a text of {windows} windows" in intake.compared
    assert "windows" not in alone.compared


def test_words_divided_in_two_ways_are_refused(text_models: Path) -> None:
    encoders = [resolve(f"file:{text_models / name}").load() for name in ("bert", "roberta")]
    assert len(encoders[0].intake(encoders, "mean").entries) == 2
    with pytest.raises(SourceError, match="different pieces"):
        encoders[0].intake(encoders, "words")
    with pytest.raises(SourceError, match="reads no texts"):
        encoders[0].intake([encoders[0], resolve("pixels:").load()], "mean")
