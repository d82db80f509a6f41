"""Users' own modules: registered, changed, saved, opened again."""

import sys
import types

import pytest
import torch
from torch import nn

from retarget.core.errors import SourceError, UsageError
from retarget.sources import own
from retarget.sources.encoder import Encoder, Layer
from retarget.sources.own import importable, own_source
from retarget.sources.recipe import Recipe
from retarget.sources.registry import resolve


@pytest.fixture(autouse=True)
def only_ours(monkeypatch):
    """A registry of this test's own."""
    monkeypatch.setattr(own, "_REGISTERED", {})


def network(channels=4):
    return nn.Sequential(nn.Conv2d(3, channels, 3), nn.ReLU(), nn.Conv2d(channels, 5, 3))


def register(model, name="net", **options):
    @own_source(name, **{"size": 16, **options})
    def builder():
        return model

    return builder


def test_features_are_the_modules_own_whatever_form_they_have(picture):
    maps = network()
    tokens = nn.Sequential(network(), nn.Flatten(2))
    vector = nn.Sequential(network(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    for model in (maps, tokens, vector):
        register(model)
        encoder = resolve("own:net").load()
        batch = encoder.prepare(picture)[None]
        with torch.inference_mode():
            output = model(batch)
            found = encoder.pooled(batch, "mean")["pooled"]
        expected = {4: lambda o: o.mean((2, 3)), 3: lambda o: o.mean(1), 2: lambda o: o}
        torch.testing.assert_close(found, expected[output.dim()](output))


def test_pictures_enter_as_was_said(picture):
    recipe = Recipe((16, 16), "exact", (16, 16), "bicubic", (0.1,) * 3, (0.5,) * 3)
    register(network(), recipe=recipe)
    assert torch.equal(
        resolve("own:net").load().prepare(picture), torch.from_numpy(recipe.apply(picture))
    )
    register(network(), mean=(0.2, 0.3, 0.4), std=(0.5, 0.6, 0.7))
    told = resolve("own:net").load().preprocessing()
    assert (told["size"], told["mean"], told["std"]) == (
        [16, 16], [0.2, 0.3, 0.4], [0.5, 0.6, 0.7],
    )  # fmt: skip


def test_training_does_not_change_the_users_module():
    model = network()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    register(model)
    encoder = resolve("own:net").load()
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter += 1
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())


def test_the_fingerprint_follows_weights_name_preprocessing_and_edition():
    model, other = network(), network()
    prints = []
    for options in ({}, {"name": "net2"}, {"size": 24}, {"edition": 2}):
        register(model, **options)
        prints.append(resolve(f"own:{options.get('name', 'net')}").fingerprint)
    register(other)
    prints.append(resolve("own:net").fingerprint)
    assert len(set(prints)) == 5
    register(model, title="Told otherwise")
    assert resolve("own:net").fingerprint == prints[0]
    with torch.no_grad():
        model[0].weight[0, 0, 0, 0] += 1e-3
    assert resolve("own:net").fingerprint != prints[0]


def test_random_weights_keep_nothing_of_what_was_learned():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.token = nn.Parameter(torch.arange(64.0).reshape(8, 8))
            self.norm = nn.BatchNorm2d(3)
            self.body = network()

        def forward(self, x):
            return self.body(self.norm(x)).mean((2, 3)) + self.token[0, :5]

    model = Net()
    model.norm.running_mean += 3
    register(model)
    first, again, other = (resolve("own:net").random(seed).load() for seed in (1, 1, 2))
    a, b, c = (encoder.model.state_dict() for encoder in (first, again, other))
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not torch.equal(a["body.0.weight"], c["body.0.weight"])
    assert not torch.equal(a["body.0.weight"], model.state_dict()["body.0.weight"])
    assert torch.equal(a["norm.running_mean"], torch.zeros(3))
    assert not torch.equal(a["token"], model.token)
    assert torch.equal(a["token"].flatten().sort().values, model.token.flatten())


def test_a_saved_folder_needs_the_code_and_says_which(tmp_path, monkeypatch):
    register(network())
    source = resolve("own:net")
    source.save(tmp_path / "saved")
    opened = resolve(f"file:{tmp_path / 'saved'}")
    assert opened.fingerprint == source.fingerprint
    batch = torch.randn(2, 3, 16, 16)
    expected = source.load().pooled(batch, "mean")["pooled"]
    # Other weights now; those of the folder are meant.
    register(network())
    torch.testing.assert_close(opened.load().pooled(batch, "mean")["pooled"], expected)
    register(network(7))
    with pytest.raises(SourceError, match="don't fit own:net"):
        opened.load()
    register(network(), edition=2)
    with pytest.raises(SourceError, match="its code has changed"):
        opened.load()
    own._REGISTERED.clear()
    with pytest.raises(SourceError, match=r'Import the module .* @own_source\("net"\) first'):
        opened.load()


def test_nothing_that_a_file_names_is_imported(tmp_path):
    register(network())
    resolve("own:net").save(tmp_path / "saved")
    path = tmp_path / "saved" / "source.json"
    path.write_text(path.read_text().replace('"net"', '"antigravity"'))
    with pytest.raises(SourceError, match="own:antigravity is not known"):
        resolve(f"file:{tmp_path / 'saved'}").load()
    assert "antigravity" not in sys.modules


class UsersEncoder(Encoder):
    layers = (Layer("maps", 4), Layer("pooled", 4))
    detail = 640
    input_shape = (3, 8, 8)

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def prepare(self, raw):
        return torch.full((3, 8, 8), float(raw.width))

    def forward(self, batch):
        maps = self.conv(batch).flatten(2).transpose(1, 2)
        return {"maps": maps, "pooled": maps.mean(dim=1, keepdim=True)}


def test_an_encoder_of_the_users_own_is_taken_as_it_is(tmp_path, picture):
    @own_source("encoder")
    def builder():
        return UsersEncoder()

    source = resolve("own:encoder")
    source.save(tmp_path / "saved")
    opened = resolve(f"file:{tmp_path / 'saved'}")
    assert opened.fingerprint == source.fingerprint
    a, b = source.load(), opened.load()
    batch = a.prepare(picture)[None]
    assert torch.equal(a(batch)["pooled"], b(batch)["pooled"])
    assert a.split_at("maps").shape == (4, 6, 6)
    assert not torch.equal(source.random(3).load()(batch)["pooled"], a(batch)["pooled"])
    with pytest.raises(SourceError, match="does not take pictures"):
        resolve("own:encoder?size=32").load()


def test_the_module_to_import_is_known_unless_it_is_a_script(tmp_path):
    module = types.ModuleType("their.package")
    code = "def build():\n    raise RuntimeError\n"
    exec(compile(code, "their.py", "exec"), module.__dict__)
    own_source("net", size=16)(module.build)
    assert importable(resolve("own:net")) == "their.package"
    assert importable(resolve("random:own:net?size=32&seed=2")) == "their.package"
    assert importable(resolve("small:")) is None
    register(network()).__module__ = "__main__"
    source = resolve("own:net")
    assert importable(source) is None
    source.save(tmp_path / "saved")
    own._REGISTERED["net"].builder.__module__ = "mine"
    assert importable(resolve(f"file:{tmp_path / 'saved'}")) == "mine"
    own._REGISTERED.clear()
    assert importable(resolve(f"file:{tmp_path / 'saved'}")) is None


@pytest.mark.parametrize("name", ["", "a b", "../x", "own:net", "a?size=3"])
def test_names_that_no_file_could_hold_are_refused(name):
    with pytest.raises(UsageError, match="no name of a source"):
        own_source(name)


@pytest.mark.parametrize("options", [{"size": 0}, {"std": (0, 0, 0)}, {"mean": (0.5,)}])
def test_numbers_that_cannot_be_are_refused(options):
    with pytest.raises(UsageError, match="own_source"):
        own_source("net", **{"size": 16, **options})


def test_what_is_no_network_of_pictures_is_said():
    with pytest.raises(UsageError, match="known: none yet"):
        resolve("own:net")
    register("weights.pt")
    with pytest.raises(SourceError, match="returned str"):
        resolve("own:net").load()
    own_source("net")(network)
    with pytest.raises(SourceError, match="a size or a recipe"):
        resolve("own:net").load()

    class Told(nn.Module):
        def forward(self, x):
            return {"logits": x}

    register(Told())
    with pytest.raises(SourceError, match="returns dict, not a tensor"):
        resolve("own:net").load()
