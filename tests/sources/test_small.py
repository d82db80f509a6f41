"""The small network: what it is, and that it learns."""

import pytest
import torch

from retarget.core.errors import SourceError, UsageError
from retarget.sources.blueprint import Blueprint
from retarget.sources.registry import available, fetchable, resolve


def test_it_is_four_convolutions_as_plain_torch_would_have_them():
    source = resolve("small:")
    encoder = source.load()
    assert sum(p.numel() for p in encoder.parameters()) == source.facts.parameters
    assert [layer.width for layer in encoder.layers] == [32, 64, 128, 256, 256]
    assert (source.facts.pretrained, source.facts.title) == (False, "Small CNN at 64 pixels")
    state = encoder.model.state_dict()
    batch = x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    for i in (1, 2, 3, 4):
        x = torch.nn.functional.conv2d(x, state[f"stage{i}.0.weight"], padding=1)
        mean, var = state[f"stage{i}.1.running_mean"], state[f"stage{i}.1.running_var"]
        x = (x - mean[:, None, None]) / (var + 1e-5).sqrt()[:, None, None]
        x = x.clamp(min=0).unfold(2, 2, 2).unfold(3, 2, 2).amax(dim=(4, 5))
    with torch.inference_mode():
        found = encoder.pooled(batch, "mean")["pooled"]
    torch.testing.assert_close(found, x.mean(dim=(2, 3)), rtol=1e-4, atol=1e-5)


def test_the_plain_one_has_the_weights_of_seed_0():
    plain, same, other = (
        resolve(uri) for uri in ("small:", "random:small:", "random:small:?seed=3")
    )
    assert plain.fingerprint == same.fingerprint != other.fingerprint
    a, b, c = (source.load().state_dict() for source in (plain, same, other))
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not torch.equal(a["model.stage1.0.weight"], c["model.stage1.0.weight"])


def test_it_is_not_offered_as_a_pretrained_source():
    assert "small:" not in {source.uri for source in [*available(), *fetchable()]}


def test_it_has_no_name_and_no_other_architecture():
    with pytest.raises(UsageError, match="takes no name"):
        resolve("small:big")
    with pytest.raises(SourceError, match="no small model 'mlp'"):
        Blueprint("small", "mlp").build(0)
