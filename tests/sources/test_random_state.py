"""Random weights: drawn from a seed of their own, or not drawn where all are filled anyway."""

from typing import Any

import timm
import torch
import transformers
from torch import nn

from retarget.sources.blueprint import Blueprint
from retarget.sources.hf_encoder import filled_model
from retarget.sources.random_state import Undrawn, own_random_state
from retarget.sources.timm_encoder import build_timm


def test_nobody_elses_numbers_are_touched() -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    with own_random_state(7):
        drawn = nn.Linear(3, 3).weight
    assert torch.equal(torch.rand(4), expected)
    with own_random_state(7):
        assert torch.equal(nn.Linear(3, 3).weight, drawn)


def test_undrawn_draws_nothing_and_leaves_constants_as_they_should_be() -> None:
    with Undrawn():
        for draw in ("normal_", "uniform_"):
            value = torch.full((3, 4), 5.0)
            assert getattr(value, draw)() is value and not value.any()
        for init in (nn.init.normal_, nn.init.xavier_uniform_, nn.init.kaiming_normal_):
            parameter = nn.Parameter(torch.full((3, 4), 5.0))
            assert init(parameter) is parameter and not parameter.any()
        # Draws again until all are within bounds.
        nn.init.trunc_normal_(torch.full((3, 4), 5.0), a=-0.1, b=0.1)
        norm = nn.LayerNorm(4)
        made = torch.randn(1000)
    assert torch.equal(norm.weight, torch.ones(4))
    assert 0.8 < made.std() < 1.2, "new tensors are drawn as ever"


def test_filled_models_are_what_their_weights_say() -> None:
    library: Any = transformers
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = library.BertConfig(**sizes, intermediate_size=32, vocab_size=50)
    theirs = library.BertModel(config).eval()
    blueprint = Blueprint("transformers", "bert", {"config": config.to_dict()})
    ours = filled_model(blueprint, theirs.state_dict()).eval()
    ids = torch.randint(0, 50, (2, 9))
    with torch.inference_mode():
        assert torch.equal(ours(ids).last_hidden_state, theirs(ids).last_hidden_state)


def test_filled_pictures_models_too() -> None:
    library: Any = timm
    theirs = library.create_model("vit_tiny_patch16_224", num_classes=0, depth=2).eval()
    blueprint = Blueprint("timm", "vit_tiny_patch16_224", {"depth": 2})
    ours = build_timm(blueprint, theirs.state_dict()).model.eval()
    pictures = torch.randn(1, 3, 224, 224)
    with torch.inference_mode():
        assert torch.equal(ours(pictures), theirs(pictures))
