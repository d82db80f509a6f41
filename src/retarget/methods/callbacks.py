"""`Callback`: what is told of a training as it goes, named as the field names it."""

from collections.abc import Mapping, Sequence
from typing import Any

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
