"""Trainings shown in TensorBoard and MLflow, for those who watch them there."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retarget.core.errors import MissingExtraError, UsageError
from retarget.core.hashing import hash_bytes
from retarget.core.text import printable
from retarget.methods.callbacks import Callback
from retarget.methods.tuning import Epoch

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

TRACKERS = ("tensorboard", "mlflow")
_LONGEST = 500


def tracker(name: str, folder: Path) -> Callback:
    """Return the callback of that name.

    Args:
        name: one of `TRACKERS`.
        folder: for what is written to files here, by TensorBoard.

    Raises:
        UsageError: another name.
        MissingExtraError: the package is not installed.
    """
    if name == "tensorboard":
        return TensorBoard(folder)
    if name == "mlflow":
        return MLflow()
    raise UsageError(
        f"{printable(name)!r} is no tracker that is known here. Say {' or '.join(TRACKERS)}."
    )


def _need(package: str) -> None:
    if find_spec(package) is None:
        raise MissingExtraError(
            f"Tracking needs the package {package}, which is not installed. "
            f"Run: pip install {package}"
        )


class TensorBoard(Callback):
    """Writes every training's curves and settings into a folder of its own below `folder`.

    Show them with `tensorboard --logdir FOLDER`. A training that was killed and goes on continues
    its curves: the folder is named by its title and settings. Raises `MissingExtraError`.
    """

    def __init__(self, folder: Path) -> None:
        _need("tensorboard")
        self.folder = folder
        self._writer: SummaryWriter | None = None

    def on_train_begin(self, title: str, settings: Mapping[str, Any]) -> None:
        """Open a folder, and write the settings as a table."""
        from torch.utils.tensorboard import SummaryWriter

        self._close()
        self._writer = SummaryWriter(str(self.folder / _folder_name(title, settings)))
        rows = [f"| {name} | {value} |" for name, value in _texts(settings).items()]
        table = "\n".join(["| setting | value |", "| --- | --- |", *rows])
        self._writer.add_text("settings", table, 0)

    def on_epoch_end(self, epoch: Epoch) -> None:
        """Write the epoch's figures, those that are finite."""
        if self._writer is None:
            return
        for name, value in _figures(epoch).items():
            self._writer.add_scalar(name, value, epoch.number)
        self._writer.flush()

    def on_train_end(self, epochs: Sequence[Epoch], taken: int) -> None:
        """Write which epoch was kept, and close."""
        if self._writer is not None:
            self._writer.add_text("epoch kept", str(taken), taken)
        self._close()

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._writer = None


class MLflow(Callback):
    """Makes every training a run of MLflow: its title, settings as parameters, curves as metrics.

    Where to, and in which experiment, is MLflow's own business (`MLFLOW_TRACKING_URI`,
    `MLFLOW_EXPERIMENT_NAME`). Inside a run of the caller's the trainings are nested. A training
    that was killed and goes on is a new run. Raises `MissingExtraError`.
    """

    def __init__(self) -> None:
        _need("mlflow")
        self._run: Any = None

    def on_train_begin(self, title: str, settings: Mapping[str, Any]) -> None:
        """Start a run. One of ours that no end was told of is ended as failed."""
        mlflow = import_module("mlflow")
        self._end("FAILED")
        nested = mlflow.active_run() is not None
        self._run = mlflow.start_run(run_name=printable(title), nested=nested)
        mlflow.log_params(_texts(settings))

    def on_epoch_end(self, epoch: Epoch) -> None:
        """Log the epoch's figures, those that are finite."""
        if self._run is not None:
            import_module("mlflow").log_metrics(_figures(epoch), step=epoch.number)

    def on_train_end(self, epochs: Sequence[Epoch], taken: int) -> None:
        """Log which epoch was kept, and end the run."""
        if self._run is not None:
            import_module("mlflow").log_metric("epoch_kept", float(taken))
        self._end("FINISHED")

    def _end(self, status: str) -> None:
        if self._run is not None:
            import_module("mlflow").end_run(status)
        self._run = None


def _figures(epoch: Epoch) -> dict[str, float]:
    """Return what is drawn of an epoch. Without validation rows two of them are no numbers."""
    figures = {
        "loss": epoch.loss,
        "validation_loss": epoch.validation_loss,
        "score": epoch.score,
        "lr": epoch.lr,
    }
    return {name: float(value) for name, value in figures.items() if math.isfinite(value)}


def _texts(settings: Mapping[str, Any]) -> dict[str, str]:
    """Return settings as trackers take them: names of plain characters, values of a line."""
    texts = {}
    for name, value in settings.items():
        text = value if isinstance(value, str) else json.dumps(value, default=str)
        texts[re.sub(r"[^\w./ -]", "_", name)] = printable(text, _LONGEST)
    return texts


def _folder_name(title: str, settings: Mapping[str, Any]) -> str:
    """Return a file name for a title, the same for the same settings: `fold-2-of-5-1f0c9a`."""
    readable = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:80]
    text = json.dumps([title, _texts(settings)], sort_keys=True)
    return "-".join(filter(None, (readable, hash_bytes(text.encode())[:6])))
