import io
import os
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from retarget.core.errors import UnreadableInput
from retarget.tasks import images
from retarget.tasks.images import identify_image, is_picture, load_image

RED, WHITE = (255, 0, 0), (255, 255, 255)


def test_every_format_on_the_list_is_read_as_pillow_reads_it(
    encoded: dict[str, bytes], tmp_path: Path
) -> None:
    for name, data in encoded.items():
        path = tmp_path / "picture.bin"
        path.write_bytes(data)
        expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
        for reference in (path, str(path), data):
            loaded = load_image(reference)
            assert loaded.mode == "RGB", name
            assert np.array_equal(np.asarray(loaded), expected), name


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_undone(orientation: int, tmp_path: Path) -> None:
    from PIL import ImageOps

    image = Image.new("RGB", (64, 32))
    image.paste(RED, (0, 0, 24, 12))
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "turned.jpg"
    image.save(path, exif=exif, quality=95)
    with Image.open(path) as plain:
        expected = np.asarray(ImageOps.exif_transpose(plain).convert("RGB"))
    assert np.array_equal(np.asarray(load_image(path)), expected)


def test_broken_exif_loses_no_picture(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.new("RGB", (16, 16), RED).save(path, exif=b"Exif\0\0II*\0\xff\xff\xff\x7f")
    assert load_image(path).size == (16, 16)


def test_transparency_is_laid_on_white(tmp_path: Path) -> None:
    clear = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    half = Image.new("RGBA", (4, 4), (255, 0, 0, 128))
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([0, 0, 0, 255, 0, 0])
    grey = Image.new("LA", (4, 4), (10, 0))
    for image, expected in (
        (clear, WHITE),
        (half, (255, 127, 127)),
        (grey, WHITE),
    ):
        path = tmp_path / "a.png"
        image.save(path)
        assert load_image(path).getpixel((0, 0)) == pytest.approx(expected, abs=1)
        assert load_image(image).getpixel((0, 0)) == pytest.approx(expected, abs=1)
    path = tmp_path / "p.gif"
    palette.save(path, transparency=1)
    assert load_image(path).getpixel((0, 0)) == WHITE
    Image.new("RGB", (4, 4), RED).save(tmp_path / "t.png", transparency=RED)
    assert load_image(tmp_path / "t.png").getpixel((0, 0)) == WHITE


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr", "HSV", "RGBX"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    image = Image.new("RGB", (6, 5), (255, 255, 255)).convert(mode)
    loaded = load_image(image)
    assert loaded.mode == "RGB"
    assert loaded.getpixel((2, 2)) == pytest.approx(WHITE, abs=2)


def test_cmyk_jpeg_keeps_its_colours(tmp_path: Path) -> None:
    path = tmp_path / "print.jpg"
    Image.new("RGB", (16, 16), (200, 30, 30)).convert("CMYK").save(path, quality=95)
    assert load_image(path).getpixel((5, 5)) == pytest.approx((200, 30, 30), abs=6)


def test_sixteen_bits_are_scaled_by_the_bits_in_use(tmp_path: Path) -> None:
    for most, bits in ((255, 8), (4095, 12), (65535, 16), (3000, 12)):
        values = np.linspace(0, most, 64).astype(np.uint16).reshape(8, 8)
        path = tmp_path / "deep.png"
        Image.fromarray(values).save(path)
        expected = np.rint(values * (255 / (2**bits - 1)))
        assert np.array_equal(np.asarray(load_image(path))[:, :, 0], expected)
        tiff = tmp_path / "deep.tif"
        Image.fromarray(values).save(tiff)
        assert np.array_equal(np.asarray(load_image(tiff))[:, :, 1], expected)


def test_float_tiff_is_scaled_by_its_range(tmp_path: Path) -> None:
    for values, expected in (
        ([[0.0, 0.5, 1.0]], [0, 128, 255]),
        ([[0.0, 100.0, 255.0]], [0, 100, 255]),
        ([[-1000.0, 0.0, 1000.0]], [0, 128, 255]),
        ([[np.nan, 0.0, 1.0]], [0, 0, 255]),
        ([[5000.0, 5000.0, 5000.0]], [0, 0, 0]),
    ):
        path = tmp_path / "float.tif"
        Image.fromarray(np.array(values, dtype=np.float32)).save(path)
        assert np.asarray(load_image(path))[0, :, 0] == pytest.approx(expected, abs=1)


def test_first_frame_of_an_animation_is_taken(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), c) for c in ((255, 0, 0), (0, 255, 0))]
    for name in ("a.gif", "a.png", "a.webp", "a.tiff"):
        path = tmp_path / name
        frames[0].save(path, save_all=True, append_images=frames[1:])
        red, green, _ = load_image(path).getpixel((3, 3))
        assert red > 240, name
        assert green < 15, name


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1)])
def test_pictures_one_pixel_wide_are_read(size: tuple[int, int], tmp_path: Path) -> None:
    for suffix in ("jpg", "png"):
        path = tmp_path / f"thin.{suffix}"
        Image.new("RGB", size, RED).save(path)
        assert load_image(path, detail=224).size == size


def test_detail_bounds_the_shorter_side_from_below(tmp_path: Path) -> None:
    path = tmp_path / "large.jpg"
    Image.effect_noise((1600, 1000), 60).convert("RGB").save(path)
    for detail, shorter in ((0, 1000), (900, 1000), (501, 1000), (500, 500), (126, 250), (1, 125)):
        loaded = load_image(path, detail)
        assert min(loaded.size) == shorter
        again = load_image(path, detail)
        assert loaded.tobytes() == again.tobytes()


def test_reduced_decoding_stays_close_to_whole_decoding(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    ramp = np.add.outer(np.linspace(0, 120, 800), np.linspace(0, 120, 800)).astype(np.uint8)
    Image.fromarray(ramp).convert("RGB").save(path, quality=95)
    small = load_image(path, 200).resize((50, 50), Image.Resampling.BOX)
    whole = load_image(path, 0).resize((50, 50), Image.Resampling.BOX)
    assert np.abs(np.asarray(small, float) - np.asarray(whole, float)).mean() < 1


def test_arrays_and_tensors_in_every_layout_give_the_same_picture() -> None:
    import torch

    pixels = np.random.default_rng(0).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    pixels[0, 0] = 255
    for reference in (
        pixels,
        pixels.transpose(2, 0, 1),
        pixels / 255.0,
        pixels.astype(np.float32),
        pixels.astype(np.int64),
        torch.tensor(pixels),
        torch.tensor(pixels).permute(2, 0, 1).float().requires_grad_() / 255,
        Image.fromarray(pixels),
    ):
        assert np.array_equal(np.asarray(load_image(reference)), pixels)
    grey = pixels[:, :, 0]
    for reference in (grey, grey[:, :, None], grey[None]):
        assert np.array_equal(np.asarray(load_image(reference)), np.stack([grey] * 3, axis=2))
    assert np.array_equal(np.asarray(load_image(grey > 99))[:, :, 0], (grey > 99) * 255)


@pytest.mark.parametrize(
    ("reference", "reason"),
    [
        (np.zeros((0, 4)), "no pixels"),
        (np.zeros((5, 5, 5)), "shape"),
        (np.zeros(7), "shape"),
        (np.array([["a"]]), "not numbers"),
        (object(), "object"),
        (Path("/nowhere/at/all.png"), "is not there"),
        (Path("/"), "not a regular file"),
        (b"", "empty"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 1 1\n", "PostScript"),
        (b"\xc5\xd0\xd3\xc6" + bytes(40), "PostScript"),
        (b"%PDF-1.7", "PDF"),
        (b"\x80\x04\x95\x10", "pickle"),
        (b"\x89HDF\r\n\x1a\n", "HDF5"),
        (b"PK\x03\x04", "zip"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"\0\0\0\x18ftypheic", "HEIC"),
        (b"hello", "not a picture"),
        (b"\x89PNG\r\n\x1a\n", "damaged"),
    ],
)
def test_what_is_no_picture_is_refused_with_the_reason(reference: object, reason: str) -> None:
    with pytest.raises(UnreadableInput, match=reason):
        load_image(reference)


def test_postscript_named_jpg_never_reaches_its_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import EpsImagePlugin

    def run(*_: object, **__: object) -> None:
        raise AssertionError("the PostScript reader was called")

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", run)
    monkeypatch.setattr(EpsImagePlugin.EpsImageFile, "_open", run)
    path = tmp_path / "innocent.jpg"
    Image.new("RGB", (8, 8)).save(tmp_path / "a.eps")
    path.write_bytes((tmp_path / "a.eps").read_bytes())
    with pytest.raises(UnreadableInput, match="PostScript"):
        load_image(path)


def _png_claiming(width: int, height: int) -> bytes:
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    data = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [10_001, 14_000, 60_000])
def test_bombs_are_refused_by_their_header_without_warnings(side: int) -> None:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        start = time.process_time()
        with pytest.raises(UnreadableInput, match="pixels"):
            load_image(_png_claiming(side, side))
        assert time.process_time() - start < 1
    assert not told


def test_pixel_limit_is_counted_after_reduced_decoding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "MAX_PIXELS", 10_000)
    path = tmp_path / "a.jpg"
    Image.new("RGB", (400, 400)).save(path)
    assert load_image(path, 50).size == (50, 50)
    with pytest.raises(UnreadableInput, match="400 × 400 pixels"):
        load_image(path, 0)


def test_truncated_files_are_unreadable_and_never_half_grey(encoded: dict[str, bytes]) -> None:
    for name, data in encoded.items():
        for share in (0.02, 0.1, 0.3, 0.5, 0.7, 0.9):
            cut = data[: int(len(data) * share)]
            for detail in (0, 4, 16):
                try:
                    loaded = load_image(cut, detail)
                except UnreadableInput:
                    continue
                assert loaded.tobytes() == load_image(data, detail).tobytes(), (name, share)


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "a.png"
    os.mkfifo(pipe)
    with pytest.raises(UnreadableInput, match="regular"):
        load_image(pipe)
    with pytest.raises(UnreadableInput, match="regular"):
        identify_image(pipe)


def test_identity_is_of_the_content(tmp_path: Path) -> None:
    import torch

    pixels = np.random.default_rng(0).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    path, copy = tmp_path / "a.png", tmp_path / "b.png"
    Image.fromarray(pixels).save(path)
    copy.write_bytes(path.read_bytes())
    assert identify_image(path) == identify_image(copy) == identify_image(path.read_bytes())
    assert identify_image(pixels) == identify_image(torch.tensor(pixels))
    assert identify_image(pixels) != identify_image(pixels[::-1])
    assert identify_image(pixels) != identify_image(pixels.reshape(6, 5, 3))
    assert identify_image(Image.fromarray(pixels)) == identify_image(Image.fromarray(pixels))
    palette = Image.fromarray(pixels).convert("P")
    other = palette.copy()
    other.putpalette([9] * 768)
    assert identify_image(palette) != identify_image(other)


def test_pictures_are_known_by_ending_or_first_bytes(tmp_path: Path) -> None:
    image = Image.new("RGB", (4, 4))
    image.save(tmp_path / "A.JPEG")
    image.save(tmp_path / "bare", "PNG")
    (tmp_path / "notes").write_text("hello")
    assert is_picture(tmp_path / "A.JPEG")
    assert is_picture(tmp_path / "bare")
    assert not is_picture(tmp_path / "notes")
    assert not is_picture(tmp_path / "missing")
    assert not is_picture(tmp_path / "notes.txt")


def _mutations(data: bytes, rng: np.random.Generator, other: bytes) -> bytes:
    kind = rng.integers(4)
    changed = bytearray(data)
    if kind == 0:
        for place in rng.integers(0, len(changed), rng.integers(1, 9)):
            changed[place] ^= 1 << int(rng.integers(8))
    elif kind == 1:
        del changed[int(rng.integers(1, len(changed))) :]
    elif kind == 2:
        place = int(rng.integers(0, len(changed)))
        start = int(rng.integers(0, len(other)))
        changed[place : place + 40] = other[start : start + int(rng.integers(1, 60))]
    else:
        place = int(rng.integers(0, min(64, len(changed))))
        changed[place] = int(rng.choice([0, 1, 127, 128, 255]))
    return bytes(changed)


def test_thousands_of_mutated_files_are_read_or_refused_quickly(
    encoded: dict[str, bytes],
) -> None:
    rng = np.random.default_rng(1)
    kinds = list(encoded.values())
    outcomes = {"read": 0, "refused": 0}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(4500):
            data = _mutations(kinds[rng.integers(len(kinds))], rng, kinds[rng.integers(len(kinds))])
            start = time.process_time()
            try:
                loaded = load_image(data, int(rng.choice([0, 8, 64])))
            except UnreadableInput as reason:
                assert str(reason)
                outcomes["refused"] += 1
            else:
                assert loaded.mode == "RGB"
                assert loaded.tobytes()
                outcomes["read"] += 1
            assert time.process_time() - start < 5
    assert sum(outcomes.values()) == 4500
    assert min(outcomes.values()) > 500


def test_loading_in_threads_gives_the_same_pictures(encoded: dict[str, bytes]) -> None:
    expected = {name: load_image(data).tobytes() for name, data in encoded.items()}
    wrong: list[str] = []

    def work() -> None:
        wrong.extend(
            name for name, data in encoded.items() if load_image(data).tobytes() != expected[name]
        )

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_sizes_are_told_from_the_header_alone(tmp_path: Path) -> None:
    from retarget.tasks.images import measure_image

    path = tmp_path / "cut.jpg"
    Image.new("RGB", (300, 200)).save(path)
    path.write_bytes(path.read_bytes()[:700])
    assert measure_image(path) == {"width, pixels": 300, "height, pixels": 200}
    assert measure_image(np.zeros((4, 7), np.uint8)) == {"width, pixels": 7, "height, pixels": 4}
    (tmp_path / "no.jpg").write_bytes(b"%!PS-Adobe")
    with pytest.raises(UnreadableInput, match="PostScript"):
        measure_image(tmp_path / "no.jpg")
