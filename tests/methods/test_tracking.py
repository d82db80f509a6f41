"""What trackers are told, by stand-ins for their packages, and by TensorBoard where it is."""

import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from retarget.core.errors import MissingExtraError, UsageError
from retarget.methods.callbacks import Callback
from retarget.methods.tracking import TRACKERS, MLflow, TensorBoard, tracker
from retarget.methods.tuning import Epoch

FIRST = Epoch(1, 0.5, float("nan"), 0.7, 1e-3, 2.0)
SECOND = Epoch(2, 0.25, 0.375, 0.75, 5e-4, 4.0)
TITLE = "Fine-tuning, fold 2 of 5"
SETTINGS = {"lr": 0.1, "layers": ["a", "b"], "odd:name": None, "method": "finetune"}


class Writer:
    """Stands in for `SummaryWriter`; keeps what it is given under its folder."""

    made: dict[str, "Writer"]

    def __init__(self, folder: str) -> None:
        self.scalars: list[tuple[str, float, int]] = []
        self.texts: list[tuple[str, str, int]] = []
        self.closed = False
        self.made[folder] = self

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self.scalars.append((name, value, step))

    def add_text(self, name: str, text: str, step: int) -> None:
        self.texts.append((name, text, step))

    def flush(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True


class StandIn(ModuleType):
    """Stands in for `mlflow`; keeps its calls in order."""

    def __init__(self) -> None:
        super().__init__("mlflow")
        self.__spec__ = ModuleSpec("mlflow", None)
        self.calls: list[tuple[Any, ...]] = []
        self.active: list[str] = []

    def active_run(self) -> str | None:
        return self.active[-1] if self.active else None

    def start_run(self, run_name: str, nested: bool) -> str:
        assert nested == bool(self.active), "MLflow raises otherwise"
        self.calls.append(("start", run_name))
        self.active.append(run_name)
        return run_name

    def log_params(self, params: dict[str, str]) -> None:
        self.calls.append(("params", params))

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        self.calls.append(("metrics", metrics, step))

    def log_metric(self, name: str, value: float) -> None:
        self.calls.append(("metric", name, value))

    def end_run(self, status: str) -> None:
        self.calls.append(("end", self.active.pop(), status))


@pytest.fixture
def writers(monkeypatch: pytest.MonkeyPatch) -> dict[str, Writer]:
    package, module = ModuleType("tensorboard"), ModuleType("torch.utils.tensorboard")
    package.__spec__ = ModuleSpec("tensorboard", None)
    module.__dict__["SummaryWriter"] = Writer
    monkeypatch.setitem(sys.modules, "tensorboard", package)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    monkeypatch.setattr(Writer, "made", {}, raising=False)
    return Writer.made


@pytest.fixture
def mlflow(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    module = StandIn()
    monkeypatch.setitem(sys.modules, "mlflow", module)
    return module


def train(callback: Callback, title: str = TITLE) -> None:
    callback.on_train_begin(title, SETTINGS)
    for epoch in (FIRST, SECOND):
        callback.on_step_end(epoch.number, epoch.loss, epoch.lr)
        assert not callback.on_epoch_end(epoch)
    callback.on_train_end([FIRST, SECOND], 2)


@pytest.mark.parametrize("name", TRACKERS)
def test_a_package_that_is_missing_is_named_with_the_line_that_installs_it(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtraError, match=f"pip install {name}"):
        tracker(name, tmp_path)


def test_another_tracker_is_refused_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="tensorboard or mlflow") as caught:
        tracker("wandb\x1b", tmp_path)
    assert "\x1b" not in str(caught.value)


def test_the_names_give_the_trackers(
    writers: dict[str, Writer], mlflow: StandIn, tmp_path: Path
) -> None:
    assert isinstance(tracker("tensorboard", tmp_path), TensorBoard)
    assert isinstance(tracker("mlflow", tmp_path), MLflow)
    assert (writers, mlflow.calls) == ({}, [])


def test_tensorboard_is_told_figures_by_epoch_and_settings(
    writers: dict[str, Writer], tmp_path: Path
) -> None:
    train(tracker("tensorboard", tmp_path))
    ((folder, writer),) = writers.items()
    assert Path(folder).parent == tmp_path
    assert Path(folder).name.startswith("fine-tuning-fold-2-of-5-")
    assert sorted(writer.scalars) == sorted(
        [
            ("loss", 0.5, 1), ("score", 0.7, 1), ("lr", 1e-3, 1),
            ("loss", 0.25, 2), ("validation_loss", 0.375, 2), ("score", 0.75, 2), ("lr", 5e-4, 2),
        ]
    )  # fmt: skip
    (name, table, step), kept = writer.texts
    assert (name, step) == ("settings", 0)
    assert "| lr | 0.1 |" in table
    assert '| layers | ["a", "b"] |' in table
    assert kept == ("epoch kept", "2", 2)
    assert writer.closed


def test_trainings_get_folders_of_their_own_and_the_same_one_the_same_again(
    writers: dict[str, Writer], tmp_path: Path
) -> None:
    callback = tracker("tensorboard", tmp_path)
    train(callback)
    train(callback, "Fine-tuning, fold 3 of 5")
    callback.on_train_begin(TITLE, {**SETTINGS, "lr": 0.2})
    callback.on_train_begin("after a kill", SETTINGS)
    assert len(writers) == 4
    third = list(writers.values())[2]
    assert third.closed, "one that no end was told of is closed by the next"
    train(callback)
    assert len(writers) == 4


@pytest.mark.parametrize("title", ["../../etc", "/", "", "…", "a/b\x00c" * 100, ".."])
def test_a_title_never_leads_out_of_the_folder(
    title: str, writers: dict[str, Writer], tmp_path: Path
) -> None:
    train(tracker("tensorboard", tmp_path), title)
    (folder,) = writers
    path = Path(folder)
    assert path.parent == tmp_path
    assert 0 < len(path.name) < 120
    assert set(path.name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")


def test_mlflow_is_told_figures_by_epoch_and_settings(mlflow: StandIn, tmp_path: Path) -> None:
    train(tracker("mlflow", tmp_path))
    params = {"lr": "0.1", "layers": '["a", "b"]', "odd_name": "null", "method": "finetune"}
    assert mlflow.calls == [
        ("start", TITLE),
        ("params", params),
        ("metrics", {"loss": 0.5, "score": 0.7, "lr": 1e-3}, 1),
        ("metrics", {"loss": 0.25, "validation_loss": 0.375, "score": 0.75, "lr": 5e-4}, 2),
        ("metric", "epoch_kept", 2.0),
        ("end", TITLE, "FINISHED"),
    ]


def test_a_run_that_no_end_was_told_of_ends_as_failed(mlflow: StandIn, tmp_path: Path) -> None:
    callback = tracker("mlflow", tmp_path)
    callback.on_train_begin("first", {})
    train(callback)
    ends = [call for call in mlflow.calls if call[0] == "end"]
    assert ends == [("end", "first", "FAILED"), ("end", TITLE, "FINISHED")]


def test_inside_a_run_of_the_callers_trainings_are_nested(mlflow: StandIn, tmp_path: Path) -> None:
    mlflow.active.append("the caller's")
    train(tracker("mlflow", tmp_path))
    assert mlflow.active == ["the caller's"]


@pytest.mark.parametrize("name", TRACKERS)
def test_figures_outside_a_training_go_nowhere(
    name: str, writers: dict[str, Writer], mlflow: StandIn, tmp_path: Path
) -> None:
    callback = tracker(name, tmp_path)
    callback.on_epoch_end(FIRST)
    callback.on_train_end([], 0)
    assert (writers, mlflow.calls) == ({}, [])


def test_tensorboard_itself_reads_the_curves(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(tracker("tensorboard", tmp_path))
    (folder,) = tmp_path.iterdir()
    read = EventAccumulator(str(folder))
    read.Reload()
    curve = [(event.step, event.value) for event in read.Scalars("loss")]
    assert curve == [(1, 0.5), (2, 0.25)]
    assert [event.step for event in read.Scalars("validation_loss")] == [2]
