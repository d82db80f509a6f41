import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from retarget.core.errors import UsageError
from retarget.core.paths import cache_dir
from retarget.features import disk


@pytest.fixture(autouse=True)
def plenty(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk of which 1,000,000 bytes are free, whatever lies on it."""
    facts = SimpleNamespace(free=1_000_000)
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda path: facts)


def fill(key: str, size: int, age: float = 0.0) -> Path:
    """A key of so many bytes that was last used so many seconds ago."""
    place = disk.Place(key)
    place.folder.mkdir(exist_ok=True)
    (place.folder / "rows").write_bytes(bytes(size))
    os.utime(place.folder.with_suffix(".lock"), (time.time() - age,) * 2)
    return place.folder


def cap(monkeypatch: pytest.MonkeyPatch, size: float) -> None:
    monkeypatch.setenv(disk.LIMIT, str(size / 1e9))


def test_the_limit_is_what_is_told_or_half_of_what_would_be_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert disk.limit() == 500_000
    cap(monkeypatch, 3000)
    assert disk.limit() == 3000
    monkeypatch.setenv(disk.LIMIT, " ")
    fill("a", 300_000)
    assert disk.limit() == 650_000
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda path: SimpleNamespace(free=10**15))
    assert disk.limit() == 10**10
    monkeypatch.setenv(disk.LIMIT, "0")
    assert disk.limit() == 0


@pytest.mark.parametrize("told", ["much", "-1", "nan", "inf", "1e99"])
def test_a_limit_that_is_no_size_is_refused(monkeypatch: pytest.MonkeyPatch, told: str) -> None:
    monkeypatch.setenv(disk.LIMIT, told)
    with pytest.raises(UsageError, match=f"{disk.LIMIT} is '{told}': give gigabytes"):
        disk.limit()


def test_only_as_much_is_deleted_as_is_needed_oldest_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cap(monkeypatch, 1000)
    ages = {"b": 20, "a": 30, "c": 10}
    folders = {key: fill(key, 300, age) for key, age in ages.items()}
    place = disk.Place("mine")
    assert place.make_room(100)
    assert all(folder.exists() for folder in folders.values())
    assert place.make_room(101)
    assert [key for key in sorted(folders) if folders[key].exists()] == ["b", "c"]
    assert place.make_room(1000)
    assert not any(folder.exists() for folder in folders.values())
    assert not place.make_room(1001)


def test_looking_at_a_key_is_no_use_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    cap(monkeypatch, 1000)
    old, new = fill("old", 300, 50), fill("new", 300, 40)
    for _ in range(3):
        assert disk.in_use() == 0
    assert disk.Place("mine").make_room(500)
    assert (old.exists(), new.exists()) == (False, True)


def test_nothing_is_deleted_in_vain(monkeypatch: pytest.MonkeyPatch) -> None:
    cap(monkeypatch, 1000)
    free = fill("free", 300)
    held = disk.Place("held")
    used = fill("held", 300)
    mine = disk.Place("mine")
    assert disk.in_use() == 300
    assert not mine.make_room(701)
    assert free.exists()
    assert mine.make_room(700)
    assert (free.exists(), used.exists()) == (False, True)
    del held
    assert disk.in_use() == 0
    assert mine.make_room(701)


def test_ones_own_rows_are_never_deleted_to_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    cap(monkeypatch, 1000)
    folder = fill("mine", 600, 99)
    mine = disk.Place("mine")
    assert not mine.make_room(401)
    assert mine.make_room(400)
    assert folder.exists()


def test_a_key_is_cleared_unless_another_uses_it() -> None:
    folder = fill("mine", 600)
    mine, other = disk.Place("mine"), disk.Place("mine")
    assert not mine.clear()
    assert folder.exists()
    del other
    assert mine.clear()
    assert not folder.exists()
    assert disk.in_use(but=mine.name) == 0
    folder.mkdir()
    (folder / "rows").write_bytes(b"12")
    assert disk.in_use() == 2  # it is still held after clearing


def test_what_another_process_uses_stays() -> None:
    folder = fill("mine", 600)
    program = "import sys; from retarget.features import disk; p = disk.Place('mine'); "
    process = subprocess.Popen(
        [sys.executable, "-c", program + "print('held', flush=True); sys.stdin.read()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    assert disk.in_use() == 600
    assert not disk.Place("mine").clear()
    process.kill()
    process.communicate()
    assert disk.in_use() == 0
    assert disk.Place("mine").clear()
    assert not folder.exists()


def test_only_folders_of_keys_are_counted_or_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    cap(monkeypatch, 1000)
    place = disk.Place("mine")
    foreign = cache_dir() / "activations" / "notes"
    foreign.mkdir()
    (foreign / "text").write_bytes(bytes(5000))
    assert place.make_room(1000)
    assert foreign.exists()


def test_keys_are_no_paths() -> None:
    place = disk.Place("../../etc")
    assert place.folder.parent == cache_dir() / "activations"
    assert disk.Place("../../etc").folder == place.folder != disk.Place("other").folder


def test_a_lock_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    place = disk.Place("mine")
    lock = place.folder.with_suffix(".lock")
    lock.unlink()
    lock.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        disk.Place("mine")
    assert not (tmp_path / "elsewhere").exists()


def test_without_locks_nothing_is_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(handle: int, how: int) -> None:
        raise OSError(95, "Operation not supported")

    cap(monkeypatch, 1000)
    folder = fill("old", 600, 99)
    monkeypatch.setattr(disk.fcntl, "flock", unsupported)
    mine = disk.Place("mine")
    assert mine.make_room(400)
    assert not mine.make_room(401)
    assert not mine.clear()
    assert folder.exists()


def test_bytes_of_what_vanishes_meanwhile(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(10))
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "b").write_bytes(bytes(20))
    assert disk.folder_bytes(tmp_path) == 30
    assert disk.folder_bytes(tmp_path / "gone") == 0
    lstat = Path.lstat

    def gone(path: Path) -> os.stat_result:
        if path.name == "a":
            raise FileNotFoundError(path)
        return lstat(path)

    monkeypatch.setattr(Path, "lstat", gone)
    assert disk.folder_bytes(tmp_path) == 20


def test_a_key_without_a_lock_counts_as_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    cap(monkeypatch, 1000)
    lost, known = fill("lost", 300), fill("known", 300, 9999)
    lost.with_suffix(".lock").unlink()
    assert disk.Place("mine").make_room(600)
    assert (lost.exists(), known.exists()) == (False, True)
    shutil.rmtree(cache_dir() / "activations")
    assert disk.in_use() == 0
