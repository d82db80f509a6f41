"""`Callback`: what is told of a training as it goes, named as the field names it."""

import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from retarget.core.processes import broadcast, is_main
from retarget.core.text import printable
from retarget.methods.tuning import Epoch


class Callback:
    """Override what you want to hear. Called in the main process only, never during a step.

    Example:
        class Print(Callback):
            def on_epoch_end(self, epoch: Epoch) -> None:
                print(epoch.number, epoch.validation_loss)

        rt.fit(task, method=rt.FineTune(), callbacks=[Print()])
    """

    def on_train_begin(self, title: str, settings: Mapping[str, Any]) -> None:
        """A training begins, or goes on from a checkpoint, with these settings."""

    def on_step_end(self, step: int, loss: float, lr: float) -> None:
        """A step of the optimiser was done; `step` counts from 1 over all epochs."""

    def on_epoch_end(self, epoch: Epoch) -> bool | None:
        """An epoch was done and judged. Return True to stop after it."""
        return None

    def on_train_end(self, epochs: Sequence[Epoch], taken: int) -> None:
        """A training ended, by itself or interrupted; `taken` is the epoch that was kept."""


class Callbacks(Callback):
    """Tells several callbacks of one training, in their order.

    Hours of training must not be lost to a line in a callback, so one that raises an exception is
    not called again in this training, which goes on, and what happened becomes a note. What isn't
    an `Exception` passes: `KeyboardInterrupt` and `SystemExit` end the training.

    In several processes every one has such an object and calls it alike; callbacks are called in
    the main process only, and all learn whether to stop.
    """

    def __init__(self, callbacks: Sequence[Callback]) -> None:
        self._listening = list(callbacks) if is_main() else []
        self._notes: list[str] = []

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences about callbacks that failed; in other processes than the main one none."""
        return tuple(self._notes)

    def on_train_begin(self, title: str, settings: Mapping[str, Any]) -> None:
        """Tell all."""
        self._tell(lambda callback: callback.on_train_begin(title, settings))

    def on_step_end(self, step: int, loss: float, lr: float) -> None:
        """Tell all."""
        self._tell(lambda callback: callback.on_step_end(step, loss, lr))

    def on_epoch_end(self, epoch: Epoch) -> bool:
        """Tell all, and return, in every process, whether any of them wants to stop."""
        return bool(broadcast(self._tell(lambda callback: callback.on_epoch_end(epoch))))

    def on_train_end(self, epochs: Sequence[Epoch], taken: int) -> None:
        """Tell all."""
        self._tell(lambda callback: callback.on_train_end(epochs, taken))

    def _tell(self, call: Callable[[Callback], bool | None]) -> bool:
        """Return whether any answered True. None is spared hearing it by one before it."""
        answers = []
        for callback in tuple(self._listening):
            try:
                answers.append(call(callback) is True)
            except Exception as error:
                self._listening.remove(callback)
                self._notes.append(_note(callback, error))
        return any(answers)


def _note(callback: Callback, error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    where = f"{Path(frames[-1].filename).name}, line {frames[-1].lineno}"
    return (
        f"The callback {type(callback).__name__} raised {type(error).__name__} ({where}): "
        f"{printable(str(error))}. It was not called again; training went on without it."
    )
