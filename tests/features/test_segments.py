import os
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retarget.features.segments import (
    Records,
    SegmentWriter,
    keys_of,
    map_segment,
    segment_files,
    segment_path,
)


def ids_of(*numbers: int) -> np.ndarray:
    return np.array([f"{number:032x}" for number in numbers])


def rows(count: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, width)).astype(np.float32)


def test_a_key_is_the_id_in_binary_even_where_it_ends_in_zeros() -> None:
    name = "ab" + "00" * 15
    assert keys_of([name]).tobytes() == bytes.fromhex(name)


@pytest.mark.parametrize("wrong", ["", "a", "g" * 32, "a" * 31, "A" * 32, "a" * 33, " " * 32])
def test_what_is_no_id_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match="no example id"):
        keys_of([wrong])


def test_a_record_is_the_key_the_checksums_and_the_numbers() -> None:
    records = Records((2, 3))
    values = rows(1, 5)
    packed = records.pack(keys_of(ids_of(7)), values).tobytes()
    expected = (
        bytes.fromhex(f"{7:032x}")
        + zlib.crc32(values[0, :2].tobytes()).to_bytes(4, "little")
        + zlib.crc32(values[0, 2:].tobytes()).to_bytes(4, "little")
        + values.astype("<f4").tobytes()
    )
    assert packed == expected


@settings(deadline=None, max_examples=60)
@given(byte=st.integers(0, 16 + 8 + 20 - 1), bit=st.integers(0, 7))
def test_no_flipped_bit_is_read_as_good(byte: int, bit: int) -> None:
    records = Records((2, 3))
    keys, values = keys_of(ids_of(1, 2)), rows(2, 5)
    packed = records.pack(keys, values)
    packed[1, byte] ^= 1 << bit
    out = np.empty((2, 5), np.float32)
    good = records.unpack(packed, np.arange(2), keys, (0, 1), out)
    assert good.tolist() == [True, False]
    assert np.array_equal(out[0], values[0])


def test_layers_are_read_in_the_order_asked_from_rows_in_any_order() -> None:
    records = Records((2, 3))
    keys, values = keys_of(ids_of(1, 2, 3)), rows(3, 5)
    packed = records.pack(keys, values)
    out = np.empty((2, 5), np.float32)
    good = records.unpack(packed, np.array([2, 0]), keys[[2, 0]], (1, 0), out)
    assert good.all()
    assert np.array_equal(out, np.hstack([values[[2, 0], 2:], values[[2, 0], :2]]))


def test_a_segment_is_written_in_parts_and_mapped_whole(tmp_path: Path) -> None:
    records = Records((4,))
    writer = SegmentWriter(tmp_path, records)
    values = rows(5, 4)
    keys = keys_of(ids_of(*range(5)))
    assert writer.append(keys[:2], values[:2]) == 0
    assert writer.append(keys[2:], values[2:]) == 2
    writer.close()
    mapped = map_segment(writer.path, records.size)
    assert mapped.tobytes() == records.pack(keys, values).tobytes()


def test_a_segment_without_rows_leaves_no_file(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path, Records((4,)))
    writer.close()
    assert list(tmp_path.iterdir()) == []


def test_a_record_cut_off_at_the_end_is_not_mapped(tmp_path: Path) -> None:
    records = Records((4,))
    writer = SegmentWriter(tmp_path, records)
    writer.append(keys_of(ids_of(1, 2)), rows(2, 4))
    writer.close()
    os.truncate(writer.path, 2 * records.size - 1)
    assert len(map_segment(writer.path, records.size)) == 1
    os.truncate(writer.path, records.size - 1)
    assert len(map_segment(writer.path, records.size)) == 0
    assert len(map_segment(tmp_path / "gone", records.size)) == 0


def test_a_symbolic_link_is_no_segment(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"x" * 64)
    link = segment_path(tmp_path, "0" * 32)
    link.symlink_to(tmp_path / "secret")
    assert len(map_segment(link, 32)) == 0


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "", "a" * 31, "A" * 32, "a" * 32 + "\n", "/x"]
)
def test_only_segment_names_become_paths(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="names no segment"):
        segment_path(tmp_path, name)


def test_only_segments_are_listed(tmp_path: Path) -> None:
    (tmp_path / f"{'a' * 32}.f32").touch()
    (tmp_path / "notes.f32").touch()
    (tmp_path / f"{'b' * 32}.txt").touch()
    assert [p.stem for p in segment_files(tmp_path)] == ["a" * 32]
    assert segment_files(tmp_path / "none") == []
