import base64
import os
from pathlib import Path

import pytest
from PIL import Image

from retarget.reports.pictures import MOST_BYTES, embedded


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    inside = tmp_path / "run"
    (inside / "pictures").mkdir(parents=True)
    for name in ("pictures/a.png", "pictures/b.jpg"):
        Image.new("RGB", (8, 8), "teal").save(inside / name)
    Image.new("RGB", (8, 8), "red").save(tmp_path / "secret.png")
    return inside


@pytest.mark.parametrize(
    ("name", "kind"), [("pictures/a.png", "image/png"), ("pictures/b.jpg", "image/jpeg")]
)
def test_picture_inside_is_embedded_byte_for_byte(folder: Path, name: str, kind: str) -> None:
    address = embedded(folder, name)
    assert address is not None
    head, content = address.split(",")
    assert head == f"data:{kind};base64"
    assert base64.b64decode(content) == (folder / name).read_bytes()


@pytest.mark.parametrize(
    "name",
    [
        "../secret.png",
        "pictures/../../secret.png",
        "/etc/passwd",
        "",
        ".",
        "pictures",
        "pictures/none.png",
        "pictures\\a.png",
        "pictures/a.png\0",
        "x" * 5000,
    ],
)
def test_path_that_leaves_or_names_no_file_is_refused(folder: Path, name: str) -> None:
    assert embedded(folder, name) is None


def test_absolute_path_is_refused_even_inside(folder: Path) -> None:
    assert embedded(folder, str(folder / "pictures" / "a.png")) is None


def test_links_are_never_followed(folder: Path, tmp_path: Path) -> None:
    (folder / "out.png").symlink_to(tmp_path / "secret.png")
    (folder / "in.png").symlink_to(folder / "pictures" / "a.png")
    (folder / "away").symlink_to(tmp_path)
    assert embedded(folder, "out.png") is None
    assert embedded(folder, "in.png") is None
    assert embedded(folder, "away/secret.png") is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<svg onload='alert(1)'/>",
        b"GIF89a" + b"\0" * 50,
        b"%!PS-Adobe EPSF",
        b"\x89PNG\r\n",
        b"\xff\xd8",
        b"prefix\x89PNG\r\n\x1a\n",
    ],
)
def test_file_that_does_not_begin_like_a_picture_is_refused(folder: Path, content: bytes) -> None:
    (folder / "odd.png").write_bytes(content)
    assert embedded(folder, "odd.png") is None


def test_large_file_is_refused_and_the_largest_allowed_is_not(folder: Path) -> None:
    png = (folder / "pictures" / "a.png").read_bytes()
    (folder / "large.png").write_bytes(png.ljust(MOST_BYTES, b"\0"))
    (folder / "most.png").write_bytes(png.ljust(MOST_BYTES - 1, b"\0"))
    assert embedded(folder, "large.png") is None
    assert embedded(folder, "most.png") is not None


def test_pipe_neither_hangs_nor_shows(folder: Path) -> None:
    os.mkfifo(folder / "pipe.png")
    assert embedded(folder, "pipe.png") is None


def test_missing_run_directory_shows_nothing(tmp_path: Path) -> None:
    assert embedded(tmp_path / "gone", "a.png") is None
