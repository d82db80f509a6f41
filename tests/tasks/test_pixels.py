import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from retarget.core.errors import UnreadableInput
from retarget.tasks.pixels import array_to_image, channels_last, wide_to_bytes


@settings(deadline=None, max_examples=60)
@given(
    st.one_of(
        arrays(np.float32, array_shapes(min_dims=2, max_dims=2)),
        arrays(np.uint16, array_shapes(min_dims=2, max_dims=2)),
        arrays(np.int64, array_shapes(min_dims=2, max_dims=2)),
    )
)
def test_numbers_of_any_kind_become_bytes_in_the_same_order(values: np.ndarray) -> None:
    made = wide_to_bytes(values)
    assert made.dtype == np.uint8
    assert made.shape == values.shape
    finite = np.isfinite(values)
    order = np.argsort(values[finite], kind="stable")
    assert (np.diff(made[finite][order].astype(int)) >= 0).all()
    assert (made[~finite] == 0).all()


def test_bytes_are_left_alone_and_truth_is_black_and_white() -> None:
    values = np.arange(12, dtype=np.uint8).reshape(3, 4)
    assert wide_to_bytes(values) is values
    assert wide_to_bytes(values > 5).tolist() == ((values > 5) * 255).tolist()


def test_complex_numbers_are_refused() -> None:
    with pytest.raises(UnreadableInput, match="complex128"):
        wide_to_bytes(np.zeros((2, 2), dtype=complex))


def test_channels_are_last_where_both_could_be() -> None:
    assert channels_last(np.zeros((3, 5, 4))).shape == (3, 5, 4)
    assert channels_last(np.zeros((3, 5, 7))).shape == (5, 7, 3)


def test_alpha_of_an_array_is_laid_on_white() -> None:
    pixels = np.zeros((2, 2, 4), dtype=np.uint8)
    assert array_to_image(pixels).getpixel((0, 0)) == (255, 255, 255)
