"""Callbacks hear all there is to hear, and can't take a training down with them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from retarget.methods.callbacks import Callback, Callbacks
from retarget.methods.tuning import Epoch

EPOCH = Epoch(number=1, loss=0.5, validation_loss=0.6, score=0.7, lr=1e-3, seconds=2.0)


class Recorder(Callback):
    def __init__(self, name: str, heard: list[Any], stop: bool | None = None) -> None:
        self.name, self.heard, self.stop = name, heard, stop

    def on_train_begin(self, title: str, settings: Mapping[str, Any]) -> None:
        self.heard.append((self.name, "begin", title, dict(settings)))

    def on_step_end(self, step: int, loss: float, lr: float) -> None:
        self.heard.append((self.name, "step", step, loss, lr))

    def on_epoch_end(self, epoch: Epoch) -> bool | None:
        self.heard.append((self.name, "epoch", epoch))
        return self.stop

    def on_train_end(self, epochs: Sequence[Epoch], taken: int) -> None:
        self.heard.append((self.name, "end", list(epochs), taken))


class Broken(Recorder):
    def on_epoch_end(self, epoch: Epoch) -> bool | None:
        self.heard.append((self.name, "epoch", epoch))
        raise ConnectionError("no \x1b[31mserver")


def go_through(callbacks: Callback) -> list[bool | None]:
    callbacks.on_train_begin("fold 1", {"lr": 0.1})
    callbacks.on_step_end(1, 0.9, 0.1)
    answers = [callbacks.on_epoch_end(EPOCH), callbacks.on_epoch_end(EPOCH)]
    callbacks.on_train_end([EPOCH], 1)
    return answers


def all_of(name: str) -> list[Any]:
    return [
        (name, "begin", "fold 1", {"lr": 0.1}),
        (name, "step", 1, 0.9, 0.1),
        (name, "epoch", EPOCH),
        (name, "epoch", EPOCH),
        (name, "end", [EPOCH], 1),
    ]


def test_every_callback_hears_everything_in_order() -> None:
    heard: list[Any] = []
    answers = go_through(Callbacks([Recorder("a", heard), Recorder("b", heard)]))
    assert answers == [False, False]
    assert heard == [event for pair in zip(all_of("a"), all_of("b"), strict=True) for event in pair]


def test_a_callback_that_overrides_nothing_is_one() -> None:
    callbacks = Callbacks([Callback()])
    assert go_through(callbacks) == [False, False]
    assert callbacks.notes == ()


@pytest.mark.parametrize("stops", [[True, None], [None, True], [True, True]])
def test_one_that_wants_to_stop_is_enough_and_all_still_hear(stops: list[bool | None]) -> None:
    heard: list[Any] = []
    callbacks = Callbacks([Recorder(str(i), heard, stop) for i, stop in enumerate(stops)])
    assert callbacks.on_epoch_end(EPOCH) is True
    assert [name for name, *_ in heard] == ["0", "1"]


def test_only_true_means_stop() -> None:
    class Odd(Callback):
        def on_epoch_end(self, epoch: Epoch) -> Any:
            return epoch.number

    assert Callbacks([Odd()]).on_epoch_end(EPOCH) is False


def test_a_broken_callback_is_left_out_once_and_noted_and_the_rest_goes_on() -> None:
    heard: list[Any] = []
    callbacks = Callbacks([Broken("bad", heard), Recorder("good", heard)])
    assert go_through(callbacks) == [False, False]
    assert [event for event in heard if event[0] == "good"] == all_of("good")
    assert [event[1] for event in heard if event[0] == "bad"] == ["begin", "step", "epoch"]
    (note,) = callbacks.notes
    assert "Broken raised ConnectionError (test_callbacks.py, line" in note
    assert "training went on without it" in note
    assert "\x1b" not in note


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_a_wish_to_end_passes(kind: type[BaseException]) -> None:
    class Ends(Callback):
        def on_step_end(self, step: int, loss: float, lr: float) -> None:
            raise kind

    with pytest.raises(kind):
        Callbacks([Ends()]).on_step_end(1, 0.0, 0.0)


TOLD = """
from retarget.core import processes
from retarget.methods.callbacks import Callback, Callbacks
from retarget.methods.tuning import Epoch
calls = []
class Stops(Callback):
    def on_epoch_end(self, epoch):
        calls.append(epoch.number)
        return True
callbacks = Callbacks([Stops()])
callbacks.on_train_begin("t", {})
found["stop"] = callbacks.on_epoch_end(Epoch(1, 0.0, 0.0, 0.0, 0.0, 0.0))
found["calls"] = calls
"""


def test_the_main_process_is_told_and_all_stop(
    together: Callable[[str], list[dict[str, Any]]],
) -> None:
    main, other = together(TOLD)
    assert (main["status"], other["status"]) == (0, 0), main["errors"] + other["errors"]
    assert (main["calls"], other["calls"]) == ([1], [])
    assert (main["stop"], other["stop"]) == (True, True)
