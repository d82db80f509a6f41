import gc
import random
import subprocess
import sys
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from retarget.core.errors import DataError, UnreadableInput
from retarget.features.views import Inputs, Views, drawn_view, view_random
from retarget.tasks import modalities
from retarget.tasks.held import memory_bytes

ORDER = [np.array([3, 0, 5]), np.array([1]), np.array([4, 2])]


@pytest.fixture
def views(halves: ModuleType) -> Views:
    """Six pictures, augmented by half."""
    return Views(halves.inputs_of(halves.pictures(6)), halves.Halves(), seed=3, strength=0.5)


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The details that were asked for, one for each loading."""
    seen: list[int] = []
    load = modalities.load

    def counted(modality: Any, reference: Any, detail: int = 0) -> Any:
        seen.append(detail)
        return load(modality, reference, detail)

    monkeypatch.setattr(modalities, "load", counted)
    return seen


def same(found: Any, expected: Any) -> bool:
    found, expected = list(found), list(expected)
    return len(found) == len(expected) and all(map(torch.equal, found, expected))


def loop(views: Views, order: list[np.ndarray], epoch: int | None) -> list[torch.Tensor]:
    """The plainest way to the same batches."""
    batches = []
    for rows in order:
        made = []
        for row in rows:
            raw = modalities.load("image", views.inputs.references[row], views.encoder.detail)
            if epoch is None:
                made.append(views.encoder.prepare(raw))
            else:
                generator = view_random(views.seed, epoch, views.inputs.ids[row])
                made.append(views.encoder.augment(raw, generator, views.strength))
        batches.append(torch.stack(made))
    return batches


def test_streams_equal_the_plain_loop(views: Views) -> None:
    assert same(views.evaluation(ORDER), loop(views, ORDER, None))
    for epoch in (1, 2, 1):
        assert same(views.training(ORDER, epoch), loop(views, ORDER, epoch))


def test_no_augmentation_is_exactly_prepare(halves: ModuleType) -> None:
    plain = Views(halves.inputs_of(halves.pictures(6)), halves.Halves(), seed=3, strength=0.0)
    assert same(plain.training(ORDER, 4), loop(plain, ORDER, None))


def test_epochs_and_seeds_and_examples_differ(halves: ModuleType) -> None:
    twins = halves.inputs_of(halves.pictures(6))
    views = Views(twins, halves.Halves(), seed=3, strength=0.5)
    other = Views(twins, halves.Halves(), seed=4, strength=0.5)
    made = [views.augmented(0, 1), views.augmented(0, 2), other.augmented(0, 1)]
    shifted = [m - views.prepared(0) for m in (*made, views.augmented(1, 1))]
    assert not any(torch.equal(shifted[a], shifted[b]) for a in range(4) for b in range(a))


@settings(deadline=None, max_examples=25)
@given(st.permutations(range(6)), st.lists(st.integers(1, 5), max_size=3), st.integers(0, 9))
def test_a_view_does_not_depend_on_its_batch(
    halves: ModuleType, rows: list[int], cuts: list[int], epoch: int
) -> None:
    views = Views(halves.inputs_of(halves.pictures(6)), halves.Halves(), seed=3, strength=0.5)
    order = [part for part in np.split(np.array(rows), sorted(set(cuts))) if len(part)]
    found = torch.cat(list(views.training(order, epoch)))
    for row, view in zip(rows, found, strict=True):
        assert torch.equal(view, views.augmented(row, epoch))


def test_an_epoch_can_be_entered_directly(halves: ModuleType, views: Views) -> None:
    fresh = Views(halves.inputs_of(halves.pictures(6)), halves.Halves(), seed=3, strength=0.5)
    for epoch in (1, 2):
        list(views.training(ORDER, epoch))
    assert same(views.training(ORDER, 3), fresh.training(ORDER, 3))


def test_views_are_the_same_in_another_process_and_need_no_torch_to_be_drawn() -> None:
    program = (
        "import sys\nfrom retarget.features.views import drawn_view, view_random\n"
        "print(view_random(3, 1, 'a').integers(1 << 60), drawn_view(3, 1, 'a', 1 << 60))\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    drawn = view_random(3, 1, "a").integers(1 << 60), drawn_view(3, 1, "a", 1 << 60)
    assert done.stdout.split() == [str(number) for number in drawn]


def test_the_global_random_state_is_neither_used_nor_changed(views: Views) -> None:
    def states() -> list[str]:
        legacy = np.random.get_state()  # noqa: NPY002 - the state that must stay as it is
        return [str(state) for state in (random.getstate(), legacy, torch.get_rng_state().tolist())]

    torch.manual_seed(1)
    before = states()
    first = list(views.training(ORDER, 1))
    assert states() == before
    torch.manual_seed(2)
    assert same(views.training(ORDER, 1), first)


def test_what_fits_is_loaded_once(views: Views, loads: list[int]) -> None:
    for epoch in (1, 2, 3):
        list(views.training(ORDER, epoch))
    list(views.evaluation(ORDER))
    list(views.evaluation(ORDER))
    assert loads == [views.encoder.detail] * 6


def test_evaluation_alone_keeps_what_is_prepared_and_not_the_raw_input(
    halves: ModuleType, loads: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = 4 * 3 * halves.SIDE**2
    inputs = halves.inputs_of(halves.pictures(6))
    views = Views(inputs, halves.Halves(), seed=0, strength=0.5, megabytes=6 * prepared / 1e6)
    first = list(views.evaluation(ORDER))
    monkeypatch.setattr(views.encoder, "prepare", None)
    assert same(views.evaluation(ORDER), first)
    assert len(loads) == 6


@pytest.mark.parametrize("fitting", [0, 2, 5])
def test_what_does_not_fit_is_read_again(
    halves: ModuleType, loads: list[int], fitting: int
) -> None:
    raw = 24 * 20 * 4
    views = Views(
        halves.inputs_of(halves.pictures(6)),
        halves.Halves(),
        seed=3,
        strength=0.5,
        megabytes=(fitting * raw + 1) / 1e6,
    )
    for epoch in (1, 2, 3):
        assert same(views.training(ORDER, epoch), loop(views, ORDER, epoch))
    assert len(loads) == 3 * 6 + 6 + 2 * (6 - fitting)  # the plain loop's, the first, the others


def test_examples_of_the_same_content_share_their_place(
    halves: ModuleType, loads: list[int]
) -> None:
    (picture,) = halves.pictures(1)
    views = Views(halves.inputs_of([picture] * 5), halves.Halves(), seed=3, strength=0.5)
    (batch,) = views.training([np.arange(5)], 1)
    assert all(torch.equal(view, batch[0]) for view in batch)
    list(views.training([np.arange(5)], 2))
    assert len(loads) <= 5
    assert len(views._raw._values) == 1


def test_nothing_asked_for_is_nothing(views: Views) -> None:
    assert list(views.training([], 1)) == []
    assert list(views.evaluation(iter(()))) == []


def test_what_vanished_is_named(halves: ModuleType, tmp_path: Path) -> None:
    paths = []
    for number, picture in enumerate(halves.pictures(4)):
        paths.append(tmp_path / f"{number}.png")
        Image.fromarray(picture).save(paths[-1])
    inputs = Inputs("image", paths, np.array([f"{n:032x}" for n in range(4)]))
    views = Views(inputs, halves.Halves(), seed=0, strength=0.5, megabytes=0)
    stream = views.training([np.array([0, 1]), np.array([2, 3])], 1)
    paths[3].unlink()
    next(stream)
    with pytest.raises(DataError, match=r"3\.png is not there.*run the command again"):
        next(stream)
    paths[2].write_bytes(b"\xff\xd8\xff no picture")
    with pytest.raises(DataError, match=r"2\.png"):
        list(views.evaluation([np.array([2])]))


def test_what_is_no_file_is_named_by_its_id(
    halves: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object) -> object:
        raise UnreadableInput("")

    monkeypatch.setattr(modalities, "load", failing)
    inputs = halves.inputs_of(halves.pictures(1))
    views = Views(inputs, halves.Halves(), seed=0, strength=0.5)
    with pytest.raises(DataError, match=f"{inputs.ids[0]} can no longer be read"):
        list(views.training([np.array([0])], 1))


def loaders() -> int:
    return sum(t.name.startswith("retarget-load") for t in threading.enumerate())


@pytest.mark.parametrize("end", ["close", "forget", "read"])
def test_threads_end_with_the_stream(views: Views, end: str) -> None:
    gc.collect()  # streams that other tests broke off end here, not below
    before = loaders()
    stream = views.training([np.arange(6)] * 10, 1)
    next(stream)
    assert loaders() > before
    if end == "close":
        stream.close()
    elif end == "read":
        list(stream)
    del stream
    gc.collect()
    assert loaders() == before


def test_it_does_not_run_far_ahead(halves: ModuleType, loads: list[int]) -> None:
    inputs = halves.inputs_of(halves.pictures(60))
    views = Views(inputs, halves.Halves(), seed=0, strength=0.5, megabytes=0)
    stream = views.training(np.arange(60).reshape(20, 3), 1)
    next(stream)
    stream.close()
    threads = 16
    assert len(loads) <= 3 + 2 * 3 + threads


@pytest.mark.parametrize(
    ("value", "size"),
    [
        (Image.new("RGB", (30, 20)), 30 * 20 * 4),
        (Image.new("L", (30, 20)), 30 * 20),
        (Image.new("F", (3, 2)), 24),
        (np.zeros((5, 7), np.float64), 280),
        (torch.zeros(5, 7), 140),
    ],
)
def test_numbers_are_counted_as_they_lie_in_memory(value: Any, size: int) -> None:
    assert memory_bytes(value) == size


def test_containers_count_what_is_inside() -> None:
    text = "x" * 1000
    array = np.zeros(1000)
    for container in ([text, array], (text, array), {text: array}, {"a": [text], "b": array}):
        assert 9000 <= memory_bytes(container) <= 9000 + 1000


def test_every_view_is_drawn_about_as_often() -> None:
    drawn = [drawn_view(1, epoch, f"{n:032x}", 4) for n in range(200) for epoch in range(10)]
    counts = np.bincount(drawn, minlength=4)
    assert counts.sum() == 2000
    assert np.abs(counts - 500).max() < 5 * np.sqrt(2000 * 0.25 * 0.75)


def test_inputs_can_be_taken(halves: ModuleType) -> None:
    inputs = halves.inputs_of(halves.pictures(4))
    part = inputs.take(np.array([2, 0]))
    assert len(part) == 2
    assert part.ids.tolist() == inputs.ids[[2, 0]].tolist()
    assert part.references[0] is inputs.references[2]
