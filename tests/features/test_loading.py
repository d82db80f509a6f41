import threading
from collections.abc import Iterator
from types import ModuleType

import numpy as np
import pytest

from retarget.core.errors import UnreadableInput
from retarget.features.loading import Reader, ahead
from retarget.tasks import modalities


def test_results_come_in_order_however_long_each_takes() -> None:
    second = threading.Event()

    def work(number: int) -> int:
        if number == 0:
            assert second.wait(10)
        if number == 1:
            second.set()
        return number * number

    assert list(ahead(work, range(20), threads=2, window=4)) == [n * n for n in range(20)]


def test_no_more_than_the_window_is_begun() -> None:
    begun = 0

    def items() -> Iterator[int]:
        nonlocal begun
        for number in range(100):
            begun += 1
            yield number

    results = ahead(lambda number: number, items(), threads=2, window=5)
    for taken in range(1, 51):
        assert next(results) == taken - 1
        assert begun - taken < 5
    results.close()
    assert begun < 60


def test_an_error_is_raised_at_its_turn_and_nothing_goes_on() -> None:
    def work(number: int) -> int:
        if number == 3:
            raise KeyError("three")
        return number

    results = ahead(work, range(1000), threads=2, window=10)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(KeyError, match="three"):
        next(results)
    assert list(results) == []


def test_an_example_is_loaded_once_for_each_detail(
    tiny: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = []
    load = modalities.load

    def counted(modality: str, reference: object, detail: int) -> object:
        loaded.append(detail)
        return load(modality, reference, detail)  # type: ignore[arg-type]

    monkeypatch.setattr(modalities, "load", counted)
    encoders = {
        number: tiny.TinySource(seed=number, encoder=kind).load()
        for number, kind in ((0, "Plain"), (3, "Fine"), (4, "Plain"))
    }
    prepared = Reader("image", tiny.pictures(2)).prepare(1, encoders)
    assert sorted(loaded) == [16, 32]
    assert (prepared.row, prepared.reason, sorted(prepared.tensors)) == (1, "", [0, 3, 4])
    raw = load("image", tiny.pictures(2)[1], 16)
    assert np.array_equal(prepared.tensors[3].numpy(), encoders[3].prepare(raw).numpy())


@pytest.mark.parametrize(
    ("reason", "told"), [("it is empty", "it is empty"), ("", "can't be read")]
)
def test_what_cannot_be_read_has_a_reason(
    tiny: ModuleType, monkeypatch: pytest.MonkeyPatch, reason: str, told: str
) -> None:
    def failing(*_: object) -> object:
        raise UnreadableInput(reason)

    monkeypatch.setattr(modalities, "load", failing)
    prepared = Reader("image", [0]).prepare(0, {0: tiny.TinySource().load()})
    assert told in prepared.reason
    assert prepared.tensors == {}
