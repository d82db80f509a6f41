import errno
import os
import pickle
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retarget.core.errors import StoreError
from retarget.core.paths import cache_dir
from retarget.features import segments
from retarget.features import store as stores
from retarget.features.features import Features, Space, StoredLayer
from retarget.features.index import Index
from retarget.features.segments import segment_files
from retarget.features.store import FeatureStore

LAYERS = (StoredLayer("a", (2,)), StoredLayer("b", (2, 3)))
SPACE = Space("f" * 32, "mean", LAYERS, "eager", 16, 5e6)


def ids_of(*numbers: int) -> np.ndarray:
    return np.array([f"{number:032x}" for number in numbers], dtype="U32")


def rows_of(*numbers: int) -> np.ndarray:
    """Rows that tell which example they are of."""
    rows = [[n + k / 10 for k in range(SPACE.width)] for n in numbers]
    return np.array(rows, np.float32).reshape(-1, SPACE.width)


def fill(store: FeatureStore, *numbers: int) -> None:
    store.create(SPACE)
    with store.writer(SPACE) as writer:
        writer.append(ids_of(*numbers), rows_of(*numbers))


def flip(store: FeatureStore, byte: int, file: int = 0) -> None:
    path = segment_files(store.path / "segments")[file]
    data = bytearray(path.read_bytes())
    data[byte] ^= 0x10
    path.write_bytes(data)


def test_what_was_written_is_read_in_any_order(store: FeatureStore) -> None:
    fill(store, 1, 2, 3)
    wanted = (3, 1, 3)
    both = store.read(SPACE, ids_of(*wanted), ("b", "a"))
    expected = rows_of(*wanted)
    assert np.array_equal(both, np.hstack([expected[:, 2:], expected[:, :2]]))
    alone = store.read(SPACE, ids_of(*wanted), ("b",))
    assert np.array_equal(alone, expected[:, 2:].reshape(3, 2, 3))
    assert alone.dtype == np.float32


def test_nothing_asked_for_is_nothing(store: FeatureStore) -> None:
    fill(store, 1)
    assert store.read(SPACE, ids_of(), ("b",)).shape == (0, 2, 3)
    assert store.missing(SPACE, ids_of()).tolist() == []


def test_missing_names_each_id_once_by_its_first_row(store: FeatureStore) -> None:
    fill(store, 1, 2)
    assert store.missing(SPACE, ids_of(5, 1, 5, 4, 2, 4, 9)).tolist() == [0, 3, 6]


def test_features_read_through_the_store(store: FeatureStore) -> None:
    fill(store, 1, 2, 3)
    features = Features("tiny:a", store, SPACE, ids_of(3, 2, 1), 0.0).take(np.array([0, 2]))
    assert np.array_equal(features.layer("a"), rows_of(3, 1)[:, :2])


def test_a_space_keeps_the_engine_and_batch_that_first_filled_it(store: FeatureStore) -> None:
    assert store.space(SPACE.fingerprint, "mean") is None
    assert store.create(SPACE) == SPACE
    again = store.create(Space(SPACE.fingerprint, "mean", LAYERS, "onnx", 64))
    assert again == SPACE
    assert store.space(SPACE.fingerprint, "mean") == SPACE
    assert store.space(SPACE.fingerprint, "cls") is None
    other = Space(SPACE.fingerprint, "mean", LAYERS[:1], "onnx", 64)
    assert store.create(other) == other


def test_the_same_example_written_twice_is_harmless(store: FeatureStore) -> None:
    fill(store, 1, 2)
    fill(store, 2, 3)
    assert np.array_equal(store.read(SPACE, ids_of(1, 2, 3), ("a", "b")), rows_of(1, 2, 3))
    assert store.info().rows == 3


def test_rows_of_another_width_are_refused(store: FeatureStore) -> None:
    store.create(SPACE)
    with store.writer(SPACE) as writer, pytest.raises(ValueError, match="were expected"):
        writer.append(ids_of(1), np.zeros((1, 3), np.float32))


def test_the_cost_of_a_space_is_the_mean_over_all_that_was_extracted(store: FeatureStore) -> None:
    store.create(SPACE)
    assert store.seconds_per_example(SPACE) == 0.0
    for numbers, seconds in (((1, 2), 1.0), ((3, 4, 5), 4.0)):
        with store.writer(SPACE) as writer:
            writer.append(ids_of(*numbers), rows_of(*numbers), seconds)
    assert store.seconds_per_example(SPACE) == pytest.approx(1.0)


def test_rows_are_kept_when_the_block_ends_in_an_error(store: FeatureStore) -> None:
    store.create(SPACE)
    with pytest.raises(KeyboardInterrupt), store.writer(SPACE) as writer:
        writer.append(ids_of(1), rows_of(1))
        raise KeyboardInterrupt
    assert store.missing(SPACE, ids_of(1)).tolist() == []


def test_waiting_rows_are_committed_by_size_and_by_time(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.create(SPACE)
    reader = FeatureStore(store.path)
    with store.writer(SPACE) as writer:
        writer.append(ids_of(1), rows_of(1))
        assert reader.missing(SPACE, ids_of(1)).tolist() == [0]
        monkeypatch.setattr(stores, "COMMIT_BYTES", 1)
        writer.append(ids_of(2), rows_of(2))
        assert reader.missing(SPACE, ids_of(1, 2)).tolist() == []
        monkeypatch.setattr(stores, "COMMIT_BYTES", 1 << 30)
        monkeypatch.setattr(stores, "COMMIT_SECONDS", 0.0)
        writer.append(ids_of(3), rows_of(3))
        assert reader.missing(SPACE, ids_of(3)).tolist() == []


@settings(deadline=None, max_examples=25)
@given(
    steps=st.lists(
        st.one_of(
            st.lists(st.integers(0, 12), max_size=6),
            st.tuples(st.just("flip"), st.integers(0, 10_000)),
            st.just("reopen"),
        ),
        max_size=8,
    ),
    part=st.integers(1, 200),
)
def test_the_store_is_a_dictionary(tmp_path_factory: pytest.TempPathFactory, steps, part) -> None:  # type: ignore[no-untyped-def]
    """Whatever is written, damaged and opened again: what reads as there is right."""
    store = FeatureStore(tmp_path_factory.mktemp("store"))
    store.create(SPACE)
    expected: set[int] = set()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stores, "READ_BYTES", part)
        for step in steps:
            if step == "reopen":
                store.close()
                store = FeatureStore(store.path)
            elif isinstance(step, tuple):
                if files := segment_files(store.path / "segments"):
                    flip(store, step[1] % files[0].stat().st_size)
            else:
                fill(store, *step)
                expected |= set(step)
            everything = ids_of(*range(13))
            absent = set(store.missing(SPACE, everything).tolist())
            there = sorted(set(range(13)) - absent)
            assert set(there) <= expected
            if not isinstance(step, tuple):
                assert set(step if step != "reopen" else ()) <= set(there)
            read = store.read(SPACE, ids_of(*there), ("a", "b"))
            assert np.array_equal(read, rows_of(*there).reshape(-1, SPACE.width))
            expected = set(there)


def test_a_flipped_byte_is_found_forgotten_and_written_anew(store: FeatureStore) -> None:
    fill(store, 1, 2, 3)
    record = segments.Records.of(SPACE).size
    flip(store, record + record - 1)  # the last number of the second row
    assert np.array_equal(store.read(SPACE, ids_of(2), ("a",)), rows_of(2)[:, :2])
    with pytest.raises(StoreError, match=r"features of 1 examples .*extracted anew"):
        store.read(SPACE, ids_of(1, 2, 3), ("b",))
    assert FeatureStore(store.path).missing(SPACE, ids_of(1, 2, 3)).tolist() == [1]
    fill(store, 2)
    assert np.array_equal(store.read(SPACE, ids_of(1, 2, 3), ("a", "b")), rows_of(1, 2, 3))


def test_a_lost_segment_is_missing_not_an_error(store: FeatureStore) -> None:
    fill(store, 1, 2)
    segment_files(store.path / "segments")[0].unlink()
    assert store.missing(SPACE, ids_of(1, 2)).tolist() == [0, 1]
    assert store.info().rows == 0


def test_a_segment_that_is_cut_short_loses_only_what_was_cut(store: FeatureStore) -> None:
    fill(store, 1, 2, 3)
    os.truncate(segment_files(store.path / "segments")[0], 2 * segments.Records.of(SPACE).size + 3)
    assert store.missing(SPACE, ids_of(1, 2, 3)).tolist() == [2]


def test_numbers_are_on_the_disk_before_the_index_names_them(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.create(SPACE)
    seen = []
    fsync, add = os.fsync, Index.add

    def synced(handle: int) -> None:
        fsync(handle)
        seen.append(("disk", os.fstat(handle).st_size))

    def added(self: Index, *arguments: object) -> None:
        seen.append(("index", 0))
        add(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Index, "add", added)
    with store.writer(SPACE) as writer:
        writer.append(ids_of(1, 2), rows_of(1, 2))
    assert seen == [("disk", 2 * segments.Records.of(SPACE).size), ("index", 0)]


def test_several_processes_write_one_store_at_once(tmp_path: Path) -> None:
    code = """
import sys
import numpy as np
from pathlib import Path
from retarget.features.features import Space, StoredLayer
from retarget.features.store import FeatureStore
import retarget.features.store as stores
stores.COMMIT_SECONDS = 0.0
layers = (StoredLayer("a", (2,)), StoredLayer("b", (2, 3)))
store = FeatureStore(Path(sys.argv[1]))
space = store.create(Space("f" * 32, "mean", layers, "eager", 16, 5e6))
start = int(sys.argv[2])
with store.writer(space) as writer:
    for n in range(start, start + 60):
        row = np.array([[n + k / 10 for k in range(8)]], np.float32)
        writer.append(np.array([f"{n:032x}"]), row)
"""
    started = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path), str(start)])
        for start in (0, 30, 60)
    ]
    assert [process.wait(timeout=300) for process in started] == [0, 0, 0]
    store = FeatureStore(tmp_path)
    numbers = range(120)
    assert store.missing(SPACE, ids_of(*numbers)).tolist() == []
    assert np.array_equal(store.read(SPACE, ids_of(*numbers), ("a", "b")), rows_of(*numbers))
    assert len(segment_files(tmp_path / "segments")) == 3


def test_a_full_disk_is_told_and_leaves_a_good_store(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(store, 1)
    whole = os.write

    def half(handle: int, data: memoryview) -> int:
        if len(data) < 8:
            raise OSError(errno.ENOSPC, "No space left on device")
        return whole(handle, data[: len(data) // 2])

    with pytest.raises(StoreError) as told, store.writer(SPACE) as writer:
        writer.append(ids_of(2), rows_of(2))
        writer.flush()
        monkeypatch.setattr(os, "write", half)
        writer.append(ids_of(3), rows_of(3))
        writer.flush()
    monkeypatch.undo()
    for part in (str(store.path), "MB are free", "RETARGET_CACHE", "Free some space"):
        assert part in str(told.value)
    assert store.missing(SPACE, ids_of(1, 2, 3)).tolist() == [2]
    size = segments.Records.of(SPACE).size
    assert all(p.stat().st_size % size == 0 for p in segment_files(store.path / "segments"))
    fill(store, 3)
    assert np.array_equal(store.read(SPACE, ids_of(1, 2, 3), ("a", "b")), rows_of(1, 2, 3))


def test_a_limit_on_file_sizes_stops_a_process_with_one_sentence(tmp_path: Path) -> None:
    code = """
import resource, sys
import numpy as np
from pathlib import Path
from retarget.core.errors import StoreError
from retarget.features.features import Space, StoredLayer
from retarget.features.store import FeatureStore
store = FeatureStore(Path(sys.argv[1]))
space = store.create(Space("f" * 32, "mean", (StoredLayer("a", (1000,)),), "eager", 16))
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
try:
    with store.writer(space) as writer:
        for n in range(100):
            writer.append(np.array([f"{n:032x}"]), np.full((1, 1000), n, np.float32))
            writer.flush()
except StoreError as error:
    sys.exit(str(error))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 1
    assert "can't grow" in done.stderr
    assert "Traceback" not in done.stderr
    store = FeatureStore(tmp_path)
    space = store.space("f" * 32, "mean")
    assert space
    absent = store.missing(space, ids_of(*range(100)))
    assert 0 < len(absent) < 100
    there = range(int(absent[0]))
    assert np.array_equal(store.read(space, ids_of(*there), ("a",))[:, 0], np.array(there))


def test_an_index_on_a_full_disk_says_so(store: FeatureStore) -> None:
    store.create(SPACE)
    connection = store._index._connected()
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages}")
    many = {f"{n:032x}": "x" * 1000 for n in range(100)}
    with pytest.raises(StoreError, match="can't grow"):
        store.mark_unreadable(many, "image-1")
    connection.execute("PRAGMA max_page_count = 1000000")
    store.mark_unreadable(many, "image-1")
    assert store.info().unreadable == 100


def test_a_store_of_a_newer_version_is_refused(store: FeatureStore) -> None:
    store.create(SPACE)
    store.close()
    with sqlite3.connect(store.path / "index.sqlite") as db:
        db.execute("PRAGMA user_version = 9")
    db.close()
    with pytest.raises(StoreError, match=r"newer Retarget.*retarget cache clear"):
        FeatureStore(store.path).space("f" * 32, "mean")


@pytest.mark.parametrize("damage", ["start", "middle", "foreign"])
def test_a_damaged_index_is_told_and_can_be_cleared(store: FeatureStore, damage: str) -> None:
    fill(store, *range(200))
    store.close()
    index = store.path / "index.sqlite"
    if damage == "foreign":
        index.write_bytes(b"not a database, but long enough to be looked at" * 100)
    else:
        data = bytearray(index.read_bytes())
        at = 0 if damage == "start" else 4096
        data[at:] = os.urandom(len(data) - at)
        index.write_bytes(data)
    again = FeatureStore(store.path)
    with pytest.raises(StoreError, match="retarget cache clear") as told:
        again.missing(SPACE, ids_of(1))
    assert str(store.path) in str(told.value)
    again.clear()
    fill(again, 1)
    assert np.array_equal(again.read(SPACE, ids_of(1), ("a", "b")), rows_of(1))


def test_an_index_that_names_other_files_is_refused(store: FeatureStore) -> None:
    fill(store, 1)
    (store.path / "secret.f32").write_bytes(b"x" * 500)
    store.close()
    with sqlite3.connect(store.path / "index.sqlite") as db:
        db.execute("UPDATE segments SET name = '../secret'")
    db.close()
    with pytest.raises(StoreError, match="names no segment"):
        FeatureStore(store.path).missing(SPACE, ids_of(1))


@pytest.mark.parametrize("layers", ["[]", "{", "[[1]]", '[["a", [0]]]', '[["a", ["x"]]]', "7"])
def test_an_index_with_strange_layers_is_refused(store: FeatureStore, layers: str) -> None:
    store.create(SPACE)
    store.close()
    with sqlite3.connect(store.path / "index.sqlite") as db:
        db.execute("UPDATE spaces SET layers = ?", (layers,))
    db.close()
    with pytest.raises(StoreError, match="damaged"):
        FeatureStore(store.path).space(SPACE.fingerprint, "mean")


def test_an_index_with_strange_places_finds_nothing_wrong(store: FeatureStore) -> None:
    fill(store, 1, 2, 3)
    store.close()
    with sqlite3.connect(store.path / "index.sqlite") as db:
        rows = db.execute("SELECT example FROM rows ORDER BY example").fetchall()
        for (example,), place in zip(rows, ("'x'", "-4", "1e300"), strict=True):
            db.execute(f"UPDATE rows SET position = {place} WHERE example = ?", (example,))
    db.close()
    again = FeatureStore(store.path)
    assert again.missing(SPACE, ids_of(1, 2, 3)).tolist() in ([1, 2], [0, 1, 2])
    assert np.array_equal(again.read(SPACE, ids_of(), ("a",)), np.empty((0, 2)))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_process_opens_the_index_itself(store: FeatureStore) -> None:
    fill(store, 1)
    child = os.fork()
    if not child:
        there = store.missing(SPACE, ids_of(1)).tolist() == []
        fill(store, 2)
        os._exit(0 if there else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert store.missing(SPACE, ids_of(1, 2)).tolist() == []


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="RETARGET_CACHE"):
        FeatureStore(tmp_path / "file" / "store").space("f" * 32, "mean")


def test_a_store_cleared_under_a_writer_is_told(store: FeatureStore) -> None:
    with pytest.raises(StoreError, match="cleared meanwhile"), store.writer(SPACE) as writer:
        writer.append(ids_of(1), rows_of(1))


def test_unreadable_examples_are_remembered_by_loader(store: FeatureStore) -> None:
    name = "00" * 15 + "a0"
    store.mark_unreadable({name: "it is empty"}, "image-1")
    store.mark_unreadable({}, "image-1")
    ids = np.array([name, "f" * 32])
    assert store.unreadable(ids, "image-1") == {name: "it is empty"}
    assert store.unreadable(ids, "image-2") == {}
    ends_in_zeros = "a" * 30 + "00"
    store.mark_unreadable({ends_in_zeros: "x"}, "image-1")
    assert store.unreadable(np.array([ends_in_zeros]), "image-1") == {ends_in_zeros: "x"}


def test_info_counts_and_clear_leaves_foreign_files(store: FeatureStore) -> None:
    assert store.info().rows == 0
    assert not store.path.exists()
    fill(store, 1, 2)
    info = store.info()
    assert (info.spaces, info.rows, info.unreadable) == (1, 2, 0)
    assert info.bytes > 2 * segments.Records.of(SPACE).size
    (store.path / "mine.txt").touch()
    store.clear()
    assert store.info().bytes == 0
    assert (store.path / "mine.txt").exists()
    assert segment_files(store.path / "segments") == []
    assert store.space(SPACE.fingerprint, "mean") is None


def test_segments_that_nobody_names_are_swept_when_old(store: FeatureStore) -> None:
    fill(store, 1)
    folder = store.path / "segments"
    old, young = folder / f"{'a' * 32}.f32", folder / f"{'b' * 32}.f32"
    for path in (*segment_files(folder), old, young):
        path.touch()
        if path != young:
            os.utime(path, (0, time.time() - 2 * stores.ORPHAN_SECONDS))
    fill(store, 2)
    assert not old.exists()
    assert young.exists()
    assert store.missing(SPACE, ids_of(1, 2)).tolist() == []


def test_the_default_folder_is_in_the_cache() -> None:
    assert FeatureStore().path == cache_dir() / "features"


def test_a_store_crosses_to_another_process_as_its_path(store: FeatureStore) -> None:
    fill(store, 1)
    again = pickle.loads(pickle.dumps(store))
    assert again.missing(SPACE, ids_of(1)).tolist() == []


def test_nothing_in_the_store_is_pickle(store: FeatureStore) -> None:
    fill(store, 1)
    store.close()
    kinds = {p.suffix for p in store.path.rglob("*") if p.is_file()}
    assert kinds <= {".sqlite", ".f32", ".sqlite-wal", ".sqlite-shm"}
