import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from retarget.core.hashing import hash_file
from retarget.core.paths import cache_dir
from retarget.tasks import ledger
from retarget.tasks.ledger import Trouble, identify_files


def _old(path: Path, text: str, age: float = 100) -> Path:
    path.write_text(text)
    then = time.time() - age
    os.utime(path, (then, then))
    return path


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were opened to be hashed."""
    paths: list[Path] = []

    def counted(path: Path) -> str:
        paths.append(path)
        return hash_file(path)

    monkeypatch.setattr(ledger, "hash_file", counted)
    return paths


def test_unchanged_files_are_not_opened_again(tmp_path: Path, opened: list[Path]) -> None:
    files = [_old(tmp_path / f"{i}.txt", f"content {i}") for i in range(300)]
    first = identify_files(files)
    assert first.ids == tuple(hash_file(path) for path in files)
    assert len(opened) == 300
    assert identify_files(files) == first
    assert len(opened) == 300


def test_a_changed_file_is_opened_and_known_anew(tmp_path: Path, opened: list[Path]) -> None:
    path = _old(tmp_path / "a", "one")
    before = identify_files([path]).ids
    _old(path, "two", age=50)
    after = identify_files([path]).ids
    assert after == (hash_file(path),) != before
    _old(path, "six", age=50.5)
    assert identify_files([path]).ids == (hash_file(path),)


def test_a_file_too_young_is_not_trusted(tmp_path: Path, opened: list[Path]) -> None:
    path = tmp_path / "a"
    path.write_text("one")
    identify_files([path])
    identify_files([path])
    assert len(opened) == 2
    later = time.time() + 1000
    os.utime(path, (later, later))
    identify_files([path])
    identify_files([path])
    assert len(opened) == 4


def test_what_has_no_content_says_why(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.touch()
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    long = tmp_path / ("x" * 300)
    good = _old(tmp_path / "good", "x")
    found = identify_files([empty, tmp_path / "gone", pipe, long, good, tmp_path])
    assert found.troubles[0] == Trouble("unreadable", "is empty (0 bytes)")
    assert found.troubles[1] == Trouble("missing", "is not there")
    assert "regular" in found.troubles[2].reason
    assert found.troubles[3].kind == "unreadable"
    assert "regular" in found.troubles[5].reason
    assert found.ids[4] == hash_file(good)


def test_a_file_that_may_not_be_opened_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _old(tmp_path / "a", "x")

    def refuse(_: Path) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(ledger, "hash_file", refuse)
    assert identify_files([path]).troubles[0].reason == "can't be opened (permission denied)"


@pytest.mark.parametrize(
    "damage", [b"not a database at all" * 99, b"SQLite format 3\0" + b"\7" * 9000]
)
def test_a_damaged_ledger_changes_nothing_and_heals(
    damage: bytes, tmp_path: Path, opened: list[Path]
) -> None:
    place = cache_dir() / "files.sqlite"
    place.write_bytes(damage)
    path = _old(tmp_path / "a", "x")
    for _ in range(3):
        assert identify_files([path]).ids == (hash_file(path),)
    assert len(opened) <= 2


def test_a_flipped_hash_is_not_believed(tmp_path: Path) -> None:
    path = _old(tmp_path / "a", "x")
    identify_files([path])
    with sqlite3.connect(cache_dir() / "files.sqlite") as database:
        assert database.execute("UPDATE files SET id = ?", ("0" * 32,)).rowcount == 1
    assert identify_files([path]).ids == (hash_file(path),)


def test_a_cache_that_cannot_be_written_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    monkeypatch.setenv("RETARGET_CACHE", str(blocked / "below"))
    path = _old(tmp_path / "a", "x")
    assert identify_files([path]).ids == (hash_file(path),)


def test_several_processes_fill_one_ledger(tmp_path: Path, opened: list[Path]) -> None:
    files = [_old(tmp_path / f"{i}", f"{i}") for i in range(200)]
    code = (
        "import sys; from pathlib import Path; from retarget.tasks.ledger import identify_files;"
        "print(*identify_files(sorted(Path(sys.argv[1]).iterdir())).ids)"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
        for _ in range(3)
    ]
    told = [process.communicate()[0].decode().split() for process in running]
    expected = [hash_file(path) for path in sorted(tmp_path.iterdir())]
    assert told == [expected] * 3
    assert list(identify_files(sorted(files)).ids) == expected
    assert not opened


def test_names_that_are_not_utf8_are_known(tmp_path: Path, opened: list[Path]) -> None:
    name = os.fsdecode(b"caf\xe9\n\xff.txt")
    try:
        path = _old(tmp_path / name, "x")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    assert identify_files([path]).ids == identify_files([path]).ids
    assert len(opened) == 1
