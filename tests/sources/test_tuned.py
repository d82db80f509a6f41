"""Tuned encoders on disk: opened like any other source, and told apart from where they began."""

import json

import pytest
import torch

from retarget.core.errors import SourceError, StoreError
from retarget.sources.registry import resolve
from retarget.sources.tuned import save_tuned


def changed(encoder, by=0.5):
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(by)
    return encoder


@pytest.mark.parametrize("kind", ["cnn", "vit", "hf-vit"])
def test_it_opens_to_the_weights_that_were_written(kind, models, tmp_path, picture):
    source = resolve(f"file:{models / kind}")
    encoder = changed(source.load())
    again = resolve(save_tuned(source, encoder, tmp_path / "tuned"))
    loaded = again.load()
    assert loaded.weights().keys() == encoder.weights().keys()
    assert all(torch.equal(v, encoder.weights()[k]) for k, v in loaded.weights().items())
    assert torch.equal(loaded.prepare(picture), source.load().prepare(picture))
    assert loaded.preprocessing() == source.load().preprocessing()


def test_its_fingerprint_is_that_of_its_weights(models, tmp_path):
    source = resolve(f"file:{models / 'cnn'}")
    uris = [
        save_tuned(source, changed(source.load(), by), tmp_path / name)
        for name, by in (("a", 0.5), ("b", 0.5), ("c", 0.25))
    ]
    a, b, c = (resolve(uri).fingerprint for uri in uris)
    assert a == b and len({a, c, source.fingerprint}) == 3


def test_it_says_where_it_is_from_and_what_it_learned(models, tmp_path):
    source = resolve(f"file:{models / 'cnn'}")
    known = source.facts
    uri = save_tuned(source, source.load(), tmp_path / "tuned")
    record = json.loads((tmp_path / "tuned" / "source.json").read_text())
    assert record["origin"] == source.uri
    facts = resolve(uri).facts
    assert facts.trained_on.endswith("and this task") and facts.licence == known.licence
    blank = source.random(1)
    facts = resolve(save_tuned(blank, blank.load(), tmp_path / "scratch")).facts
    assert facts.trained_on == "this task" and not facts.pretrained


def test_a_tuned_encoder_can_be_tuned_and_saved_again(models, tmp_path):
    source = resolve(f"file:{models / 'cnn'}")
    once = resolve(save_tuned(source, changed(source.load()), tmp_path / "once"))
    twice = resolve(save_tuned(once, changed(once.load()), tmp_path / "twice"))
    twice.save(tmp_path / "copy")
    assert resolve(f"file:{tmp_path / 'copy'}").fingerprint == twice.fingerprint
    assert twice.facts.trained_on.count("this task") == 1


def test_a_source_without_a_blueprint_is_refused(tmp_path):
    pixels = resolve("pixels:")
    with pytest.raises(SourceError, match="pixels:"):
        save_tuned(pixels, pixels.load(), tmp_path / "tuned")


def test_a_folder_that_cannot_be_written_is_told(models, tmp_path):
    source = resolve(f"file:{models / 'cnn'}")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="RETARGET_CACHE"):
        save_tuned(source, source.load(), tmp_path / "file" / "tuned")
