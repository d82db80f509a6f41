import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from retarget.core.paths import cache_dir
from retarget.core.progress import listening
from retarget.features import disk, prefix, segments
from retarget.features import store as stores
from retarget.features.activations import PLAIN, Activations, estimate, passes, pays
from retarget.features.prefix import CPU_BATCH
from retarget.features.segments import segment_files
from retarget.features.views import Views, drawn_view
from retarget.sources.registry import resolve

ORDER = [np.arange(0, 8), np.arange(8, 15), np.arange(15, 20)]
ROW = 16 + 4 + 4 * 4 * 8 * 8  # id, checksum, numbers
INDEX = 300_000  # bytes of SQLite for a thousand rows, generously


def same(found: Any, expected: Any) -> bool:
    found, expected = list(found), list(expected)
    return len(found) == len(expected) and all(map(torch.equal, found, expected))


def plainly(views: Views, order: list[np.ndarray], epoch: int | None, count: int) -> list[Any]:
    """The prefix of each example alone, repeated to the cache's size of batch."""
    encoder: Any = views.encoder
    batches = []
    for rows in order:
        made = []
        for row in rows:
            example = str(views.inputs.ids[row])
            if epoch is None:
                tensor = views.prepared(row)
            else:
                tensor = views.augmented(row, drawn_view(views.seed, epoch, example, count))
            with torch.no_grad():
                made.append(encoder.first(torch.stack([tensor] * CPU_BATCH))[0])
        batches.append(torch.stack(made))
    return batches


def stored() -> list[Path]:
    (folder,) = [p for p in (cache_dir() / "activations").iterdir() if p.is_dir()]
    return segment_files(folder / "segments")


def stored_bytes() -> int:
    return sum(path.stat().st_size for path in stored())


def examples(encoder: Any) -> int:
    """Whole batches that went through the prefix, in examples."""
    assert set(encoder.batches) <= {CPU_BATCH}
    return len(encoder.batches) * CPU_BATCH


def test_activations_are_those_of_the_prefix_exactly(halves: ModuleType) -> None:
    feed, views, _ = halves.activations()
    assert same(feed.evaluation(ORDER), plainly(views, ORDER, None, 2))
    for epoch in (1, 2, 3, 1):
        assert same(feed.training(ORDER, epoch), plainly(views, ORDER, epoch, 2))


def test_the_suffix_of_activations_is_the_whole_encoder(halves: ModuleType) -> None:
    feed, views, encoder = halves.activations()
    (cached,) = feed.evaluation([np.arange(20)])
    (batch,) = views.evaluation([np.arange(20)])
    expected = encoder.pooled(batch, "mean")["pooled"]
    assert torch.allclose(encoder.split().suffix(cached, "mean")["pooled"], expected, atol=1e-6)


@pytest.mark.parametrize("plain", [{"views": 0}, {"strength": 0.0}])
def test_without_augmentation_training_reads_the_plain_view(
    halves: ModuleType, plain: dict[str, Any]
) -> None:
    feed, views, encoder = halves.activations(**plain)
    assert same(feed.training(ORDER, 3), plainly(views, ORDER, None, 0))
    assert same(feed.evaluation(ORDER), feed.training(ORDER, 4))
    assert examples(encoder) == 2 * CPU_BATCH


def test_a_view_does_not_depend_on_what_was_filled_before_it(halves: ModuleType) -> None:
    mixed = [np.array([11, 3]), np.array([19, 3, 0, 7])]
    feed, views, _ = halves.activations()
    assert same(feed.training(mixed, 3), plainly(views, mixed, 3, 2))
    assert same(feed.evaluation(mixed[::-1]), plainly(views, mixed[::-1], None, 2))
    assert same(feed.training(ORDER, 3), plainly(views, ORDER, 3, 2))


def test_only_what_an_epoch_draws_is_computed(halves: ModuleType) -> None:
    feed, views, encoder = halves.activations(views=3)
    drawn: set[tuple[int, int]] = set()
    for epoch in (1, 2, 3):
        list(feed.training([np.arange(6)], epoch))
        drawn |= {(n, drawn_view(7, epoch, str(views.inputs.ids[n]), 3)) for n in range(6)}
        assert stored_bytes() == len(drawn) * ROW
        assert feed.megabytes == len(drawn) * ROW / 1e6
    done = list(encoder.batches)
    for epoch in (1, 2, 3):
        list(feed.training([np.arange(6)], epoch))
    assert encoder.batches == done


def test_another_fold_over_the_same_examples_computes_nothing_again(halves: ModuleType) -> None:
    feed, _, _ = halves.activations()
    feed.fill()
    first = list(feed.training(ORDER, 1))
    again, _, encoder = halves.activations()
    assert same(again.training(ORDER, 1), first)
    list(again.evaluation(ORDER))
    assert encoder.batches == []
    part = halves.inputs_of(halves.pictures(20)).take(np.array([4, 2, 9]))
    fold, _, encoder = halves.activations(inputs=part)
    (batch,) = fold.training([np.array([1, 0, 2])], 1)
    assert torch.equal(batch, torch.cat(first)[[2, 4, 9]])
    assert encoder.batches == []


def test_other_seeds_strengths_and_keys_share_no_augmented_views(halves: ModuleType) -> None:
    for changed, rows in (({}, 60), ({"seed": 8}, 40), ({"strength": 0.4}, 40), ({"key": "b"}, 60)):
        feed, views, encoder = halves.activations(**changed)
        feed.fill()
        assert same(feed.training(ORDER, 1), plainly(views, ORDER, 1, 2))
        assert examples(encoder) == -(-rows // CPU_BATCH) * CPU_BATCH


def test_what_is_cached_is_what_was_estimated(halves: ModuleType) -> None:
    split = halves.Halves().split()
    asked = estimate(20, split, 2)
    assert asked.bytes == 20 * 3 * ROW
    assert asked.fits
    assert asked.megabytes == asked.bytes / 1e6
    feed, views, _ = halves.activations()
    feed.fill()
    assert stored_bytes() == asked.bytes == feed.megabytes * 1e6
    twice = views.inputs.take(np.repeat(np.arange(20), 2))
    assert estimate(twice, split, 2).bytes == asked.bytes


def test_the_encoder_is_left_as_it_was(halves: ModuleType) -> None:
    encoder = halves.Halves()
    feed, views, _ = halves.activations(encoder=encoder)
    encoder.train()
    encoder.first[1].eval()
    modes = [module.training for module in encoder.modules()]
    weights = {name: value.clone() for name, value in encoder.state_dict().items()}
    found = list(feed.training(ORDER, 1))
    assert [module.training for module in encoder.modules()] == modes
    for name, value in encoder.state_dict().items():
        assert torch.equal(value, weights[name])
    encoder.eval()
    assert same(found, plainly(views, ORDER, 1, 2))


def test_gradients_go_through_a_suffix_of_what_is_read(halves: ModuleType) -> None:
    feed, _, encoder = halves.activations()
    (batch,) = feed.training([np.arange(4)], 1)
    encoder.split().suffix(batch, "mean")["pooled"].sum().backward()
    assert encoder.second.weight.grad is not None
    assert encoder.first[0].weight.grad is None


def test_progress_counts_what_is_computed(halves: ModuleType) -> None:
    told: list[Any] = []

    class Listener:
        def start(self, what: str, total: int, unit: str) -> "Listener":
            told.append((what, total, unit))
            return self

        def advance(self, steps: int = 1) -> None:
            told.append(steps)

        def finish(self, meter: Any) -> None:
            told.append("end")

    feed, _, _ = halves.activations()
    with listening(Listener()):
        list(feed.evaluation(ORDER))
        list(feed.evaluation(ORDER))
    assert told == [("Caching activations", 20, "examples"), 16, 4, "end"]


def start(halves: ModuleType, count: int, views: int) -> "subprocess.Popen[str]":
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, halves.__file__, str(count), str(views)],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_killed_and_gone_on_with_is_as_undisturbed(halves: ModuleType) -> None:
    process = start(halves, 400, 1)
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"
    end = time.monotonic() + 300
    while time.monotonic() < end and stored_bytes() < 120 * ROW:
        pass
    process.kill()
    process.wait()
    process.stdout.close()
    feed, views, encoder = halves.activations(400, views=1)
    order = [np.arange(400)]
    assert same(feed.evaluation(order), plainly(views, order, None, 1))
    assert same(feed.training(order, 1), plainly(views, order, 1, 1))
    assert examples(encoder) <= 800 - 96


@pytest.mark.slow
def test_two_processes_fill_at_once(halves: ModuleType) -> None:
    both = [start(halves, 100, 1) for _ in range(2)]
    for process in both:
        out, _ = process.communicate(timeout=300)
        assert out == "started\ndone\n"
    feed, views, encoder = halves.activations(100, views=1)
    order = [np.arange(100)]
    assert same(feed.evaluation(order), plainly(views, order, None, 1))
    assert encoder.batches == []


@pytest.mark.parametrize("harm", ["flip", "cut", "delete"])
def test_what_was_damaged_is_computed_again(halves: ModuleType, harm: str) -> None:
    feed, _, encoder = halves.activations()
    feed.fill()
    whole = [list(feed.evaluation(ORDER)), list(feed.training(ORDER, 1))]
    (path,) = stored()
    data = bytearray(path.read_bytes())
    if harm == "flip":
        data[2 * ROW + 500] ^= 0x10  # a row of the plain or an augmented view of the first example
        data[3 * ROW + 500] ^= 0x10
        data[0 * ROW + 500] ^= 0x10
        path.write_bytes(data)
    elif harm == "cut":
        os.truncate(path, len(data) // 2 + 7)
    else:
        path.unlink()
    for fresh in (feed, halves.activations()[0]):
        assert same(fresh.evaluation(ORDER), whole[0])
        assert same(fresh.training(ORDER, 1), whole[1])
    done, again, _ = encoder.batches, *halves.activations()[:2]
    del again
    before = len(done)
    assert same(feed.evaluation(ORDER), whole[0])
    assert len(encoder.batches) == before


@pytest.mark.parametrize("junk", [b"no database", b""])
def test_a_damaged_index_is_begun_anew(halves: ModuleType, junk: bytes) -> None:
    feed, _, _ = halves.activations()
    expected = list(feed.evaluation(ORDER))
    index = stored()[0].parents[1] / "index.sqlite"
    feed._store.close()
    del feed
    for part in index.parent.glob("index.sqlite-*"):
        part.unlink()
    index.write_bytes(junk * 1000)
    again, _, _ = halves.activations()
    assert same(again.evaluation(ORDER), expected)


def test_a_damaged_index_that_another_process_uses_is_no_cache(halves: ModuleType) -> None:
    feed, _, _ = halves.activations()
    list(feed.evaluation(ORDER))
    index = stored()[0].parents[1] / "index.sqlite"
    feed._store.close()
    for part in index.parent.glob("index.sqlite-*"):
        part.unlink()
    index.write_bytes(b"no database" * 1000)
    with pytest.raises(OSError, match="damaged"):
        halves.activations()
    assert index.exists()


def test_a_store_that_vanishes_while_it_is_read_costs_nothing_but_time(halves: ModuleType) -> None:
    feed, views, _ = halves.activations()
    feed.fill()
    stream = feed.evaluation([np.array([n]) for n in range(20)])
    found = [next(stream)]
    with sqlite3.connect(stored()[0].parents[1] / "index.sqlite") as db:
        db.execute("DELETE FROM spaces")
    found += list(stream)
    assert same(found, plainly(views, [np.array([n]) for n in range(20)], None, 2))
    with pytest.raises(OSError, match="cleared meanwhile"):
        list(feed.evaluation(ORDER))


def test_a_full_disk_is_told_and_what_was_stored_is_kept(
    halves: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "COMMIT_BYTES", 1)
    written: list[int] = []
    write = os.write

    def filling(handle: int, data: Any) -> int:
        written.append(len(data))
        if len(written) > 1:
            raise OSError(28, "No space left on device")
        return write(handle, data)

    feed, views, _ = halves.activations()
    with monkeypatch.context() as patch:
        patch.setattr(segments.os, "write", filling)
        with pytest.raises(OSError, match="disk is full"):
            next(feed.evaluation(ORDER))
    assert stored_bytes() == CPU_BATCH * ROW
    again, _, encoder = halves.activations()
    assert same(again.evaluation(ORDER), plainly(views, ORDER, None, 2))
    assert examples(encoder) == CPU_BATCH


def test_a_damaged_row_on_a_full_disk_is_computed_all_the_same(
    halves: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed, views, _ = halves.activations()
    list(feed.evaluation(ORDER))
    os.truncate(stored()[0], 5 * ROW)

    def full(handle: int, data: Any) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(segments.os, "write", full)
        assert same(feed.evaluation(ORDER), plainly(views, ORDER, None, 2))


def test_too_many_are_refused_before_anything_is_computed(
    halves: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(disk.LIMIT, str((60 * ROW - 1) / 1e9))
    assert not estimate(20, halves.Halves().split(), 2).fits
    with pytest.raises(OSError, match=disk.LIMIT):
        halves.activations()


def test_the_bound_is_kept_by_deleting_what_was_not_used_for_longest(
    halves: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(disk.LIMIT, str((2.4 * 900 * ROW + INDEX) / 1e9))
    for age, key in ((300, "old"), (200, "middle")):
        feed, _, _ = halves.activations(300, key=key)
        feed.fill()
        lock = feed._place.folder.with_suffix(".lock")
        del feed
        os.utime(lock, (time.time() - age,) * 2)
    newest, _, _ = halves.activations(300, key="new")
    newest.fill()
    kept, _, encoder = halves.activations(300, key="middle")
    kept.fill()
    assert encoder.batches == []
    with pytest.raises(OSError, match=disk.LIMIT):
        halves.activations(300, key="old")
    del newest
    again, _, encoder = halves.activations(300, key="old")
    again.fill()
    assert examples(encoder) >= 900
    kept.fill()
    assert disk.folder_bytes(cache_dir() / "activations") <= disk.limit()


def test_rows_of_other_seeds_give_way_where_nothing_else_can(
    halves: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(disk.LIMIT, str((900 * ROW + INDEX) / 1e9))
    feed, _, _ = halves.activations(300, seed=1)
    feed.fill()
    with pytest.raises(OSError, match=disk.LIMIT):
        halves.activations(300, seed=2)
    del feed
    feed, views, _ = halves.activations(300, seed=2)
    feed.fill()
    assert stored_bytes() == 900 * ROW
    assert same(feed.training(ORDER, 1), plainly(views, ORDER, 1, 2))


def test_threads_and_streams_end_early(halves: ModuleType) -> None:
    feed, _, _ = halves.activations()
    stream = feed.training(ORDER, 1)
    next(stream)
    stream.close()
    assert list(feed.training([], 1)) == []


@pytest.mark.parametrize("count", [0, 1, 2, 5])
@pytest.mark.parametrize("epochs", [1, 2, 7])
def test_passes_are_what_is_counted(count: int, epochs: int) -> None:
    learning, validation = 4000, 1000
    seen = {
        (n, drawn_view(0, epoch, f"{n:032x}", count) if count else PLAIN)
        for epoch in range(epochs)
        for n in range(learning)
    }
    cached, uncached = passes(epochs, count, learning, validation)
    assert abs(cached - len(seen) - validation) < 0.02 * cached
    assert uncached == epochs * (learning + validation) + validation


def test_no_epochs_cost_the_validation_before_them() -> None:
    assert passes(0, 4, 10, 5) == (5, 5)
    assert not pays(0, 4)
    assert not pays(5, 4, learning=0)


def test_a_single_epoch_pays_nothing_and_many_do() -> None:
    assert not pays(1, 4)
    assert pays(20, 4)
    assert pays(2, 0, learning=3, validation=1)


def test_a_large_row_of_a_cheap_prefix_does_not_pay() -> None:
    stem = {"operations": 1e7, "row_bytes": 1_600_000}
    stage = {"operations": 3e8, "row_bytes": 63_000}
    assert not pays(20, 4, **stem)
    assert pays(20, 4, **stage)
    assert pays(20, 4, device="cuda", **stage)
    assert not pays(20, 4, device="cuda", operations=3e8, row_bytes=2_000_000)


def test_the_engine_that_began_goes_on(halves: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefix, "CLEARLY", 0.0)
    monkeypatch.setattr(prefix, "EXPORT_FROM", 100)
    inputs = halves.inputs_of(halves.pictures(60))
    feed, views, encoder = halves.activations(inputs=inputs, encoder=halves.Halves(exports=True))
    order = [np.arange(30)]
    (found,) = feed.training(order, 1)
    assert feed._prefix.engine == feed._space.engine == "onnx"
    assert encoder.batches == [CPU_BATCH]
    (expected,) = plainly(views, order, 1, 2)
    assert torch.allclose(found, expected, atol=1e-5)
    part, _, encoder = halves.activations(
        inputs=inputs.take(np.arange(40)), encoder=halves.Halves(exports=True)
    )
    (rest,) = part.training([np.arange(40)], 1)
    assert part._prefix.engine == "onnx"
    assert torch.equal(rest[:30], found)
    unable, views, _ = halves.activations(inputs=inputs)
    (whole,) = unable.training([np.arange(60)], 1)
    assert unable._prefix.engine == "eager"
    assert torch.equal(whole[40:], plainly(views, [np.arange(60)], 1, 2)[0][40:])


def test_the_engine_of_whoever_was_faster_is_taken(
    halves: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prefix, "CLEARLY", 0.0)
    monkeypatch.setattr(prefix, "EXPORT_FROM", 100)
    inputs = halves.inputs_of(halves.pictures(60))
    slower, views, _ = halves.activations(inputs=inputs, encoder=halves.Halves(exports=True))
    faster, _, _ = halves.activations(5)
    list(faster.evaluation([np.arange(5)]))
    (found,) = slower.evaluation([np.arange(60)])
    assert slower._prefix.engine == "eager"
    assert torch.equal(found, plainly(views, [np.arange(60)], None, 2)[0])


@pytest.mark.parametrize("uri", ["random:resnet10t", "random:test_vit"])
def test_real_encoders_are_the_same_cut_and_cached(halves: ModuleType, uri: str) -> None:
    encoder = resolve(uri).load()
    views = Views(halves.inputs_of(halves.pictures(3)), encoder, seed=0, strength=0.5)
    split = encoder.split_at(encoder.layers[-2].name)
    feed = Activations(views, split, count=2, key=uri, device=torch.device("cpu"))
    order = [np.arange(3)]
    for epoch in (1, 2):
        (cached,) = feed.training(order, epoch)
        drawn = [drawn_view(0, epoch, str(example), 2) for example in views.inputs.ids]
        batch = torch.stack([views.augmented(row, view) for row, view in enumerate(drawn)])
        expected = encoder.pooled(batch, "mean")["pooled"]
        assert torch.allclose(split.suffix(cached, "mean")["pooled"], expected, atol=1e-4)


def test_it_is_a_feed(halves: ModuleType) -> None:
    feed, _, _ = halves.activations()
    assert isinstance(feed, Activations)
    (batch,) = feed.evaluation([np.array([3])])
    assert (batch.shape, batch.dtype) == ((1, 4, 8, 8), torch.float32)
