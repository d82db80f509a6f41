"""Checkpoints survive kills and full disks, and hostile files are not believed."""

import json
import os
import pickle
import resource
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn

from retarget.core.hashing import hash_json
from retarget.core.paths import cache_dir
from retarget.methods.checkpoints import (
    Checkpoints,
    optimiser_state,
    prune,
    restore_optimiser,
)

KEY = hash_json(["a training"])
TOLD = {"epoch": 3, "losses": [0.1, float("inf"), 1e-300], "why": "é", "none": None, "on": True}


def tensors() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "weight": torch.randn(5, 7, generator=generator),
        "half": torch.randn(3, generator=generator).to(torch.bfloat16),
        "counter": torch.tensor(12),
        "mask": torch.tensor([True, False]),
        "state": torch.arange(9, dtype=torch.uint8),
        "double": torch.randn(2, generator=generator, dtype=torch.float64),
        "empty": torch.zeros(0, 4),
    }


def same(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(
        left[n].dtype == right[n].dtype and torch.equal(left[n], right[n]) for n in left
    )


def test_what_was_saved_is_loaded_bit_for_bit() -> None:
    points = Checkpoints(KEY)
    assert points.load() is None
    assert points.save(tensors(), TOLD) == ""
    state = points.load()
    assert state is not None
    assert same(state.tensors, tensors())
    assert state.told == TOLD
    assert points.folder == cache_dir() / "trainings" / KEY
    assert [path.name for path in points.folder.iterdir()] == ["state.safetensors"]


def test_the_last_one_saved_counts_and_removing_leaves_nothing() -> None:
    points = Checkpoints(KEY)
    for epoch in (1, 2):
        points.save({"a": torch.full((3,), float(epoch))}, {"epoch": epoch})
    state = points.load()
    assert state is not None
    assert state.told == {"epoch": 2}
    assert state.tensors["a"].tolist() == [2, 2, 2]
    points.remove()
    points.remove()
    assert points.load() is None
    assert not points.folder.exists()


def test_tensors_that_share_memory_or_are_strided_or_trained_are_saved_as_they_are() -> None:
    base = torch.arange(12.0).reshape(3, 4)
    tied = nn.Linear(4, 4, bias=False)
    given = {
        "base": base,
        "turned": base.T,
        "row": base[1],
        "tied": tied.weight,
        "again": tied.weight,
    }
    points = Checkpoints(KEY)
    assert points.save(given, {}) == ""
    state = points.load()
    assert state is not None
    assert same(state.tensors, {n: t.detach() for n, t in given.items()})
    state.tensors["base"].zero_()
    assert points.load() is not None, "what was loaded is not the file"


@pytest.mark.parametrize(
    "key",
    ["", "..", "../../etc", "abc", "A" * 32, "g" * 32, "a" * 31 + "/", "0" * 200, "0" * 32 + "\n"],
)
def test_a_key_that_is_no_digest_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match="no hexadecimal digest"):
        Checkpoints(key)


# kills

KILLS = """
import json, os, select, signal, sys, random
import torch
from retarget.methods.checkpoints import Checkpoints

points = Checkpoints(sys.argv[3])
chance = random.Random(int(sys.argv[2]))
report = []
for trial in range(int(sys.argv[1])):
    ears, mouth = os.pipe()
    child = os.fork()
    if child == 0:
        number = trial * 1_000_000
        while True:
            number += 1
            tensors = {"a": torch.full((60_000,), number), "b": torch.ones(3)}
            assert points.save(tensors, {"n": number}) == ""
            os.write(mouth, b"%d\\n" % number)
    os.close(mouth)
    told = os.read(ears, 100)
    select.select([], [], [], chance.random() * 0.03)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    while more := os.read(ears, 65536):
        told += more
    os.close(ears)
    parts = len(list(points.folder.glob(".*")))
    state = points.load()
    report.append({
        "told": int(told.split(b"\\n")[-2]),
        "n": state and state.told["n"],
        "low": state and int(state.tensors["a"].min()),
        "high": state and int(state.tensors["a"].max()),
        "parts": parts,
        "left": len(list(points.folder.iterdir())),
    })
print(json.dumps(report))
"""


@pytest.mark.slow
def test_kill_at_any_moment_leaves_the_last_good_checkpoint() -> None:
    seed = str(np.random.default_rng().integers(10**6))
    done = subprocess.run(
        [sys.executable, "-c", KILLS, "40", seed, KEY],
        check=True,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    report = json.loads(done.stdout)
    assert len(report) == 40
    for trial in report:
        # What was reported as saved is there, or the one after it, and it is of one piece.
        assert trial["n"] in (trial["told"], trial["told"] + 1), seed
        assert trial["low"] == trial["high"] == trial["n"], seed
        assert trial["left"] == 1, "what the kill left half-written is cleared away"
    assert any(trial["parts"] for trial in report), f"no kill hit a save (seed {seed})"


# disks


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_keeps_the_last_good_one_and_says_so() -> None:
    points = Checkpoints(KEY)
    points.save({"a": torch.ones(10)}, {"epoch": 1})
    with files_of_at_most(200_000):
        said = points.save({"a": torch.ones(1_000_000)}, {"epoch": 2})
    assert "could not be written" in said
    assert str(points.folder) in said
    state = points.load()
    assert state is not None
    assert state.told == {"epoch": 1}
    assert [path.name for path in points.folder.iterdir()] == ["state.safetensors"]


def test_a_disk_that_fails_when_it_is_made_to_write_keeps_the_last_good_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    points = Checkpoints(KEY)
    points.save({"a": torch.ones(10)}, {"epoch": 1})
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        assert "No space left" in points.save({"a": torch.ones(10)}, {"epoch": 2})
    state = points.load()
    assert state is not None
    assert state.told == {"epoch": 1}


def test_a_folder_that_cannot_be_made_is_said_and_stops_nothing() -> None:
    cache_dir().joinpath("trainings").write_text("in the way")
    points = Checkpoints(KEY)
    assert "could not be written" in points.save({"a": torch.ones(1)}, {})
    assert points.load() is None
    points.remove()
    prune()


# files that are not what they say


def good_bytes() -> bytes:
    points = Checkpoints(KEY)
    assert points.save({"a": torch.arange(40.0), "b": torch.tensor([True])}, {"epoch": 1}) == ""
    return points.path.read_bytes()


def framed(header: object, body: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def entry(shape: list[Any], start: int, end: int, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


FORM = {"form": "retarget training 1", "told": "{}", "mark": "0" * 32}
HOSTILE = {
    "empty": b"",
    "text": b"not a checkpoint\n" * 10,
    "pickle": pickle.dumps({"epoch": 1}),
    "long header": struct.pack("<Q", 2**63) + b"{}",
    "header beyond the file": struct.pack("<Q", 1000) + b"{}",
    "deep header": framed(b"[" * 100_000),
    "list header": framed([]),
    "huge tensor": framed({"a": entry([2**40], 0, 2**42)}),
    "negative": framed({"a": entry([-1], 0, 4)}, b"0000"),
    "overlap": framed(
        {"__metadata__": FORM, "a": entry([1], 0, 4), "b": entry([1], 0, 4)}, b"0000"
    ),
    "no metadata": framed({"a": entry([1], 0, 4)}, b"0000"),
    "metadata of others": framed({"__metadata__": {"form": "x"}, "a": entry([1], 0, 4)}, b"0000"),
    "wrong mark": framed({"__metadata__": FORM, "a": entry([1], 0, 4)}, b"0000"),
    "told is a list": framed({"__metadata__": {**FORM, "told": "[]"}}),
    "told is deep": framed({"__metadata__": {**FORM, "told": "[" * 100_000}}),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_thrown_away(name: str) -> None:
    points = Checkpoints(KEY)
    points.folder.mkdir(parents=True)
    points.path.write_bytes(HOSTILE[name])
    assert points.load() is None
    assert not points.path.exists()
    assert points.save({"a": torch.ones(1)}, {}) == ""
    assert points.load() is not None


def test_a_pickle_in_the_place_of_a_checkpoint_does_not_run(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "ran",)

    points = Checkpoints(KEY)
    points.folder.mkdir(parents=True)
    torch.save({"a": Bomb()}, points.path)
    assert points.load() is None
    assert not (tmp_path / "ran").exists()


def test_a_checkpoint_of_another_program_is_not_taken_for_one() -> None:
    points = Checkpoints(KEY)
    points.folder.mkdir(parents=True)
    save_file({"a": torch.ones(1)}, points.path, metadata={"format": "pt"})
    assert points.load() is None


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
def test_what_is_no_file_is_thrown_away(make: Callable[[Path], object]) -> None:
    points = Checkpoints(KEY)
    points.folder.mkdir(parents=True)
    make(points.path)
    assert points.load() is None
    assert points.save({"a": torch.ones(1)}, {}) == ""


@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_damage_anywhere_is_noticed(data: st.DataObject) -> None:
    whole = good_bytes()
    points = Checkpoints(KEY)
    before = points.load()
    assert before is not None
    place = data.draw(st.integers(0, len(whole) - 1), label="place")
    if data.draw(st.booleans(), label="cut"):
        damaged = whole[:place]
    else:
        bit = 1 << data.draw(st.integers(0, 7), label="bit")
        damaged = whole[:place] + bytes([whole[place] ^ bit]) + whole[place + 1 :]
    points.folder.mkdir(parents=True, exist_ok=True)
    points.path.write_bytes(damaged)
    after = points.load()
    # A bit of the padding may flip unnoticed, as long as what is loaded is what was saved.
    assert after is None or (same(after.tensors, before.tensors) and after.told == before.told)


# how much is kept


def used(key: str, when: int, kilobytes: int) -> Path:
    points = Checkpoints(key)
    points.save({"a": torch.zeros(kilobytes * 1000, dtype=torch.uint8)}, {})
    for path in (points.path, points.folder):
        os.utime(path, (when, when))
    return points.folder


def test_pruning_deletes_what_was_used_longest_ago() -> None:
    folders = [used(f"{i:08x}", when, 100) for i, when in enumerate((300, 100, 400, 200))]
    prune(megabytes=0.25)
    assert [folder.exists() for folder in folders] == [True, False, True, False]


def test_loading_counts_as_use() -> None:
    folders = [used(f"{i:08x}", when, 100) for i, when in enumerate((100, 200))]
    assert Checkpoints("00000000").load() is not None
    prune(megabytes=0.15)
    assert [folder.exists() for folder in folders] == [True, False]


def test_pruning_spares_the_last_one_used_and_what_is_not_ours() -> None:
    large = used("0" * 8, 200, 500)
    old = used("1" * 8, 100, 1)
    other = large.parent / "notes"
    other.mkdir()
    (other / "a.txt").write_text("mine")
    prune(megabytes=0.1)
    assert (large.exists(), old.exists(), other.exists()) == (True, False, True)


def test_pruning_below_the_bound_and_without_trainings_deletes_nothing() -> None:
    prune()
    folder = used("0" * 8, 1, 10)
    prune()
    assert folder.exists()


# optimisers

MAKERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "AdamW": lambda p: torch.optim.AdamW(p, lr=0.1, betas=(0.8, 0.95)),
    "AdamW amsgrad": lambda p: torch.optim.AdamW(p, lr=torch.tensor(0.1), amsgrad=True),
    "SGD": lambda p: torch.optim.SGD(p, lr=0.1),
    "SGD momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    "RMSprop": lambda p: torch.optim.RMSprop(p, lr=0.01, momentum=0.5),
    "Adafactor": lambda p: torch.optim.Adafactor(p, lr=0.1),
    "Rprop": lambda p: torch.optim.Rprop(p, lr=0.1),
}


def small(maker: Callable[[Any], torch.optim.Optimizer]) -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 2))
    groups = [{"params": model[0].parameters()}, {"params": model[1].parameters()}]
    return model, maker(groups)


def step(model: nn.Module, optimiser: torch.optim.Optimizer, number: int) -> None:
    x = torch.randn(8, 4, generator=torch.Generator().manual_seed(number))
    optimiser.zero_grad()
    model(x).square().mean().backward()
    optimiser.step()


@pytest.mark.parametrize("name", MAKERS)
def test_an_optimiser_that_was_saved_takes_the_same_steps(name: str) -> None:
    model, optimiser = small(MAKERS[name])
    for number in range(3):
        step(model, optimiser, number)
    optimiser.param_groups[1]["lr"] = 0.05
    found, told = optimiser_state(optimiser)
    points = Checkpoints(KEY)
    assert (
        points.save({**found, **{f"model.{n}": t for n, t in model.state_dict().items()}}, told)
        == ""
    )
    state = points.load()
    assert state is not None
    other, again = small(MAKERS[name])
    other.load_state_dict({n[6:]: t for n, t in state.tensors.items() if n.startswith("model.")})
    restore_optimiser(again, {n: t for n, t in state.tensors.items() if n in found}, state.told)
    assert again.param_groups[1]["lr"] == 0.05
    assert type(again.param_groups[0].get("betas")) is type(optimiser.param_groups[0].get("betas"))
    for number in range(3, 6):
        step(model, optimiser, number)
        step(other, again, number)
    assert same(model.state_dict(), other.state_dict())


def test_a_restored_optimiser_owns_its_state() -> None:
    model, optimiser = small(MAKERS["AdamW"])
    step(model, optimiser, 0)
    found, told = optimiser_state(optimiser)
    found = {name: tensor.clone() for name, tensor in found.items()}
    kept = {name: tensor.clone() for name, tensor in found.items()}
    other, again = small(MAKERS["AdamW"])
    restore_optimiser(again, found, told)
    step(other, again, 1)
    assert same(found, kept)


def test_an_optimiser_before_its_first_step_is_restored_as_such() -> None:
    _, optimiser = small(MAKERS["AdamW"])
    found, told = optimiser_state(optimiser)
    assert found == {}
    _, again = small(MAKERS["AdamW"])
    restore_optimiser(again, found, json.loads(json.dumps(told)))
    assert again.state_dict() == optimiser.state_dict()


def test_an_optimiser_that_keeps_lists_of_tensors_is_refused() -> None:
    model = nn.Linear(2, 1)
    optimiser = torch.optim.LBFGS(model.parameters(), max_iter=8)

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss: Tensor = (model(torch.eye(2)) - torch.tensor([[1.0], [3.0]])).pow(4).mean()
        loss.backward()
        return loss

    optimiser.step(closure)
    with pytest.raises(TypeError, match="of the optimiser is a list"):
        optimiser_state(optimiser)


@pytest.mark.parametrize(
    ("found", "told"),
    [
        ({}, {"states": {}, "groups": []}),
        ({}, {}),
        ({}, {"states": [], "groups": []}),
        ({"state.9.step": torch.tensor(1.0)}, {"states": {}, "groups": [{}, {}]}),
        ({"nonsense": torch.tensor(1.0)}, {"states": {}, "groups": [{}, {}]}),
        ({}, {"states": {}, "groups": [{"params": [0]}, {"params": [1]}]}),
    ],
)
def test_a_state_that_does_not_fit_is_said_and_changes_nothing(
    found: dict[str, Tensor], told: dict[str, Any]
) -> None:
    model, optimiser = small(MAKERS["AdamW"])
    step(model, optimiser, 0)
    before = optimiser_state(optimiser)
    before = ({n: t.clone() for n, t in before[0].items()}, before[1])
    with pytest.raises(ValueError):
        restore_optimiser(optimiser, found, told)
    after = optimiser_state(optimiser)
    assert same(before[0], after[0])
    assert before[1] == after[1]


# several processes

SHARED = """
import torch
from retarget.core import processes
from retarget.methods.checkpoints import Checkpoints
rank = processes.rank()
points = Checkpoints("0" * 32)
found["said"] = points.save({"a": torch.tensor([float(rank)])}, {"by": rank})
processes.barrier()
state = points.load()
found["by"], found["a"] = state.told["by"], state.tensors["a"].item()
processes.barrier()
if rank == 1:
    Checkpoints._read = lambda self: None
found["one blind"] = points.load() is None
processes.barrier()
points.remove()
processes.barrier()
found["gone"] = not points.path.exists()
"""


def test_the_main_process_writes_and_all_load_the_same_or_none(
    together: Callable[[str], list[dict[str, Any]]],
) -> None:
    for found in together(SHARED):
        assert found["status"] == 0, found["errors"]
        assert (found["said"], found["by"], found["a"]) == ("", 0, 0.0)
        assert (found["one blind"], found["gone"]) == (True, True)
