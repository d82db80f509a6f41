"""Fixtures for every room: a cache of one's own, and the shared data where it is."""

import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

# Where a red run would block others, examples are the same every time; elsewhere they are new.
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")

# Trainings are compared with plain loops to six digits: in float32, whatever the CPU would gain.
os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX512_CORE")

TINY = "random:resnet10t"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put files with slow tests at the head of both halves: two workers start with a half each.

    What they leave for the end, to be shared out, is short then. Lines are counted in the first
    case of a test alone: tracing makes Python 3.11 slower by a third, and the other cases of a
    test reach next to no other line.
    """
    files: dict[Path, list[pytest.Item]] = {}
    seen: set[str] = set()
    for item in items:
        files.setdefault(item.path, []).append(item)
        name = item.nodeid.partition("[")[0]
        if name in seen:
            item.add_marker("no_cover")
        seen.add(name)

    def slow(tests: list[pytest.Item]) -> tuple[int, int]:
        return sum(t.get_closest_marker("slow") is not None for t in tests), len(tests)

    halves: tuple[list[pytest.Item], list[pytest.Item]] = [], []
    for tests in sorted(files.values(), key=slow, reverse=True):
        min(halves, key=len).extend(tests)
    items[:] = [item for half in sorted(halves, key=len, reverse=True) for item in half]


_modules_frozen = 0


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Point the cache at an empty folder, and keep hubs out of reach."""
    cache = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("RETARGET_CACHE", str(cache))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return cache


@pytest.fixture(autouse=True)
def frozen() -> None:
    """Keep all that was imported out of the garbage collector's way.

    Every training collects garbage to measure its memory: with a million objects of libraries
    that takes longer than a small training.
    """
    global _modules_frozen
    if len(sys.modules) > _modules_frozen:
        gc.collect()
        gc.freeze()
        _modules_frozen = len(sys.modules) + 50


@pytest.fixture(scope="session", autouse=True)
def verified_here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[pytest.MonkeyPatch]:
    """Let runs be verified in the tests' own process: the same check, without new imports.

    A fresh process is what users get; fits that run as programs have it, and tests that ask for
    `fresh_processes`.
    """
    from retarget.core.errors import RetargetError, StoreError
    from retarget.features.store import FeatureStore
    from retarget.runs.verify import FreshProcess, predictions_of
    from retarget.tasks.modalities import keep

    def predict(
        self: FreshProcess, model: Path, modality: Any, references: Sequence[Any], *_: object
    ) -> Any:
        folder = tmp_path_factory.mktemp("verified")
        inputs = [keep(modality, r, folder / str(i)) for i, r in enumerate(references)]
        with pytest.MonkeyPatch.context() as here:
            here.setenv("RETARGET_CACHE", str(folder / "cache"))
            try:
                return predictions_of(model, inputs, FeatureStore())
            except RetargetError as error:
                raise StoreError(f"The saved model can't be read: {error}") from error

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FreshProcess, "start", lambda self: None)
        patch.setattr(FreshProcess, "predict", predict)
        yield patch


@pytest.fixture
def fresh_processes(verified_here: pytest.MonkeyPatch) -> Iterator[None]:
    """Let runs be verified in a fresh process, as users have it."""
    from retarget.runs.verify import FreshProcess

    patched = FreshProcess.start, FreshProcess.predict
    verified_here.undo()
    yield
    verified_here.setattr(FreshProcess, "start", patched[0])
    verified_here.setattr(FreshProcess, "predict", patched[1])


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data for tests: `RETARGET_DATA`, else `../shared/data`."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("RETARGET_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}: set RETARGET_DATA")
    return folder


@pytest.fixture(scope="session")
def draw_pictures() -> Callable[..., Path]:
    """Give a maker of picture folders: two classes that differ in brightness and texture."""

    def draw(folder: Path, split: str = "", each: int = 14, seed: int = 0) -> Path:
        from PIL import Image

        generator = np.random.default_rng(seed)
        for label, level in (("dark", 70), ("light & <b>bold<b>", 170)):
            place = folder / split / label
            place.mkdir(parents=True, exist_ok=True)
            for i in range(each):
                noise = generator.normal(level, 45, size=(40, 48, 3))
                pixels = np.clip(noise + generator.normal(0, 25), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(place / f"{seed}-{i}.png")
        return folder

    return draw


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory, draw_pictures: Callable[..., Path]) -> Path:
    """Return a folder with train and test pictures of two classes, one of them broken."""
    folder = tmp_path_factory.mktemp("data") / "pictures"
    draw_pictures(folder, "train", 14, seed=1)
    draw_pictures(folder, "test", 8, seed=2)
    (folder / "train" / "dark" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 not a picture")
    return folder


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory, pictures: Path) -> Path:
    """Return the directory of one small run, made once for all tests that only read it."""
    from retarget import api

    patch = pytest.MonkeyPatch()
    patch.setenv("RETARGET_CACHE", str(tmp_path_factory.mktemp("run-cache")))
    try:
        folder = tmp_path_factory.mktemp("runs") / "run"
        api.fit(pictures, sources=[TINY], out=str(folder), engine="eager")
        return folder
    finally:
        patch.undo()


# A process that has PyTorch ready, and becomes as many as each line of its input asks for.
FORKS = """
import json, os, sys
if sys.platform != "darwin":  # where libraries don't bear a fork
    import accelerate, torch
def become(one):
    os.environ.clear()
    os.environ.update(one["environment"])
    for number, path in ((0, os.devnull), (1, os.devnull), (2, one["errors"])):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), number)
    exec(compile(one["code"], "<together>", "exec"), {"__name__": "__main__"})
    sys.exit()
for line in sys.stdin:
    forks = []
    for one in json.loads(line):
        forks.append(os.fork())
        if not forks[-1]:
            become(one)
    print(json.dumps([os.waitstatus_to_exitcode(os.waitpid(f, 0)[1]) for f in forks]), flush=True)
"""


@pytest.fixture(scope="session")
def forks() -> Iterator["subprocess.Popen[str]"]:
    """The process whose forks run together: importing PyTorch twice a test takes seconds."""
    process = subprocess.Popen(
        [sys.executable, "-c", FORKS],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    yield process
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


@pytest.fixture
def together(
    tmp_path: Path, forks: "subprocess.Popen[str]"
) -> Callable[[str], list[dict[str, object]]]:
    """Give a runner of code in two processes of one run, on the CPU.

    The code puts what it found into the dictionary `found`; the runner returns both dictionaries,
    with the exit status under `status` and the text of errors under `errors`.
    """

    def run(code: str) -> list[dict[str, object]]:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = str(probe.getsockname()[1])
        asked = []
        for rank in ("0", "1"):
            told = str(tmp_path / f"told-{rank}.json")
            place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
            meet = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
            one = {
                "code": f"import json\nfound = {{}}\n{code}\njson.dump(found, open({told!r}, 'w'))",
                "environment": {**os.environ, **place, **meet, "ACCELERATE_USE_CPU": "true"},
                "errors": str(tmp_path / f"errors-{rank}.txt"),
            }
            asked.append(one)
        assert forks.stdin
        assert forks.stdout
        forks.stdin.write(json.dumps(asked) + "\n")
        forks.stdin.flush()
        if not select.select([forks.stdout], [], [], 300)[0]:
            os.killpg(forks.pid, signal.SIGKILL)
            raise AssertionError("the processes did not end within 300 seconds")
        results = []
        for rank, status in enumerate(json.loads(forks.stdout.readline())):
            answer = tmp_path / f"told-{rank}.json"
            found = json.loads(answer.read_text()) if answer.is_file() else {}
            errors = (tmp_path / f"errors-{rank}.txt").read_text()
            results.append({**found, "status": status, "errors": errors})
        return results

    return run
