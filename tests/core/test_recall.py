"""Results kept under a digest of what decides them."""

import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from retarget.core import hashing, recall
from retarget.core.hashing import versions_of
from retarget.core.paths import cache_dir
from retarget.core.recall import FOLDER, recalled


class Counted:
    """Makes an array, and knows how often it was asked to."""

    def __init__(self, value: float = 1.5) -> None:
        self.value, self.times = value, 0

    def __call__(self) -> dict[str, np.ndarray]:
        self.times += 1
        return {"numbers": np.full((2, 3), self.value), "names": np.array(["ä", "b\nc"])}


def files() -> list[Path]:
    return sorted((cache_dir() / FOLDER).glob("*.npz"))


def test_the_same_is_made_once_and_read_to_the_bit() -> None:
    make = Counted(1 / 3)
    decided = [np.arange(3), np.array(["x", "y"]), "probe", 4, None, ("a", 1)]
    first, second = (recalled("thing", decided, make) for _ in range(2))
    assert make.times == 1
    assert np.array_equal(first["numbers"], second["numbers"])
    assert first["names"].tolist() == second["names"].tolist() == ["ä", "b\nc"]


@pytest.mark.parametrize(
    "other",
    [
        [np.arange(4), "probe"],
        [np.arange(3, dtype=np.int32), "probe"],
        [np.arange(3).reshape(3, 1), "probe"],
        [np.arange(3), "crf"],
        [np.arange(3)],
        [np.arange(3), "probe", None],
    ],
)
def test_anything_else_is_made_anew(other: list[object]) -> None:
    make = Counted()
    recalled("thing", [np.arange(3), "probe"], make)
    recalled("thing", other, make)
    assert make.times == 2


def test_another_sort_or_version_is_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    make = Counted()
    recalled("thing 1", [1], make)
    recalled("thing 2", [1], make)
    monkeypatch.setattr(recall, "versions_of", lambda packages: dict.fromkeys(packages, "9"))
    recalled("thing 1", [1], make)
    assert make.times == 3


@pytest.mark.parametrize(
    "damage", ["cut", "flipped", "empty", "no archive", "pickle", "one array", "no names"]
)
def test_what_is_damaged_is_made_anew(damage: str) -> None:
    make = Counted()
    recalled("thing", [1], make)
    (path,) = files()
    whole = path.read_bytes()
    if damage == "cut":
        path.write_bytes(whole[: len(whole) // 2])
    elif damage == "flipped":
        at = whole.index(np.full((2, 3), 1.5).tobytes())
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    elif damage == "pickle":
        with path.open("wb") as stream:
            np.savez(stream, numbers=np.array([{"a": 1}], dtype=object))
    elif damage in ("one array", "no names"):
        gone = "names.npy" if damage == "one array" else f"{recall._NAMES}.npy"
        with zipfile.ZipFile(io.BytesIO(whole)) as old, zipfile.ZipFile(path, "w") as new:
            for name in set(old.namelist()) - {gone}:
                new.writestr(name, old.read(name))
    else:
        path.write_bytes(b"" if damage == "empty" else b"not an archive")
    again = recalled("thing", [1], make)
    assert make.times == 2
    assert (again["numbers"] == 1.5).all()
    assert again["names"].tolist() == ["ä", "b\nc"]
    recalled("thing", [1], make)
    assert make.times == 2


def test_a_disk_that_takes_nothing_is_no_reason_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **more: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    assert (recalled("thing", [1], Counted())["numbers"] == 1.5).all()
    assert not list((cache_dir() / FOLDER).iterdir())


def test_what_was_not_used_for_longest_goes_first() -> None:
    for i in range(3):
        recalled("thing", [i], Counted())
    kept = files()
    for age, path in zip((30, 10, 20), kept, strict=True):
        os.utime(path, (1e9 - age, 1e9 - age))
    recall.prune(2.5 * kept[0].stat().st_size / 1e6)
    assert files() == [kept[1], kept[2]]
    recall.prune(0.0)
    assert not files()


def test_a_package_that_is_not_there_has_no_version() -> None:
    found = versions_of(["numpy", "no-such-package"])
    assert found == {"numpy": np.__version__, "no-such-package": ""}


def made_with(number: int) -> type:
    class Made:
        def tell(self) -> int:
            return number

    return Made


def test_nobody_says_what_a_class_is_that_a_function_made() -> None:
    assert hashing.code_of(Counted) == hashing.code_of(Counted) is not None
    assert hashing.code_of(made_with(1)) is None
    assert hashing.code_of(type("Derived", (made_with(2),), {"__module__": __name__})) is None


def test_a_file_is_hashed_again_once_it_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []
    whole = hashing.hash_file
    monkeypatch.setattr(hashing, "hash_file", lambda path: read.append(path) or whole(path))
    path = tmp_path / "weights"
    path.write_bytes(b"one")
    first = [hashing.hash_file_once(path) for _ in range(3)]
    assert len(read) == 1 and set(first) == {whole(path)}
    path.write_bytes(b"other")
    assert hashing.hash_file_once(path) == whole(path) != first[0]
    with pytest.raises(OSError):
        hashing.hash_file_once(tmp_path / "none")
