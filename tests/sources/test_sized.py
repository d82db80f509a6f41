"""Other sizes of input: the same weights, the recipe in proportion."""

import json

import pytest
import torch

from retarget.core.errors import SourceError, UsageError
from retarget.sources.registry import resolve


@pytest.mark.parametrize("name", ["cnn", "convnext", "hf-convnext", "hf-dinov2"])
def test_a_model_that_takes_any_size_is_the_same_at_another(name, models, picture):
    plain, sized = resolve(f"file:{models}/{name}"), resolve(f"file:{models}/{name}?size=98")
    assert plain.fingerprint != sized.fingerprint
    a, b = plain.load(), sized.load()
    assert b.input_shape == (3, 98, 98)
    assert all(map(torch.equal, a.state_dict().values(), b.state_dict().values()))
    factor = 98 / max(a.preprocessing()["size"])
    for was, now in zip(
        a.preprocessing()["resize"]["to"], b.preprocessing()["resize"]["to"], strict=True
    ):
        assert abs(was * factor - now) <= 0.5
    batch = b.prepare(picture)[None]
    with torch.inference_mode():
        expected, found = a.pooled(batch, "mean"), b.pooled(batch, "mean")
    assert all(torch.equal(expected[name], value) for name, value in found.items())


@pytest.mark.parametrize("name", ["vit", "swin", "hf-vit"])
def test_a_model_of_one_size_says_so(name, models):
    source = resolve(f"file:{models}/{name}?size=100")
    with pytest.raises(SourceError, match="does not take pictures of 100 pixels"):
        source.load()


def test_size_stays_with_random_weights_and_in_saved_folders(models, tmp_path):
    source = resolve(f"file:{models}/cnn?size=80")
    made = source.random(4)
    assert made.uri == f"random:file:{models}/cnn?size=80&seed=4"
    again = resolve(made.uri)
    assert again.fingerprint == made.fingerprint
    assert again.load().input_shape == (3, 80, 80)
    source.save(tmp_path / "saved")
    record = json.loads((tmp_path / "saved" / "source.json").read_text())
    assert record["preprocessing"]["size"] == [80, 80]
    assert "side" not in record
    opened = resolve(f"file:{tmp_path / 'saved'}")
    assert opened.fingerprint == source.fingerprint
    assert opened.load().input_shape == (3, 80, 80)
    larger = resolve(f"file:{tmp_path / 'saved'}?size=96")
    assert larger.load().input_shape == (3, 96, 96)
    assert larger.fingerprint != opened.fingerprint


def test_a_bare_state_dict_takes_both_options(models):
    place = f"{models}/cnn/model.safetensors"
    source = resolve(f"file:{place}?arch=resnet10t&size=80")
    assert source.uri == f"file:{place}?arch=resnet10t&size=80"
    assert source.load().input_shape == (3, 80, 80)


@pytest.mark.parametrize("text", ["", "0", "15", "2049", "big", "64px", "-64"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(UsageError, match="is no size"):
        resolve(f"small:?size={text}")


def test_sources_without_a_model_have_one_size():
    with pytest.raises(UsageError, match="one size only"):
        resolve("pixels:?size=64")


def test_fingerprints_of_plain_sources_do_not_know_of_sizes(models):
    source = resolve(f"file:{models}/cnn")
    assert set(source.blueprint.record()) == {
        "library", "architecture", "arguments", "preprocessing",
    }  # fmt: skip
