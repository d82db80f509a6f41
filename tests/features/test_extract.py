import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image

from retarget.core.errors import SourceError, StoreError, UsageError
from retarget.core.progress import Meter, listening
from retarget.core.types import FloatArray
from retarget.features import engines, passes
from retarget.features import store as stores
from retarget.features.extract import Extraction, extract, loader_name
from retarget.features.features import Space, StoredLayer
from retarget.features.segments import segment_files
from retarget.features.store import FeatureStore
from retarget.tasks import modalities
from retarget.tasks.task import Task

HERE = Path(__file__).parent


def run(task: Task, store: FeatureStore, *sources: object, **options: str) -> Extraction:
    chosen = {"engine": "eager", "device": "cpu", **options}
    return extract(task, sources, store=store, **chosen)  # type: ignore[arg-type]


def by_hand(tiny: ModuleType, source: object, references: list[np.ndarray]) -> np.ndarray:
    """All layers of each picture alone, through the encoder itself."""
    encoder = source.load()  # type: ignore[attr-defined]
    rows = []
    for reference in references:
        prepared = encoder.prepare(modalities.load("image", reference, encoder.detail))
        with torch.no_grad():
            layers = encoder.pooled(prepared[None], "mean")
        rows.append(np.concatenate([value[0].numpy() for value in layers.values()]))
    return np.array(rows)


def everything(made: Extraction, uri: str) -> np.ndarray:
    features = made.features[uri]
    return features.store.read(features.space, features.ids, features.layers)


def test_a_place_that_is_not_here_is_refused_where_nothing_is_left_to_run(
    tiny: ModuleType, store: FeatureStore
) -> None:
    task, source = tiny.make_task(tiny.pictures(3)), tiny.TinySource()
    run(task, store, source)
    for option in ({"device": "moon"}, {"device": "cuda:99"}, {"engine": "steam"}):
        with pytest.raises(UsageError, match=next(iter(option.values()))):
            run(task, store, source, **option)


@pytest.mark.parametrize("count", [1, 16, 37])
def test_features_are_what_the_encoder_gives_one_by_one(
    tiny: ModuleType, store: FeatureStore, count: int
) -> None:
    references = tiny.pictures(count)
    sources = [tiny.TinySource("tiny:a", 1), tiny.TinySource("tiny:b", 2, "Fine")]
    made = run(tiny.make_task(references), store, *sources)
    for source in sources:
        expected = by_hand(tiny, source, references)
        np.testing.assert_allclose(everything(made, source.uri), expected, atol=1e-6)
        assert made.features[source.uri].layers == ("first", "second", "pooled")
    np.testing.assert_allclose(
        made.features["tiny:a"].layer("second"), by_hand(tiny, sources[0], references)[:, 4:12],
        atol=1e-6,
    )  # fmt: skip


@pytest.mark.parametrize("engine", ["onnx", "auto"])
def test_engines_agree(tiny: ModuleType, tmp_path: Path, engine: str) -> None:
    task, source = tiny.make_task(tiny.pictures(20)), tiny.TinySource()
    eager = run(task, FeatureStore(tmp_path / "eager"), source)
    other = run(task, FeatureStore(tmp_path / "other"), source, engine=engine)
    np.testing.assert_allclose(
        everything(eager, source.uri), everything(other, source.uri), atol=1e-6
    )
    if engine == "onnx":
        assert other.costs[0].engine == other.features[source.uri].space.engine == "onnx"


def test_the_same_content_is_extracted_once(tiny: ModuleType, store: FeatureStore) -> None:
    references = tiny.pictures(3)
    made = run(tiny.make_task([references[i] for i in (0, 1, 0, 2, 2)]), store, tiny.TinySource())
    assert (made.costs[0].extracted, made.costs[0].reused) == (3, 0)
    rows = everything(made, "tiny:a")
    assert np.array_equal(rows[0], rows[2])
    assert np.array_equal(rows[3], rows[4])


def test_adding_examples_extracts_those_and_a_warm_run_loads_nothing(
    tiny: ModuleType, store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    references = tiny.pictures(30)
    first = run(tiny.make_task(references[:20]), store, tiny.TinySource())
    before = everything(first, "tiny:a")
    grown = run(tiny.make_task(references), store, tiny.TinySource())
    assert (grown.costs[0].extracted, grown.costs[0].reused) == (10, 20)
    assert np.array_equal(everything(grown, "tiny:a")[:20], before)
    source = tiny.TinySource()
    monkeypatch.setattr(modalities, "load", None)
    warm = run(tiny.make_task(references), store, source)
    assert source.loads == 0
    assert (warm.costs[0].extracted, warm.costs[0].reused) == (0, 30)
    assert warm.costs[0].per_second is None
    assert warm.features["tiny:a"].seconds_per_example > 0
    assert np.array_equal(everything(warm, "tiny:a"), everything(grown, "tiny:a"))


def test_a_source_reads_only_what_misses_for_it(
    tiny: ModuleType, store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    references = tiny.pictures(12)
    run(tiny.make_task(references[:8]), store, tiny.TinySource("tiny:a", 1))
    loaded = []
    load = modalities.load
    monkeypatch.setattr(modalities, "load", lambda *a: loaded.append(a) or load(*a))
    both = run(
        tiny.make_task(references),
        store,
        tiny.TinySource("tiny:a", 1),
        tiny.TinySource("tiny:b", 2),
    )
    assert [cost.extracted for cost in both.costs] == [4, 12]
    assert len(loaded) == 12


def test_one_encoder_under_two_names_runs_once(tiny: ModuleType, store: FeatureStore) -> None:
    sources = [tiny.TinySource("tiny:a", 1), tiny.TinySource("file:a", 1)]
    made = run(tiny.make_task(tiny.pictures(4)), store, *sources)
    assert sources[0].loads + sources[1].loads == 1
    assert np.array_equal(everything(made, "tiny:a"), everything(made, "file:a"))
    assert [cost.source for cost in made.costs] == ["tiny:a", "file:a"]


def test_the_recorded_engine_and_batch_are_used_again(
    tiny: ModuleType, store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    references, batch = tiny.pictures(40), passes.CPU_BATCH
    run(tiny.make_task(references[:5]), store, tiny.TinySource(), engine="onnx")
    monkeypatch.setattr(passes, "CPU_BATCH", 7)
    made = run(tiny.make_task(references), store, tiny.TinySource(), engine="auto")
    assert made.costs[0].engine == "onnx"
    assert made.features["tiny:a"].space.batch == batch


def test_a_recorded_engine_that_no_longer_runs_gives_way_to_eager(
    tiny: ModuleType, store: FeatureStore
) -> None:
    references = tiny.pictures(6)
    source = tiny.TinySource("tiny:a", 1, "Unexportable")
    layers = tuple(StoredLayer(k, (d,)) for k, d in (("first", 4), ("second", 8), ("pooled", 8)))
    store.create(Space(source.fingerprint, "mean", layers, "onnx", 4))
    made = run(tiny.make_task(references), store, source, engine="auto")
    assert made.costs[0].engine == "eager"
    assert "Eager was used instead" in made.notes[0]
    np.testing.assert_allclose(
        everything(made, "tiny:a"), by_hand(tiny, source, references), atol=1e-6
    )


def test_a_named_engine_that_fails_stops(tiny: ModuleType, store: FeatureStore) -> None:
    task = tiny.make_task(tiny.pictures(3))
    with pytest.raises(UsageError, match="engine onnx"):
        run(task, store, tiny.TinySource(encoder="Lying"), engine="onnx")


def test_every_batch_has_the_same_size(
    tiny: ModuleType, store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    from retarget.features.engines import Eager

    sizes = []
    call = Eager.__call__
    monkeypatch.setattr(Eager, "__call__", lambda self, b: sizes.append(len(b)) or call(self, b))
    batch = passes.CPU_BATCH
    run(tiny.make_task(tiny.pictures(2 * batch + 1)), store, tiny.TinySource())
    assert sizes == [batch, batch, batch]


def test_batches_run_side_by_side_and_are_stored_in_order(
    tiny: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from retarget.features.engines import Onnx

    call, running, most, turn = Onnx.__call__, [0], [0], threading.Lock()

    def slower_at_first(self: Onnx, batch: torch.Tensor) -> FloatArray:
        with turn:
            running[0] += 1
            most[0] = max(most[0], running[0])
            waits = 0.05 if most[0] == 1 else 0.0
        time.sleep(waits)
        found = call(self, batch)
        with turn:
            running[0] -= 1
        return found

    monkeypatch.setattr(engines, "cores", lambda: 3)
    monkeypatch.setattr(passes, "cores", lambda: 3)
    task = tiny.make_task(tiny.pictures(10 * passes.CPU_BATCH + 1))
    expected = run(task, FeatureStore(tmp_path / "eager"), tiny.TinySource())
    monkeypatch.setattr(Onnx, "__call__", slower_at_first)
    made = run(task, FeatureStore(tmp_path / "onnx"), tiny.TinySource(), engine="onnx")
    np.testing.assert_allclose(
        everything(made, "tiny:a"), everything(expected, "tiny:a"), atol=1e-6
    )
    assert 1 < most[0] <= 3
    cost = made.costs[0]
    assert cost.per_second is not None
    assert cost.extracted / cost.per_second <= cost.seconds + 0.05


def test_unreadable_examples_are_told_by_row_and_remembered(
    tiny: ModuleType, store: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = []
    for number, pixels in enumerate(tiny.pictures(5)):
        paths.append(tmp_path / f"{number}.png")
        Image.fromarray(pixels).save(paths[-1])
    paths[1].write_bytes(b"")
    paths[3].write_bytes(paths[3].read_bytes()[:60])
    task = tiny.make_task([*paths, paths[3]])
    made = run(task, store, tiny.TinySource())
    assert sorted(made.unreadable) == [1, 3, 5]
    assert made.unreadable[3] == made.unreadable[5] != ""
    assert (made.costs[0].extracted, made.costs[0].reused) == (3, 0)
    good = made.features["tiny:a"].take(np.array([0, 2, 4]))
    assert good.layer("first").shape == (3, 4)
    with pytest.raises(StoreError):
        made.features["tiny:a"].layer("first")
    monkeypatch.setattr(modalities, "load", None)
    warm = run(task, store, tiny.TinySource())
    assert warm.unreadable == made.unreadable
    assert (warm.costs[0].extracted, warm.costs[0].reused) == (0, 3)


def test_a_file_that_is_gone_is_tried_again(
    tiny: ModuleType, store: FeatureStore, tmp_path: Path
) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(tiny.pictures(1)[0]).save(path)
    task = tiny.make_task([path])
    data = path.read_bytes()
    path.unlink()
    assert sorted(run(task, store, tiny.TinySource()).unreadable) == [0]
    path.write_bytes(data)
    assert run(task, store, tiny.TinySource()).unreadable == {}


def test_a_task_of_which_nothing_can_be_read_gives_features_without_layers(
    tiny: ModuleType, store: FeatureStore, tmp_path: Path
) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    task = tiny.make_task([tmp_path / "a.png"])
    for _ in range(2):
        made = run(task, store, tiny.TinySource())
        assert list(made.unreadable) == [0]
        assert made.features["tiny:a"].layers == ()


def test_a_flipped_byte_is_extracted_anew(tiny: ModuleType, store: FeatureStore) -> None:
    task = tiny.make_task(tiny.pictures(10))
    before = everything(run(task, store, tiny.TinySource()), "tiny:a")
    (segment,) = segment_files(store.path / "segments")
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 1
    segment.write_bytes(data)
    again = run(task, store, tiny.TinySource())
    assert again.costs[0].extracted == 1
    np.testing.assert_allclose(everything(again, "tiny:a"), before, atol=1e-6)


def test_costs_count_the_forward_pass(
    tiny: ModuleType, store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = modalities.load

    def slowly(*arguments: object) -> object:
        time.sleep(0.01)
        return load(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(modalities, "load", slowly)
    made = run(tiny.make_task(tiny.pictures(40)), store, tiny.TinySource())
    cost, space = made.costs[0], made.features["tiny:a"].space
    assert cost.per_second is not None
    assert cost.per_second > 200  # two threads could load 200 a second
    assert made.features["tiny:a"].seconds_per_example == pytest.approx(1 / cost.per_second)
    assert space.operations == 8 * 8 * 4 * 3 * 9 + 4 * 4 * 8 * 4 * 9
    assert cost.share_of_peak is not None
    assert 0 < cost.share_of_peak < 1


def test_progress_counts_every_example_that_is_loaded(
    tiny: ModuleType, store: FeatureStore
) -> None:
    told = []

    class Listening:
        def start(self, what: str, total: int, unit: str) -> Meter:
            told.append((what, total, unit))
            return self

        def advance(self, steps: int = 1) -> None:
            told.append(steps)

        def note(self, text: str) -> None:
            pass

        def finish(self, meter: Meter) -> None:
            told.append("finish")

    with listening(Listening()):
        run(tiny.make_task(tiny.pictures(3)), store, tiny.TinySource())
    assert told == [("Extracting features", 3, "images"), 1, 1, 1, "finish"]


def test_an_input_that_does_not_fit_is_told(tiny: ModuleType, store: FeatureStore) -> None:
    task = tiny.make_task(tiny.pictures(2))
    source = tiny.TinySource()
    with pytest.raises(UsageError, match="'sound' is no input of tiny"):
        extract(task, [source], store=store, input_name="sound")
    text = Task("words", {"text": "text"}, task.kind, task.classes, task.examples)
    with pytest.raises(UsageError, match="tiny:a needs an input of modality image"):
        extract(text, [source], store=store)
    two = Task("two", {"left": "image", "right": "image"}, task.kind, task.classes, task.examples)
    with pytest.raises(UsageError, match="several image inputs"):
        extract(two, [source], store=store)
    assert run(task, store, source).features


def test_a_source_that_cannot_be_loaded_stops(
    tiny: ModuleType, store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(self: object) -> object:
        raise SourceError("not here")

    monkeypatch.setattr(tiny.TinySource, "load", failing)
    with pytest.raises(SourceError, match="not here"):
        run(tiny.make_task(tiny.pictures(2)), store, tiny.TinySource())


def test_a_full_disk_in_the_middle_keeps_what_was_done(
    tiny: ModuleType, store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "COMMIT_SECONDS", 0.0)
    references = tiny.pictures(64)
    task, writes, whole = tiny.make_task(references), [], os.write

    def full(handle: int, data: memoryview) -> int:
        writes.append(len(data))
        if len(writes) > 2:
            raise OSError(28, "No space left on device")
        return whole(handle, data)

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(StoreError, match=r"can't grow.*RETARGET_CACHE"):
        run(task, store, tiny.TinySource())
    monkeypatch.setattr(os, "write", whole)
    made = run(task, store, tiny.TinySource())
    stored = 2 * passes.CPU_BATCH
    assert (made.costs[0].extracted, made.costs[0].reused) == (64 - stored, stored)
    undisturbed = run(task, FeatureStore(store.path.parent / "other"), tiny.TinySource())
    assert np.array_equal(everything(made, "tiny:a"), everything(undisturbed, "tiny:a"))


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(HERE), "OMP_NUM_THREADS": "1"}


def start(folder: Path, count: int) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, str(HERE / "tiny.py"), str(folder), str(count), "eager"],
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    )


def slow_sources(tiny: ModuleType) -> list[object]:
    return [tiny.TinySource("tiny:slow", 3, "Slow"), tiny.TinySource("tiny:b", 5)]


@pytest.mark.slow
def test_a_killed_extraction_ends_in_the_same_numbers(tiny: ModuleType, tmp_path: Path) -> None:
    count = 160
    task = tiny.make_task(tiny.pictures(count))
    undisturbed = run(task, FeatureStore(tmp_path / "whole"), *slow_sources(tiny))
    rng = np.random.default_rng(0)
    partly = 0
    for moment in range(3):
        folder = tmp_path / f"killed{moment}"
        process = start(folder, count)
        assert process.stdout
        assert process.stdout.readline() == "started\n"
        wait_for_rows(folder)
        time.sleep(float(rng.uniform(0, 0.25)))
        os.kill(process.pid, signal.SIGKILL)
        process.wait(timeout=30)
        process.stdout.close()
        made = run(task, FeatureStore(folder), *slow_sources(tiny))
        partly += 0 < made.costs[0].extracted < count
        for uri in ("tiny:slow", "tiny:b"):
            assert np.array_equal(everything(made, uri), everything(undisturbed, uri))
    assert partly


def wait_for_rows(folder: Path) -> None:
    """Wait until the process has stored something, so that it is killed in the middle."""
    end = time.monotonic() + 300
    while time.monotonic() < end:
        files = segment_files(folder / "segments")
        if any(path.stat().st_size for path in files):
            return
        time.sleep(0.005)
    raise AssertionError("the process stored nothing")


@pytest.mark.slow
def test_two_processes_extract_into_one_store(tiny: ModuleType, tmp_path: Path) -> None:
    count = 64
    task = tiny.make_task(tiny.pictures(count))
    processes = [start(tmp_path / "shared", count) for _ in range(2)]
    for process in processes:
        out, _ = process.communicate(timeout=300)
        assert process.returncode == 0
        assert out.splitlines() == ["started", "done"]
    made = run(task, FeatureStore(tmp_path / "shared"), *slow_sources(tiny))
    alone = run(task, FeatureStore(tmp_path / "alone"), *slow_sources(tiny))
    assert made.costs[0].extracted == 0
    for uri in ("tiny:slow", "tiny:b"):
        assert np.array_equal(everything(made, uri), everything(alone, uri))


def test_a_warm_run_does_not_import_torch(tiny: ModuleType, tmp_path: Path) -> None:
    run(tiny.make_task(tiny.pictures(5)), FeatureStore(tmp_path), tiny.TinySource())
    code = """
import json, sys
from pathlib import Path
import tiny
from retarget.features.extract import extract
from retarget.features.store import FeatureStore
task = tiny.make_task(tiny.pictures(5))
made = extract(task, [tiny.TinySource()], store=FeatureStore(Path(sys.argv[1])))
rows = made.features["tiny:a"].layer("pooled")
print(json.dumps([list(rows.shape), sorted({m.split(".")[0] for m in sys.modules})]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
        env=environment(),
    )
    shape, modules = json.loads(done.stdout)
    assert shape == [5, 8]
    assert not {"torch", "timm", "transformers", "sklearn", "onnx", "onnxruntime"} & set(modules)


MEMORY = """
import resource, sys
from pathlib import Path
import numpy as np
import tiny
from retarget.features.extract import extract
from retarget.features.store import FeatureStore

class Drawn:
    def __init__(self, count): self.count = count
    def __len__(self): return self.count
    def __getitem__(self, i):
        pixels = np.full((8, 8, 3), i % 256, np.uint8)
        pixels[0, 0] = (i >> 16, (i >> 8) % 256, i % 256)
        return pixels

def run(count, folder):
    ids = np.array([f"{i:032x}" for i in range(count)])
    task = tiny.make_task(Drawn(count), ids)
    extract(
        task,
        [tiny.TinySource()],
        store=FeatureStore(folder),
        pooling="tokens",
        engine="eager",
        device="cpu",
    )
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

few = run(4000, Path(sys.argv[1]) / "few")
print(run(16000, Path(sys.argv[1]) / "many") - few)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_examples(tiny: ModuleType, tmp_path: Path) -> None:
    """The features of 12,000 examples would take 19 MB, their inputs 37 MB if they were kept."""
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
        env=environment(),
    )
    unit = 1 if sys.platform == "darwin" else 1024
    assert int(done.stdout) * unit < 25e6


def test_the_loader_is_named_with_its_version() -> None:
    assert loader_name("image").startswith("image-1-pillow")
