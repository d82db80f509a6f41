"""Several processes at one run. The pairs here are real processes that meet over a socket."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from retarget.core import processes
from retarget.core.errors import MissingExtraError, TrainingError, UsageError

Together = Callable[[str], list[dict[str, Any]]]


def place(monkeypatch: pytest.MonkeyPatch, rank: str | None, among: str | None) -> None:
    for name, value in (("RANK", rank), ("WORLD_SIZE", among)):
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    place(monkeypatch, None, None)


def test_a_process_without_a_launcher_is_alone_and_main() -> None:
    assert (processes.rank(), processes.count(), processes.is_main()) == (0, 1, True)


def test_a_launcher_numbers_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    place(monkeypatch, "2", "4")
    assert (processes.rank(), processes.count(), processes.is_main()) == (2, 4, False)


@pytest.mark.parametrize(("rank", "among"), [(None, "4"), ("0", None), ("", "4"), ("0", "1")])
def test_half_of_a_number_is_no_number(
    monkeypatch: pytest.MonkeyPatch, rank: str | None, among: str | None
) -> None:
    place(monkeypatch, rank, among)
    assert (processes.rank(), processes.count()) == (0, 1)


def test_a_batch_script_of_a_scheduler_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_PROCID", "0")
    monkeypatch.setenv("SLURM_NTASKS", "4")
    assert processes.count() == 1


@pytest.mark.parametrize(
    ("rank", "among"), [("4", "4"), ("-1", "2"), ("one", "2"), ("0", "0"), ("0", "²"), ("0", "2.0")]
)
def test_a_number_that_cannot_be_is_said(
    monkeypatch: pytest.MonkeyPatch, rank: str, among: str
) -> None:
    place(monkeypatch, rank, among)
    with pytest.raises(UsageError, match="do not number a process"):
        processes.count()


def test_alone_nothing_is_imported_and_values_stay_what_they_are() -> None:
    code = """
import sys
from retarget.core import processes
value = object()
with processes.main_first():
    processes.join()
    processes.barrier()
assert processes.broadcast(value) is value
assert processes.anywhere(True) and not processes.anywhere(False)
assert not {"torch", "accelerate"} & set(sys.modules), "heavy"
"""
    environment = {k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE")}
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300, env=environment)


def test_numbers_are_known_before_anything_heavy_is_imported() -> None:
    code = """
import sys
from retarget.core import processes
assert (processes.rank(), processes.count()) == (1, 2)
assert not {"torch", "accelerate"} & set(sys.modules), "heavy"
"""
    environment = {**os.environ, "RANK": "1", "WORLD_SIZE": "2"}
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300, env=environment)


def test_several_processes_without_accelerate_say_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place(monkeypatch, "0", "2")
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(MissingExtraError, match="pip install"):
        processes.join()


def test_processes_that_pytorch_does_not_see_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    import accelerate

    class Alone:
        num_processes = 1

        def __init__(self, cpu: bool) -> None:
            pass

    place(monkeypatch, "0", "2")
    monkeypatch.setattr(accelerate, "PartialState", Alone)
    with pytest.raises(UsageError, match="PyTorch found 1"):
        processes.join()


@pytest.fixture
def crowd(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A main process that takes itself for one of two, in a real group that has only itself."""
    import torch.distributed as distributed
    from accelerate import PartialState

    class Two:
        num_processes = 2

        def __init__(self, cpu: bool) -> None:
            store = distributed.FileStore(str(tmp_path / "store"), 1)
            distributed.init_process_group("gloo", store=store, rank=0, world_size=1)

    place(monkeypatch, "0", "2")
    monkeypatch.setattr("accelerate.PartialState", Two)
    processes._group.cache_clear()
    yield
    processes._leave()
    assert not distributed.is_initialized()
    PartialState._reset_state()


@pytest.mark.usefixtures("crowd")
def test_the_main_process_of_several_keeps_what_it_sends() -> None:
    with processes.main_first():
        processes.barrier()
    assert processes.broadcast({"a": (1, 2)}) == {"a": [1, 2]}
    assert processes.anywhere(True)
    assert not processes.anywhere(False)


WORDS = """
from pathlib import Path
from retarget.core import processes
rank = processes.rank()
left = Path(PLACE) / "left.txt"
with processes.main_first():
    found["saw"] = left.exists()
    if processes.is_main():
        left.write_text("main was here")
found["sent"] = [processes.broadcast(v if rank == 0 else "not looked at") for v in (
    {"a": [1, 2.5, None, True], "é": "ü", "tiny": 5e-324, "large": 2**70},
    "", [], None, "x" * 100_000,
)]
found["some"] = processes.anywhere(rank == 1)
found["none"] = processes.anywhere(False)
Path(PLACE, f"before-{rank}").touch()
processes.barrier()
found["both"] = all(Path(PLACE, f"before-{r}").exists() for r in (0, 1))
"""


def test_two_processes_wait_for_and_tell_each_other(together: Together, tmp_path: Path) -> None:
    main, other = together(WORDS.replace("PLACE", repr(str(tmp_path))))
    assert (main["status"], other["status"]) == (0, 0), main["errors"] + other["errors"]
    assert (main["saw"], other["saw"]) == (False, True)
    large = {"a": [1, 2.5, None, True], "é": "ü", "tiny": 5e-324, "large": 2**70}
    assert main["sent"] == other["sent"] == [large, "", [], None, "x" * 100_000]
    for found in (main, other):
        assert (found["some"], found["none"], found["both"]) == (True, False, True)


GONE = """
import os, signal
from retarget.core import processes
try:
    # The other may be gone before this one has joined.
    processes.join()
    if processes.rank() == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    WHAT
except processes.TrainingError as error:
    found["said"] = str(error)
"""


@pytest.mark.slow
@pytest.mark.parametrize("what", ["processes.barrier()", "processes.anywhere(True)"])
def test_a_process_that_died_is_noticed_in_a_sentence(together: Together, what: str) -> None:
    main, other = together(GONE.replace("WHAT", what))
    assert other["status"] == -signal.SIGKILL
    assert "Process 0 of 2" in main["said"]
    assert "give the same command again" in main["said"]


LATE = """
from datetime import timedelta
from pathlib import Path
from retarget.core import processes
processes.join()
processes.WAIT = timedelta(seconds=1)  # not for joining: one may be slower than the other
if processes.rank() == 0:
    try:
        processes.barrier()
    except processes.TrainingError as error:
        found["said"] = str(error)
    Path(PLACE, "over").touch()
else:
    import time
    while not Path(PLACE, "over").exists():
        time.sleep(0.01)
"""


@pytest.mark.slow
def test_a_process_that_never_comes_is_not_waited_for_for_ever(
    together: Together, tmp_path: Path
) -> None:
    main, _ = together(LATE.replace("PLACE", repr(str(tmp_path))))
    assert "did not come within 0:00:01" in main["said"]


def test_an_error_inside_becomes_the_sentence_with_its_cause() -> None:
    with pytest.raises(TrainingError, match="in vain") as caught, processes._waiting():
        raise RuntimeError("Connection closed by peer")
    assert "Connection closed" in str(caught.value.__cause__)


LAUNCHED = """
import json, sys
from pathlib import Path
from retarget.core import processes
place = {"rank": processes.broadcast(processes.rank()), "count": processes.count()}
Path(sys.argv[1], f"told-{processes.rank()}.json").write_text(json.dumps(place))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "launcher",
    [
        ["accelerate.commands.launch", "--multi_gpu", "--num_processes=2", "--num_machines=1",
         "--mixed_precision=no", "--dynamo_backend=no", "--main_process_port=0"],
        ["torch.distributed.run", "--standalone", "--nproc-per-node=2"],
    ],
    ids=["accelerate", "torchrun"],
)  # fmt: skip
def test_launchers_start_two_processes_that_meet(launcher: list[str], tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(LAUNCHED)
    subprocess.run(
        [sys.executable, "-m", *launcher, str(script), str(tmp_path)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"},
        check=True,
        capture_output=True,
        timeout=300,
    )
    told = [json.loads((tmp_path / f"told-{rank}.json").read_text()) for rank in (0, 1)]
    assert told == [{"rank": 0, "count": 2}] * 2
