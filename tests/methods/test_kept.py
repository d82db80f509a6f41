"""Kept trainings: found again, told apart, discarded when damaged, thrown away when too many."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from retarget.core.paths import cache_dir
from retarget.methods import kept, machine
from retarget.methods.base import Labels
from retarget.methods.finetune import FineTune
from retarget.methods.heads import LinearHead
from retarget.methods.lora import Lora
from retarget.methods.model import Member
from retarget.methods.scale import BlockScale
from retarget.methods.tuning import Epoch, Mix, TrainingCost, Tuned

KEY = "a" * 32


def member(value: float) -> Member:
    head = LinearHead(np.full((2, 3), value, np.float32), np.array([value, -value]))
    return Member(("pooled",), "finetune", BlockScale(*np.ones((2, 3), np.float32)), head, 1.5)


def tuned(key: str = KEY) -> Tuned:
    """A training whose encoder is a file of a few bytes."""
    folder = kept.folder_of(key)
    for name in ("encoder", "mix-0.5", "adapter"):
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / "model.safetensors").write_bytes(b"weights of " + name.encode())
    return Tuned(
        uri=f"file:{folder / 'encoder'}",
        member=member(0.25),
        validation=np.random.default_rng(0).normal(size=(4, 2)),
        epochs=(Epoch(0, 1.0, float("inf"), 0.5, 0.0, 0.1), Epoch(1, 0.5, 0.4, 0.75, 1e-3, 0.2)),
        taken=1,
        why="It was best.",
        gap=(0.1, -0.1, 0.3),
        cost=TrainingCost(100, 10, 1.5, 0.01, 20.0, 3.0),
        mixes=(
            Mix(0.0, 0.9, 0.5),
            Mix(0.5, 0.7, 0.6, f"file:{folder / 'mix-0.5'}", member(0.5)),
            Mix(1.0, 0.8, 0.6),
        ),
        settings={"lr": 0.001, "layers": ["a", "b"], "from_layer": None},
        notes=("Shortened.",),
        adapter=str(folder / "adapter"),
    )


def keep(key: str = KEY) -> Tuned:
    made = tuned(key)
    kept.keep(key, made, "classification", "mean")
    return made


def alike(a: Member, b: Member) -> bool:
    same = (a.layers, a.method, a.temperature) == (b.layers, b.method, b.temperature)
    arrays = [(a.head.arrays()[k], b.head.arrays()[k]) for k in a.head.arrays()]
    arrays += [(a.scale.centre, b.scale.centre), (a.scale.factor, b.scale.factor)]
    return same and all(np.array_equal(x, y) for x, y in arrays)


def test_what_is_found_is_what_was_kept():
    made, found = keep(), kept.find(KEY)
    assert found is not None
    np.testing.assert_array_equal(found.validation, made.validation)
    assert alike(found.member, made.member)
    assert alike(found.mixes[1].member, made.mixes[1].member)
    blank = {"member": made.member, "validation": made.validation, "mixes": ()}
    assert replace(found, **blank) == replace(made, **blank)
    for a, b in zip(found.mixes, made.mixes, strict=True):
        assert replace(a, member=None) == replace(b, member=None)
        assert (a.member is None) == (b.member is None)


def test_it_is_found_where_the_cache_was_moved_to(tmp_path, monkeypatch):
    keep()
    cache_dir().rename(tmp_path / "moved")
    monkeypatch.setenv("RETARGET_CACHE", str(tmp_path / "moved"))
    found = kept.find(KEY)
    assert found is not None
    for place in (found.uri.removeprefix("file:"), found.adapter):
        assert place.startswith(str(tmp_path / "moved"))


def test_nothing_is_found_of_what_was_never_kept():
    assert kept.find(KEY) is None
    tuned()  # an encoder that was written, its record not yet
    assert kept.find(KEY) is None


@pytest.mark.parametrize(
    "name",
    [
        "tuned.json",
        "validation.npy",
        "model.json",
        "heads.safetensors",
        "encoder/model.safetensors",
        "mix-0.5/model.safetensors",
        "adapter/model.safetensors",
    ],
)
@pytest.mark.parametrize("how", ["cut", "changed", "gone"])
def test_what_is_damaged_is_discarded(name, how):
    keep()
    path = kept.folder_of(KEY) / name
    whole = path.read_bytes()
    if how == "gone":
        path.unlink()
    else:
        path.write_bytes(whole[:-3] if how == "cut" else b"{" + whole[1:-1] + b"\x00")
    assert kept.find(KEY) is None
    assert how == "gone" or not kept.folder_of(KEY).exists()


@pytest.mark.parametrize("record", ["[]", "null", '{"version": 1}', '{"version": 9}', "{"])
def test_a_strange_record_is_discarded(record):
    keep()
    (kept.folder_of(KEY) / kept.RECORD).write_text(record)
    assert kept.find(KEY) is None
    assert not kept.folder_of(KEY).exists()


def test_nothing_in_a_record_leads_out_of_its_folder():
    keep()
    path = kept.folder_of(KEY) / kept.RECORD
    for field in ("encoder", "adapter"):
        told = json.loads(path.read_text())
        told[field] = "../../elsewhere"
        path.write_text(json.dumps(told))
        assert kept.find(KEY) is None
        keep()


def test_a_full_disk_keeps_nothing_and_hurts_nobody(monkeypatch):
    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    made = tuned()
    monkeypatch.setattr(kept, "written_whole", full)
    kept.keep(KEY, made, "classification", "mean")
    assert kept.find(KEY) is None


def test_the_least_recently_used_go_first_and_none_of_this_process(monkeypatch):
    monkeypatch.setattr(kept, "_in_use", set())
    keys = [c * 32 for c in "bcde"]
    for i, key in enumerate(keys):
        keep(key)
        os.utime(kept.folder_of(key) / kept.RECORD, (i + 1, i + 1))
    size = kept.folder_megabytes(kept.folder_of(keys[0]))
    kept.prune(2.5 * size)
    assert all(kept.folder_of(key).exists() for key in keys)
    kept._in_use.clear()
    assert kept.find(keys[0]) is not None  # used now, so it is the youngest
    kept._in_use.clear()
    kept.prune(2.5 * size)
    left = [key for key in keys if kept.folder_of(key).exists()]
    assert left == [keys[0], keys[3]]
    kept.prune(0.0)
    assert not any(kept.folder_of(key).exists() for key in keys)


def test_pruning_an_empty_cache_does_nothing():
    kept.prune(0.0)


def test_every_thing_that_decides_a_training_decides_its_key(toy):
    subject = toy.subject(n=8, judging=2)
    source, settings = subject.source, {"lr": 0.1}

    def key(method=FineTune, settings=settings, source=source, **other):
        return kept.training_key(method, settings, source, replace(subject, **other))

    labels = subject.labels
    ids = np.array([f"{i + 1:032x}" for i in range(8)])
    others = [
        key(Lora),
        key(settings={"lr": 0.2}),
        key(source=toy.ToySource("test_resnet")),
        key(inputs=replace(subject.inputs, ids=ids)),
        key(labels=replace(labels, values=1 - labels.values)),
        key(labels=replace(labels, outputs=3)),
        key(labels=replace(labels, weights=labels.weights * 2)),
        key(labels=Labels("regression", labels.values.astype(float), 2, labels.weights)),
        key(validation=~subject.validation),
        key(metric="auroc"),
        key(pooling="cls"),
        key(seed=1),
        key(seconds=60.0),
    ]
    assert len({key(), *others}) == 1 + len(others)
    assert key() == key()
    assert key(title="Another title", device="cuda", callbacks=(object(),)) == key()


def test_other_versions_are_other_trainings(toy, monkeypatch):
    subject = toy.subject(n=8, judging=2)
    before = kept.training_key(FineTune, {}, subject.source, subject)
    monkeypatch.setattr(
        kept, "versions_of", lambda names: {n: "9.9" if n == "torch" else "1" for n in names}
    )
    assert kept.training_key(FineTune, {}, subject.source, subject) != before
    monkeypatch.undo()
    monkeypatch.setattr(kept, "EDITION", kept.EDITION + 1)
    assert kept.training_key(FineTune, {}, subject.source, subject) != before


@pytest.mark.parametrize("changed", ["variable", "another machine"])
def test_where_the_machine_decides_the_precision_it_decides_the_key(toy, monkeypatch, changed):
    subject = toy.subject(n=8, judging=2)

    def keys():
        return [
            kept.training_key(FineTune, {"precision": one}, subject.source, subject)
            for one in ("auto", "float32", "bf16")
        ]

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True}, raising=False)
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    before = keys()
    assert machine.machine_of("auto") == ("cpu", True)
    if changed == "variable":
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX512_CORE")
    else:
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {})
        monkeypatch.setattr(machine.platform, "node", lambda: "another")
    assert machine.machine_of("auto") == ("cpu", False)
    after = keys()
    assert after[0] != before[0] and after[1:] == before[1:]


def test_a_machine_is_asked_once_and_later_without_torch():
    code = """
import sys
from retarget.methods.machine import machine_of
print(machine_of("cpu"), "torch" in sys.modules)
"""
    said = [
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
        for _ in range(2)
    ]
    first, second = (done.stdout.strip() for done in said)
    assert first.endswith("True")
    assert second == first.removesuffix("True") + "False"


def test_a_training_whose_code_has_changed_is_another(toy, monkeypatch):
    subject = toy.subject(n=8, judging=2)

    def key():
        return kept.training_key(FineTune, {}, subject.source, subject)

    first = key()
    monkeypatch.setattr(kept, "code_of", lambda cls: f"changed {cls.__name__}")
    assert key() == key() != first
    monkeypatch.setattr(kept, "code_of", lambda cls: None)
    assert key() != key()
