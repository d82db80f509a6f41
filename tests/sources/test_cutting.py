"""Encoders of every kind cut at every layer, and their parameters by depth."""

import copy
from contextlib import contextmanager

import pytest
import torch
from torch import nn

from retarget.core.errors import SourceError
from retarget.sources.encoder import Encoder, Layer
from retarget.sources.hf_encoder import HfEncoder
from retarget.sources.recipe import Recipe
from retarget.sources.registry import resolve

FILES = ("cnn", "vit", "hybrid", "swin", "convnext", "hf-vit", "hf-dinov2", "hf-convnext")


class OwnEncoder(Encoder):
    """A user's own, with shared activations, functions between modules and a token of its own."""

    layers = (Layer("edges", 8), Layer("shapes", 12, prefix=1), Layer("pooled", 6))
    detail = 640
    input_shape = (3, 16, 16)

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.act = nn.ReLU(inplace=True)
        self.edges = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8))
        self.shapes = nn.Conv2d(8, 12, 3)
        self.token = nn.Parameter(torch.randn(1, 1, 12, generator=generator))
        self.mix = nn.Linear(12, 12)
        self.unused = nn.Linear(2, 2)
        self.drop = nn.Dropout(0.5)
        self.last = nn.Linear(12, 6)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))

    def prepare(self, raw):
        return raw

    def forward(self, batch):
        batch -= 0.1
        edges = self.act(self.edges(batch))
        maps = self.act(self.shapes(nn.functional.avg_pool2d(edges, 2)))
        tokens = torch.cat(
            [self.token.expand(len(batch), -1, -1), maps.flatten(2).transpose(1, 2)], dim=1
        )
        tokens = self.mix(tokens)
        pooled = self.last(self.drop(tokens[:, 0] + tokens.mean(dim=1)))
        return {
            "edges": edges.flatten(2).transpose(1, 2),
            "shapes": tokens,
            "pooled": pooled[:, None],
        }


class Skipping(OwnEncoder):
    """One in which something passes by a layer."""

    def forward(self, batch):
        edges = self.act(self.edges(batch))
        found = super().forward(batch.clone())
        return found | {"pooled": found["pooled"] + edges.mean()}


class Functional(OwnEncoder):
    """One whose second layer is a sum that no module returns."""

    def forward(self, batch):
        found = super().forward(batch.clone())
        return found | {"shapes": found["shapes"] + self.token}


@pytest.fixture(scope="module")
def loaded() -> dict[str, Encoder]:
    return {}


@pytest.fixture(params=[*FILES, "small:", "own:contract-net", "hf-swin", "encoder"])
def encoder(request, models, loaded) -> Encoder:
    """An encoder of every kind; a copy, so that tests may change it."""
    kind = request.param
    if kind not in loaded:
        loaded[kind] = made(kind, models)
    return copy.deepcopy(loaded[kind])


def made(kind, models) -> Encoder:
    if kind == "encoder":
        return OwnEncoder().eval()
    if kind == "hf-swin":
        return windows()
    return resolve(kind if ":" in kind else f"file:{models}/{kind}").load()


def windows() -> Encoder:
    """A model whose layers are copies, turned around, of what its modules pass on."""
    import transformers

    torch.manual_seed(2)
    config = transformers.SwinConfig(
        image_size=32, patch_size=4, embed_dim=16, depths=[1, 1], num_heads=[2, 2], window_size=4
    )
    recipe = Recipe((32, 32), "exact", (32, 32), "bilinear", (0.5,) * 3, (0.5,) * 3)
    return HfEncoder(transformers.SwinModel(config), recipe, "swin")


def noise(encoder, count=4, seed=5):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, *encoder.input_shape, generator=generator)


def state_of(encoder):
    """All that must not change: tensors, modes, gradients wanted, hooks, what hangs on modules."""
    return (
        {name: value.clone() for name, value in encoder.state_dict().items()},
        [module.training for module in encoder.modules()],
        [parameter.requires_grad for parameter in encoder.parameters()],
        [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in encoder.modules()],
        [sorted(vars(module)) for module in encoder.modules()],
        torch.get_rng_state(),
    )


@contextmanager
def left_as_it_was(encoder):
    encoder(noise(encoder, 2))  # libraries may lay down hooks of their own in a first pass
    before = state_of(encoder)
    yield
    after = state_of(encoder)
    assert all(torch.equal(before[0][name], value) for name, value in after[0].items())
    assert before[1:5] == after[1:5]
    assert torch.equal(before[5], after[5])


def seeded_training_mode(encoder):
    """Training mode without what draws random numbers."""
    encoder.train()
    for module in encoder.modules():
        if "drop" in type(module).__name__.lower():
            module.eval()


def batch_norms(encoder):
    return {
        name: module
        for name, module in encoder.named_modules()
        if isinstance(module, nn.BatchNorm2d)
    }


def test_groups_hold_every_parameter_once(encoder):
    with left_as_it_was(encoder):
        groups = encoder.groups()
    assert [group.layer for group in groups] == [layer.name for layer in encoder.layers]
    named = [name for group in groups for name in group.parameters]
    assert sorted(named) == sorted(name for name, _ in encoder.named_parameters())
    assert groups[0].parameters
    assert sum(bool(group.parameters) for group in groups) >= 2


def test_a_loss_on_a_layer_reaches_exactly_the_groups_up_to_it(encoder):
    groups = encoder.groups()
    parameters = dict(encoder.named_parameters())
    never = {"unused.weight", "unused.bias", "model.embeddings.mask_token"}
    for depth, layer in enumerate(encoder.layers):
        encoder.zero_grad(set_to_none=True)
        encoder.pooled(noise(encoder), "mean")[layer.name].square().sum().backward()
        reached = {name for name, value in parameters.items() if value.grad is not None}
        upto = {name for group in groups[: depth + 1] for name in group.parameters}
        if depth == len(groups) - 1:
            assert upto - reached <= never
        assert reached <= upto
        assert upto - reached <= never
        moved = sum(bool(parameters[name].grad.abs().sum() > 0) for name in reached)
        assert moved >= 0.5 * len(reached)


def test_cut_anywhere_both_halves_are_the_whole(encoder):
    batch = noise(encoder)
    expected = {
        pooling: encoder.pooled(batch.clone(), pooling)
        for pooling in ("mean", "mean+max", "tokens")
    }
    names = [layer.name for layer in encoder.layers]
    for i, name in enumerate(names[:-1]):
        with left_as_it_was(encoder):
            split = encoder.split_at(name)
            activations = split.prefix(batch.clone())
            found = {pooling: split.suffix(activations, pooling) for pooling in expected}
        assert activations.shape == (4, *split.shape)
        assert activations.dtype == torch.float32
        assert not activations.requires_grad
        for pooling, layers in found.items():
            assert list(layers) == names[i + 1 :]
            for layer, value in layers.items():
                torch.testing.assert_close(value, expected[pooling][layer], rtol=1e-4, atol=1e-5)


def test_gradients_behind_a_cut_are_those_of_the_whole(encoder):
    batch = noise(encoder)
    groups = encoder.groups()
    parameters = dict(encoder.named_parameters())
    for i, layer in enumerate(encoder.layers[:-1]):
        split = encoder.split_at(layer.name)
        behind = [name for group in groups[i + 1 :] for name in group.parameters]
        before = [name for group in groups[: i + 1] for name in group.parameters]
        if not behind:
            continue
        gradients = []
        for run in (
            lambda: encoder.pooled(batch.clone(), "mean"),
            lambda split=split: split.suffix(split.prefix(batch.clone()), "mean"),
        ):
            encoder.zero_grad(set_to_none=True)
            run()["pooled"].square().sum().backward()
            gradients.append({name: value.grad for name, value in parameters.items()})
        whole, cut = gradients
        assert all(cut[name] is None for name in before)
        for name in behind:
            assert (whole[name] is None) == (cut[name] is None)
            if whole[name] is not None:
                scale = float(whole[name].abs().max())
                torch.testing.assert_close(
                    cut[name], whole[name], rtol=1e-3, atol=1e-4 * scale + 1e-7
                )


def test_training_behind_a_cut_moves_the_statistics_behind_it_only(encoder):
    norms = batch_norms(encoder)
    if not norms:
        pytest.skip("no batch norm")
    groups = encoder.groups()
    for i, layer in enumerate(encoder.layers[:-1]):
        split = encoder.split_at(layer.name)
        seeded_training_mode(encoder)
        counts = {name: int(norm.num_batches_tracked) for name, norm in norms.items()}
        kept = {name: norm.running_mean.clone() for name, norm in norms.items()}
        found = split.suffix(split.prefix(noise(encoder)), "mean")
        assert all(value.requires_grad for value in found.values()) == any(
            group.parameters for group in groups[i + 1 : i + 2]
        )
        behind = {name for group in groups[i + 1 :] for name in group.parameters}
        for name, norm in norms.items():
            deeper = f"{name}.weight" in behind
            assert int(norm.num_batches_tracked) == counts[name] + deeper
            assert torch.equal(norm.running_mean, kept[name]) != deeper


def test_modules_before_a_cut_are_not_run_behind_it(encoder):
    groups = encoder.groups()
    ran = []
    for name, module in encoder.named_modules():
        if next(module.parameters(recurse=False), None) is None:
            continue
        inner = module.forward

        def counted(*args, name=name, inner=inner, **kwargs):
            ran.append(name)
            return inner(*args, **kwargs)

        module.forward = counted
    for i, layer in enumerate(encoder.layers[:-1]):
        split = encoder.split_at(layer.name)
        ran.clear()
        split.prefix(noise(encoder))
        first = set(ran)
        ran.clear()
        split.suffix(torch.randn(2, *split.shape), "mean")
        second = set(ran)
        before = {n.rpartition(".")[0] for group in groups[: i + 1] for n in group.parameters}
        behind = {n.rpartition(".")[0] for group in groups[i + 1 :] for n in group.parameters}
        whole = {"", "model"}  # holds a token of its own, or the weights of a function
        assert not second & (before - behind - whole)
        assert not first & (behind - before - whole)


def test_a_pass_that_fails_leaves_nothing_behind(encoder):
    split = encoder.split_at(encoder.layers[0].name)
    with left_as_it_was(encoder):
        with pytest.raises((RuntimeError, ValueError, AssertionError)):
            split.suffix(torch.zeros(2, 5, 1, 1, 1), "mean")
        with pytest.raises((RuntimeError, ValueError, AssertionError)):
            split.prefix(torch.zeros(2, 5))


def test_batches_of_any_size_go_through_both_halves(encoder):
    split = encoder.split_at(encoder.layers[0].name)
    batch = noise(encoder, 5)
    together = split.suffix(split.prefix(batch.clone()), "mean")
    for size in (1, 2, 5):
        part = split.suffix(split.prefix(batch[:size].clone()), "mean")
        for layer, value in part.items():
            torch.testing.assert_close(value, together[layer][:size], rtol=1e-4, atol=1e-5)


def test_halves_learn_as_they_are_changed():
    encoder = OwnEncoder().eval()
    split = encoder.split_at("edges")
    activations = split.prefix(noise(encoder))
    with torch.no_grad():
        encoder.last.bias += 1.0
    expected = encoder.pooled(noise(encoder), "mean")["pooled"]
    torch.testing.assert_close(split.suffix(activations, "mean")["pooled"], expected)


def test_modules_called_again_behind_the_cut_are_run_there():
    """The activation is shared between all layers: its first call is replaced, not its second."""
    encoder = OwnEncoder().eval()
    calls = []
    encoder.act.register_forward_hook(
        lambda module, inputs, output: calls.append(bool(output.any()))
    )
    split = encoder.split_at("edges")
    activations = split.prefix(noise(encoder))
    calls.clear()
    split.suffix(activations, "mean")
    assert calls == [True, True]
    split = encoder.split_at("shapes")
    calls.clear()
    split.suffix(torch.zeros(3, *split.shape), "mean")
    assert calls == [False, False]


@pytest.mark.parametrize(
    ("kind", "layer", "reason"),
    [
        (Skipping, "shapes", "depends on more than this layer"),
        (Functional, "shapes", "not the output of one of the model's modules"),
        (OwnEncoder, "pooled", "Choose from: edges, shapes"),
        (OwnEncoder, "nothing", "Choose from: edges, shapes"),
    ],
)
def test_what_cannot_be_cut_is_refused_with_the_reason(kind, layer, reason):
    encoder = kind().eval()
    with left_as_it_was(encoder), pytest.raises(SourceError, match=reason):
        encoder.split_at(layer)
