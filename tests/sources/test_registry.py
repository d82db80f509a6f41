"""Schemes, plug-ins, and what is said about names that aren't known."""

import pytest

from retarget.core.errors import UsageError
from retarget.sources import registry
from retarget.sources.pixels import PixelSource
from retarget.sources.registry import available, fetchable, resolve, schemes


class Point:
    """An entry point of another package."""

    def __init__(self, name, load):
        self.name, self.value, self.load = name, f"{name}.module", load


@pytest.fixture
def plug_ins(monkeypatch):
    """Pretend that packages with these entry points are installed."""

    def install(*points):
        monkeypatch.setattr(registry, "RESOLVERS", dict(registry.RESOLVERS))
        monkeypatch.setattr(registry, "entry_points", lambda group: list(points))
        registry.load_schemes.cache_clear()

    schemes()
    yield install
    registry.load_schemes.cache_clear()


def test_a_plug_in_adds_a_scheme(plug_ins):
    plug_ins(Point("zoo", lambda: registry.register("zoo")(lambda rest: PixelSource())))
    assert "zoo" in schemes()
    assert isinstance(resolve("zoo:lion"), PixelSource)


def test_a_broken_plug_in_is_a_warning_that_names_it(plug_ins):
    def broken():
        raise ImportError("no module named lion")

    plug_ins(Point("zoo", broken))
    with pytest.warns(UserWarning, match=r"'zoo' \(zoo\.module\).*no module named lion"):
        assert "bundled" in schemes()


@pytest.mark.parametrize(
    ("uri", "hint"),
    [
        ("efficientnet-lite0", "bundled:efficientnet-lite0"),
        ("bundeld:efficientnet-lite1", "bundled:efficientnet-lite1"),
        ("dinov2-small", "hf:facebook/dinov2-small"),
    ],
)
def test_an_unknown_uri_names_the_schemes_and_what_was_meant(uri, hint):
    with pytest.raises(UsageError) as caught:
        resolve(uri)
    assert f"Did you mean {hint}?" in str(caught.value)
    assert all(f"{scheme}:" in str(caught.value) for scheme in schemes())


@pytest.mark.parametrize("uri", ["", ":", "what", "\x1b[2J:x", "a" * 10_000])
def test_nonsense_is_a_usage_error_that_is_safe_to_show(uri):
    with pytest.raises(UsageError) as caught:
        resolve(uri)
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    "uri",
    [
        "bundled:nothing",
        "timm:../../x",
        "timm:",
        "hf:../x",
        "hf:a/b/c",
        "hf:",
        "file:",
        "file:/no/such/place",
        "file:/tmp?seed=1",
        "random:",
        "random:pixels:",
        "random:nothing:x",
        "pixels:big",
    ],
)
def test_names_that_a_scheme_does_not_know_are_usage_errors(uri):
    with pytest.raises(UsageError):
        resolve(uri)


def test_a_folder_without_a_model_is_said(tmp_path):
    with pytest.raises(UsageError, match="holds no model"):
        resolve(f"file:{tmp_path}")


def test_sources_are_listed_here_or_to_be_fetched_but_never_both(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    here, away = available("image"), fetchable("image")
    assert not {s.uri for s in here} & {s.uri for s in away}
    assert all(s.facts.pretrained and s.facts.here for s in here)
    for source in away:
        facts = source.facts
        assert facts.licence and facts.trained_on and facts.parameters and facts.how_to_get
        assert facts.megabytes == pytest.approx(facts.parameters * 4e-6, rel=0.03)
        assert resolve(source.uri).uri == source.uri
    sizes = [s.facts.megabytes for s in away]
    assert sizes == sorted(sizes)
    assert all(s.facts.modality == "text" for s in available("text"))
    assert available("audio") == []


def test_seeds_are_read_from_the_end_of_a_uri(tmp_path):
    import torch

    torch.save({"a": torch.zeros(1)}, tmp_path / "w.pt")
    uri = f"random:file:{tmp_path}/w.pt?arch=test_resnet&seed=4"
    assert resolve(uri).uri == uri
    assert resolve("random:resnet18?seed=0").uri == "random:timm:resnet18"
    assert resolve("random:resnet18?seed=3").uri == "random:timm:resnet18?seed=3"
    assert resolve("random:random:resnet18").uri == "random:timm:resnet18"
