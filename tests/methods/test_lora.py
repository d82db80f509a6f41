"""Adapters: where they go, what PEFT makes of them, that merging changes nothing."""

import sys

import numpy as np
import pytest
import torch
from torch import nn

from retarget.core.errors import MissingExtraError, UsageError
from retarget.methods import lora
from retarget.methods.adapters import adapter_size, base_of, largest_rank, put_in, save, targets
from retarget.methods.lora import Dora, Ia3, Lora
from retarget.sources.registry import resolve

KINDS = (Lora, Dora, Ia3)


class Mixed(nn.Module):
    """Every sort of layer that adapters may or may not be put at."""

    def __init__(self) -> None:
        super().__init__()
        self.plain = nn.Linear(6, 5)
        self.pointwise = nn.Conv2d(8, 8, 1)
        self.wide = nn.Conv2d(8, 8, 3)
        self.depthwise = nn.Conv2d(8, 8, 3, groups=8)
        self.mirrored = nn.Conv2d(8, 8, 3, padding_mode="reflect")
        self.attends = nn.MultiheadAttention(8, 2)
        self.fused = nn.TransformerEncoderLayer(8, 2, 16)
        self.standard = Standardised(8, 8, 1)
        self.bounded = nn.utils.parametrizations.weight_norm(nn.Linear(4, 4))
        self.norm = nn.BatchNorm2d(8)


class Standardised(nn.Conv2d):
    """Its weight is not what it multiplies with."""

    def forward(self, x):
        return nn.functional.conv2d(x, self.weight / self.weight.std())


@pytest.fixture(scope="module")
def hf(tmp_path_factory):
    """A tiny random ViT as Hugging Face saves one."""
    import transformers as t

    torch.manual_seed(1)
    config = t.ViTConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48,
        image_size=32, patch_size=8,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("hf-vit")
    t.ViTModel(config).save_pretrained(folder)
    t.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def shaken(model, seed=0):
    """Adapters that are not where they start."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name or "ia3_" in name:
                noise = torch.randn(parameter.shape, generator=generator)
                parameter.add_(0.2 * noise * (1 + parameter.abs().mean()))


def batch(encoder, n=3):
    generator = torch.Generator().manual_seed(3)
    return torch.randn(n, *encoder.input_shape, generator=generator)


def features(encoder, x):
    with torch.no_grad():
        return encoder.eval().pooled(x, "mean")[encoder.layers[-1].name]


def test_targets_are_found_by_type_and_by_what_they_do():
    assert set(targets(Mixed())) == {"plain", "pointwise", "wide"}


def test_transposed_linear_layers_of_transformers_are_targets():
    from transformers.pytorch_utils import Conv1D

    layer = Conv1D(6, 10)
    assert set(targets(nn.Sequential(layer))) == {"0"}
    assert adapter_size(layer, 2) == 2 * (6 + 10)


@pytest.mark.parametrize("rank", [1, 3])
def test_the_size_of_an_adapter_is_that_of_pefts(rank, toy):
    for architecture in ("test_vit", "test_resnet"):
        encoder = toy.ToySource(architecture).load()
        expected = sum(adapter_size(m, rank) for m in targets(base_of(encoder)).values())
        how = Lora(rank=rank, alpha=1.0)
        _, names = put_in(encoder, how, encoder.groups(), seed=0)
        sizes = dict(encoder.named_parameters())
        assert sum(sizes[name].numel() for name in names) == expected


@pytest.mark.parametrize("kind", [Lora, Dora])
@pytest.mark.parametrize("most", [0.02, 0.05, 0.5])
def test_the_rank_leaves_most_parameters_alone(kind, most, toy):
    head = 2 * 65

    def share(rank):
        encoder = toy.ToySource("test_vit").load()
        whole = sum(p.numel() for p in encoder.parameters()) + head
        _, names = put_in(encoder, kind(rank=rank, alpha=1.0), encoder.groups(), seed=0)
        sizes = dict(encoder.named_parameters())
        return (sum(sizes[name].numel() for name in names) + head) / whole

    rank = largest_rank(toy.ToySource("test_vit").load(), kind(), 16, 2, most)
    assert rank == 1 or share(rank) <= most
    assert rank == 16 or share(2 * rank) > most


def test_ranks_follow_from_the_number_of_labels(toy, monkeypatch):
    monkeypatch.setattr(lora, "MOST_TRAINED", 1.0)
    encoder = toy.ToySource("test_resnet").load()
    few = Lora().settled(encoder, toy.subject("test_resnet", n=40))
    given = Lora(rank=3).settled(encoder, toy.subject("test_resnet", n=40))
    more = Lora().settled(encoder, toy.subject("test_resnet", n=201))
    assert (few.rank, few.alpha, more.rank) == (4, 8.0, 8)
    assert (given.rank, given.alpha) == (3, 6.0)
    assert Ia3().settled(encoder, toy.subject("test_resnet", n=40)).rank is None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("architecture", ["test_vit", "test_resnet"])
def test_an_adapter_changes_nothing_before_it_is_trained(kind, architecture, toy):
    encoder = toy.ToySource(architecture).load()
    x = batch(encoder)
    before = features(encoder, x)
    put_in(encoder, kind().settled(encoder, toy.subject(n=8)), encoder.groups(), seed=0)
    torch.testing.assert_close(features(encoder, x), before, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("architecture", ["test_vit", "test_resnet", "test_efficientnet"])
def test_merged_equals_unmerged(kind, architecture, toy):
    source = toy.ToySource(architecture)
    encoder = source.load()
    x = batch(encoder)
    before = features(encoder, x)
    how = kind().settled(encoder, toy.subject(n=8))
    model, _ = put_in(encoder, how, encoder.groups(), seed=0)
    shaken(model)
    unmerged = features(encoder, x)
    model.merge_and_unload()
    merged = features(encoder, x)
    assert (unmerged - before).abs().max() > 1e-3
    assert (merged - unmerged).abs().max() <= 1e-5 * max(1.0, float(unmerged.abs().max()))
    assert set(encoder.weights()) == set(source.load().weights())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("library", ["timm", "transformers"])
def test_peft_loads_what_was_written(kind, library, toy, hf, tmp_path):
    from peft import PeftModel

    source = toy.ToySource("test_resnet") if library == "timm" else resolve(f"file:{hf}")
    encoder = source.load()
    x = batch(encoder)
    how = kind().settled(encoder, toy.subject(n=8))
    model, _ = put_in(encoder, how, encoder.groups(), seed=0)
    shaken(model)
    expected = features(encoder, x)
    folder = save(model, tmp_path / "adapter")
    again = source.load()
    assert (features(again, x) - expected).abs().max() > 1e-3
    loaded = PeftModel.from_pretrained(again.model, folder)
    torch.testing.assert_close(features(again, x), expected, rtol=1e-5, atol=1e-5)
    loaded.merge_and_unload()
    torch.testing.assert_close(features(again, x), expected, rtol=1e-4, atol=1e-5)


def test_only_adapters_and_head_are_trained_and_the_rest_is_bit_equal(toy):
    encoder = toy.ToySource("test_resnet").load()
    before = {name: value.clone() for name, value in encoder.weights().items()}
    how = Lora(epochs=3, batch=8, lr=2e-2, augment=0.0, refit=False)
    subject = toy.subject("test_resnet")
    found = how.fit(subject)
    tuned = resolve(found.uri).load().weights()
    at = {f"{name}.weight" for name in targets(base_of(encoder))}
    for name, value in before.items():
        same = torch.equal(tuned[name], value)
        assert same or name in at, name
    assert any(not torch.equal(tuned[name], before[name]) for name in at)


def test_the_adapter_beside_the_encoder_is_that_of_the_encoder(toy):
    from peft import PeftModel

    subject = toy.subject("test_vit", n=32, judging=8)
    found = Lora(epochs=2, batch=8, lr=1e-2, refit=False).fit(subject)
    encoder = subject.source.load()
    x = batch(encoder)
    PeftModel.from_pretrained(encoder.model, found.adapter)
    merged = resolve(found.uri).load()
    torch.testing.assert_close(features(encoder, x), features(merged, x), rtol=1e-4, atol=1e-5)


def test_layers_before_the_first_one_get_no_adapter(toy):
    encoder = toy.ToySource("test_vit").load()
    groups = encoder.groups()
    late = {name for g in groups[-2:] for name in g.parameters}
    subject = toy.subject("test_vit", n=24, judging=8)
    ready = Lora(from_layer=groups[-2].layer, rank=2, alpha=2.0).begin(encoder, subject)
    names = [n for part in ready.parts for n in part.names if "lora_" in n]
    owners = {n.removeprefix("encoder.").split(".lora_")[0] + ".weight" for n in names}
    assert owners and owners <= late


def test_an_encoder_without_a_place_for_adapters_is_refused(toy):
    encoder = toy.ToySource("test_vit").load()
    with pytest.raises(UsageError, match="finetune, bitfit or norms"):
        put_in(encoder, Lora(rank=1, alpha=1.0), [], seed=0)


def test_peft_is_asked_for_by_its_line(toy, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    encoder = toy.ToySource("test_vit").load()
    with pytest.raises(MissingExtraError, match=r"retarget\[tune\]"):
        put_in(encoder, Lora(rank=1, alpha=1.0), encoder.groups(), seed=0)


@pytest.mark.parametrize("settings", [{"rank": 0}, {"dropout": 1.0}, {"dropout": -0.1}])
def test_impossible_settings_are_refused(settings):
    with pytest.raises(UsageError):
        Lora(**settings)


def test_settings_are_json(toy):
    import json
    from dataclasses import asdict

    for kind in KINDS:
        made = kind(rank=2)
        assert kind(**json.loads(json.dumps(asdict(made)))) == made


def test_random_starts_are_those_of_the_seed(toy):
    def start(seed):
        encoder = toy.ToySource("test_vit").load()
        put_in(encoder, Lora(rank=2, alpha=2.0), encoder.groups(), seed)
        return np.concatenate(
            [p.detach().ravel() for n, p in encoder.named_parameters() if "lora_A" in n]
        )

    np.testing.assert_array_equal(start(1), start(1))
    assert not np.array_equal(start(1), start(2))
