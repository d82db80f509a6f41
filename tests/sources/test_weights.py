"""Files of weights nobody vouches for: nothing runs, nothing escapes, nothing is allocated."""

import json
import pickle
import struct
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save, save_file

from retarget.core.errors import RetargetError, SourceError, UsageError
from retarget.sources.blueprint import Blueprint, check_plain
from retarget.sources.registry import resolve
from retarget.sources.weights import check_safetensors, fill, inside, read_tensors


class Bomb:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self):
        return (Path.write_text, (self.trace, "ran"))


@pytest.mark.parametrize("ending", [".pkl", ".pickle", ".joblib", ".h5", ".keras", ".onnx", ".txt"])
def test_kinds_of_files_that_could_run_code_are_refused_unopened(ending, tmp_path):
    trace = tmp_path / "trace"
    path = tmp_path / f"model{ending}"
    path.write_bytes(pickle.dumps(Bomb(trace)))
    with pytest.raises(SourceError, match=r"not opened|no file of weights"):
        resolve(f"file:{path}?arch=test_resnet").load()
    assert not trace.exists()


@pytest.mark.parametrize("ending", [".pt", ".pth", ".bin"])
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_state_dict_with_code_in_it_is_refused_and_does_not_run(ending, wrapped, tmp_path):
    trace = tmp_path / "trace"
    path = tmp_path / f"model{ending}"
    content = {"state_dict": {"a": torch.zeros(2), "b": Bomb(trace)}}
    if wrapped:
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content))
    with pytest.raises(SourceError, match="damaged or holds code"):
        resolve(f"file:{path}?arch=test_resnet").load()
    assert not trace.exists()


def test_a_pickle_in_a_model_folder_is_refused(tmp_path):
    trace = tmp_path / "trace"
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "test_resnet"}))
    torch.save(Bomb(trace), tmp_path / "pytorch_model.bin")
    with pytest.raises(SourceError, match="damaged or holds code"):
        resolve(f"file:{tmp_path}").load()
    assert not trace.exists()


def with_header(path: Path, header: bytes, claimed: int | None = None, body: bytes = b"") -> Path:
    length = len(header) if claimed is None else claimed
    path.write_bytes(struct.pack("<Q", length) + header + body)
    return path


HUGE = {"a": {"dtype": "F32", "shape": [10**9, 10], "data_offsets": [0, 4 * 10**10]}}


@pytest.mark.parametrize(
    ("header", "claimed"),
    [
        (b"{}", 2**62),
        (b"{}", 8 * 10**9),
        (json.dumps(HUGE).encode(), None),
        (b"[1, 2]", None),
        (b"{" * 100_000, None),
        (b'{"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}', None),
        (b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}}', None),
        (b'{"a": {"dtype": "X1", "shape": [1], "data_offsets": [0, 4]}}', None),
        (b'{"a": 3}', None),
        (b"", None),
    ],
)
def test_a_safetensors_header_that_lies_is_refused_before_anything_is_allocated(
    header, claimed, tmp_path
):
    path = with_header(tmp_path / "model.safetensors", header, claimed)
    tracemalloc.start()
    started = time.process_time()
    with pytest.raises(SourceError, match="damaged"):
        resolve(f"file:{path}?arch=test_resnet").load()
    assert time.process_time() - started < 2
    assert tracemalloc.get_traced_memory()[1] < 20_000_000
    tracemalloc.stop()


GOOD = save({"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(4, dtype=torch.int64)})


@settings(deadline=None, max_examples=300)
@given(st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), max_size=4))
def test_a_mutated_safetensors_file_loads_or_is_refused(tmp_path_factory, changes):
    data = bytearray(GOOD)
    for place, value in changes:
        data[place] = value
    path = tmp_path_factory.mktemp("mutated") / "m.safetensors"
    path.write_bytes(bytes(data))
    try:
        tensors = read_tensors(path)
    except SourceError:
        return
    assert sum(value.numel() for value in tensors.values()) <= 10


def test_shapes_are_read_from_the_header(tmp_path):
    save_file({"a": torch.zeros(2, 3), "s": torch.tensor(1.0)}, tmp_path / "m.safetensors")
    assert check_safetensors(tmp_path / "m.safetensors") == {"a": (2, 3), "s": ()}


def test_nested_state_dicts_and_wrappers_are_understood(tmp_path):
    tensors = {"module.a": torch.ones(2)}
    torch.save({"epoch": 3, "state_dict": tensors}, tmp_path / "m.pth")
    assert list(read_tensors(tmp_path / "m.pth")) == ["a"]


@pytest.mark.parametrize("content", [[torch.ones(1)], {}, {"a": "text"}])
def test_what_is_no_state_dict_is_refused(content, tmp_path):
    torch.save(content, tmp_path / "m.pt")
    with pytest.raises(SourceError, match="no state dict"):
        read_tensors(tmp_path / "m.pt")


def test_weights_that_do_not_fit_are_named():
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    own = dict(model.state_dict())
    own.pop("1.num_batches_tracked")
    fill(model, own, "it")
    own["0.weight"] = torch.zeros(3, 5)
    del own["0.bias"]
    own["extra"] = torch.zeros(1)
    with pytest.raises(SourceError) as caught:
        fill(model, own, "the model")
    for part in ("missing (0.bias)", "unexpected (extra)", "0.weight is (3, 5) where (3, 2)"):
        assert part in str(caught.value)


def test_a_bare_state_dict_needs_and_takes_an_architecture(models, tmp_path, picture):
    import timm

    model = timm.create_model("test_resnet", num_classes=5).eval()
    torch.save(model.state_dict(), tmp_path / "w.pt")
    with pytest.raises(UsageError, match=r"arch=resnet18"):
        resolve(f"file:{tmp_path}/w.pt")
    source = resolve(f"file:{tmp_path}/w.pt?arch=test_resnet")
    encoder = source.load()
    batch = encoder.prepare(picture)[None]
    with torch.inference_mode():
        expected = model.forward_head(model.forward_features(batch), pre_logits=True)
        np.testing.assert_allclose(encoder(batch)["pooled"][:, 0], expected, atol=1e-6)
    beside = resolve(f"file:{models}/cnn/model.safetensors")
    assert beside.blueprint == resolve(f"file:{models}/cnn").blueprint
    with pytest.raises(SourceError, match="don't fit test_vit"):
        resolve(f"file:{tmp_path}/w.pt?arch=test_vit").load()
    with pytest.raises(SourceError, match=r"has no model 'test_resnot'.*test_resnet"):
        resolve(f"file:{tmp_path}/w.pt?arch=test_resnot").load()


def test_files_that_lead_out_of_their_folder_are_refused(tmp_path):
    folder, secret = tmp_path / "model", tmp_path / "secret.json"
    folder.mkdir()
    secret.write_text("{}")
    (folder / "link.json").symlink_to(secret)
    (folder / "ok.json").write_text("{}")
    assert inside(folder, "ok.json").name == "ok.json"
    for name in ("link.json", "../secret.json", str(secret)):
        with pytest.raises(SourceError, match="leads out"):
            inside(folder, name)
    with pytest.raises(SourceError, match="holds no file"):
        inside(folder, "none.json")


@pytest.mark.parametrize("kind", ["cnn", "hf-vit"])
def test_a_linked_file_of_weights_is_refused(kind, models, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    for path in (models / kind).iterdir():
        if path.name == "model.safetensors":
            (folder / path.name).symlink_to(path)
        else:
            (folder / path.name).write_bytes(path.read_bytes())
    with pytest.raises(SourceError, match="leads out"):
        resolve(f"file:{folder}").load()


def copied(models: Path, folder: Path, name: str = "hf-vit") -> Path:
    folder.mkdir()
    for path in (models / name).iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


@pytest.mark.parametrize("place", ["../x.safetensors", "/etc/passwd", "missing.safetensors", 7])
def test_an_index_of_shards_that_points_elsewhere_is_refused(place, models, tmp_path):
    folder = copied(models, tmp_path / "model")
    (folder / "model.safetensors").rename(tmp_path / "x.safetensors")
    index = {"weight_map": {"a": place}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(SourceError, match=r"leads out|holds no file|does not say"):
        resolve(f"file:{folder}").load()


def test_shards_are_put_together(models, tmp_path):
    folder = copied(models, tmp_path / "model")
    tensors = read_tensors(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    parts = {"a.safetensors": names[:9], "b.safetensors": names[9:]}
    for part, held in parts.items():
        save_file({name: tensors[name] for name in held}, folder / part)
    index = {"weight_map": {name: part for part, held in parts.items() for name in held}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    ours, whole = resolve(f"file:{folder}").load(), resolve(f"file:{models}/hf-vit").load()
    assert all(map(torch.equal, ours.state_dict().values(), whole.state_dict().values()))


@pytest.mark.parametrize(
    "changes",
    [
        {"auto_map": {"AutoModel": "evil.Model"}},
        {"vision_config": {"model_type": "vit", "auto_map": {"AutoConfig": "evil.C"}}},
        {"attn_implementation": "someone/kernel"},
        {"model_type": "../evil"},
        {"model_type": "nosuchmodel"},
        {"model_type": None},
        {"hidden_size": 10**12},
        {"num_hidden_layers": "many"},
    ],
)
def test_a_configuration_that_asks_for_code_or_nonsense_is_refused(changes, models, tmp_path):
    folder = copied(models, tmp_path / "model")
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'trace')!r}, 'w')")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))
    with pytest.raises(RetargetError):
        resolve(f"file:{folder}").load()
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"architecture": "hf-hub:someone/model"},
        {"architecture": "local-dir:/tmp"},
        {"architecture": 3},
        {"model_args": {"checkpoint_path": "/tmp/evil.pth"}},
        {"model_args": {"pretrained": True}},
        {"model_args": [1]},
        {"model_args": {"nonsense": 1}},
        {"pretrained_cfg": {"input_size": [3, 0, 0]}},
        {"pretrained_cfg": {"input_size": [1, 64, 64]}},
        {"pretrained_cfg": {"input_size": "large"}},
        {"pretrained_cfg": {"std": [0, 0, 0]}},
        {"pretrained_cfg": {"interpolation": "__import__"}},
    ],
)
def test_a_timm_configuration_that_asks_for_files_or_nonsense_is_refused(changes, models, tmp_path):
    folder = copied(models, tmp_path / "model", "cnn")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))
    with pytest.raises(SourceError):
        resolve(f"file:{folder}").load()


def test_missing_files_of_a_folder_are_said(models, tmp_path):
    folder = copied(models, tmp_path / "model")
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(SourceError, match=r"no preprocessor_config\.json"):
        resolve(f"file:{folder}").load()
    (folder / "model.safetensors").unlink()
    with pytest.raises(SourceError, match=r"neither model\.safetensors nor pytorch_model\.bin"):
        resolve(f"file:{folder}").load()


@pytest.mark.parametrize("form", ["folder", "parts", "file"])
def test_state_dicts_of_hugging_face_are_read_like_safetensors(models, tmp_path, form):
    folder = copied(models, tmp_path / "model")
    expected = resolve(f"file:{folder}").load()
    tensors = read_tensors(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    uri = f"file:{folder}"
    if form == "parts":
        names = sorted(tensors)
        parts = {"a.bin": names[::2], "b.bin": names[1::2]}
        for part, own in parts.items():
            torch.save({name: tensors[name] for name in own}, folder / part)
        places = {name: part for part, own in parts.items() for name in own}
        index = folder / "pytorch_model.bin.index.json"
        index.write_text(json.dumps({"weight_map": places}))
    elif form == "folder":
        torch.save(tensors, folder / "pytorch_model.bin")
    else:
        torch.save(tensors, folder / "mine.pt")
        uri = f"file:{folder / 'mine.pt'}"
    source = resolve(uri)
    found = source.load()
    assert source.uri == uri
    batch = expected.example_batch(2)
    with torch.no_grad():
        for name, value in expected(batch).items():
            assert torch.equal(found(batch)[name], value)


def test_a_state_dict_with_code_in_a_hugging_face_folder_is_refused(models, tmp_path):
    folder, trace = copied(models, tmp_path / "model"), tmp_path / "trace"
    (folder / "model.safetensors").unlink()
    torch.save(Bomb(trace), folder / "pytorch_model.bin")
    with pytest.raises(SourceError, match="holds code"):
        resolve(f"file:{folder}").load()
    assert not trace.exists()


def test_missing_and_misshapen_tensors_of_a_hugging_face_folder_are_named(models, tmp_path):
    folder = copied(models, tmp_path / "model")
    tensors = read_tensors(folder / "model.safetensors")
    del tensors["vit.layernorm.weight"]
    tensors["vit.embeddings.cls_token"] = torch.zeros(1, 1, 7)
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(SourceError, match="don't fit"):
        resolve(f"file:{folder}").load()


def test_plain_configurations_are_bounded():
    check_plain({"a": [1, 2.5, None, True, "x", {"pretrained": False}]})
    deep: dict = {}
    for _ in range(20):
        deep = {"a": deep}
    for bad in (deep, {"a": float("nan")}, {"a": object()}, {"a": 10**9}):
        with pytest.raises(SourceError):
            check_plain(bad)
    with pytest.raises(SourceError, match="library"):
        Blueprint.from_record({"library": "os", "architecture": "system", "arguments": {}})
    with pytest.raises(SourceError, match="can't be built"):
        Blueprint("pixels", "pixels").build(0)


def test_a_configuration_that_asks_for_far_more_than_its_weights_hold_is_not_built(
    models, tmp_path
):
    vit, hf = copied(models, tmp_path / "vit", "vit"), copied(models, tmp_path / "hf")
    told = json.loads((vit / "config.json").read_text())
    told["model_args"] |= {"embed_dim": 40_000, "num_heads": 2}
    (vit / "config.json").write_text(json.dumps(told))
    config = json.loads((hf / "config.json").read_text())
    (hf / "config.json").write_text(json.dumps(config | {"hidden_size": 40_000}))
    for folder in (vit, hf):
        with pytest.raises(SourceError, match=r"asks for .* parameters"):
            resolve(f"file:{folder}").load()
