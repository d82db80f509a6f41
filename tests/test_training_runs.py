"""Runs that train: kinds of method beside each other, from the folder to the report."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import retarget as rt
from retarget.cli.app import run as command
from retarget.core.config import FitConfig
from retarget.core.errors import UsageError
from retarget.core.progress import listening
from retarget.methods.base import Method
from retarget.methods.tuning import Epoch, Tuning
from retarget.runs.kinds import STRESSED
from retarget.runs.trying import baselines_of, stresses, training_seconds, trains
from retarget.selection.candidates import methods_for, tunings_for
from retarget.selection.judge import mix_of

ASKED: dict[str, Any] = {
    "sources": ["small:"],
    "methods": ["probe", "finetune", "bitfit"],
    "epochs": 2,
    "baselines": ["majority", "small-cnn"],
    "learning_curve": False,
}


LONG: dict[str, Any] = {
    "sources": ["small:"],
    "methods": [{"name": "finetune", "epochs": 8, "batch_statistics": False}],
    "baselines": ["majority"],
    "robustness": False,
    "learning_curve": False,
}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory, draw_pictures: Callable[..., Path]) -> Path:
    """Return a folder of few pictures: what is shown here needs a training, not a good one."""
    folder = tmp_path_factory.mktemp("few") / "pictures"
    draw_pictures(folder, "train", 8, seed=1)
    return draw_pictures(folder, "test", 4, seed=2)


@pytest.fixture(scope="module")
def undisturbed(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> rt.Run:
    """Return the run that `LONG` asks for, as one process makes it that nobody disturbs."""
    return fitted(pictures, tmp_path_factory.mktemp("undisturbed"), LONG)


@pytest.fixture(scope="module")
def trained(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> rt.Run:
    """Return a run that trained two kinds, judged under corruption."""
    return fitted(pictures, tmp_path_factory.mktemp("trained"), ASKED)


def fitted(pictures: Path, folder: Path, asked: dict[str, Any]) -> rt.Run:
    """Return a run in a folder, with a cache of its own there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RETARGET_CACHE", str(folder / "cache"))
        return rt.fit(pictures, out=str(folder / "run"), **asked)


def test_every_kind_is_judged_on_the_same_examples(trained: rt.Run) -> None:
    record = trained.record
    whole = [m.name for m in record.methods if m.test is not None]
    assert whole == ["probe", "finetune", "bitfit", "mean"]
    assert record.methods[0].gain is None
    assert all(m.gain is not None for m in record.methods[1:])
    by_name = {m.name: m for m in record.methods if m.share == 1.0}
    assert by_name["probe"].trainable == 0
    assert 0 < by_name["bitfit"].trainable < by_name["finetune"].trainable


def test_trainings_tell_what_they_took_and_why(trained: rt.Run) -> None:
    trainings = [t for t in trained.record.trials if t.training]
    assert {t.method for t in trainings} == {"finetune", "bitfit"}
    for trial in trainings:
        assert trial.training is not None
        assert trial.training.cost.trainable > 0
        assert trial.training.cost.seconds > 0
        assert trial.training.taken in [e.number for e in trial.training.epochs]
        assert trial.training.why
        assert trial.training.settings["epochs"] == 2


def test_corruption_is_judged_for_every_kind_and_mix(trained: rt.Run) -> None:
    whole, *mixes = [m for m in trained.record.methods if m.name == "finetune"]
    assert whole.test is not None
    assert all(m.test is None for m in mixes)
    assert {m.share for m in mixes} == {0.25, 0.5, 0.75, 1.0} - {whole.share} | {0.25, 0.5, 0.75}
    for method in trained.record.methods:
        assert method.robustness is not None
        assert {(c.corruption, c.severity) for c in method.robustness.cells} == {
            (name, severity)
            for name in ("blur", "noise", "jpeg", "brightness", "contrast", "occlusion")
            for severity in (1, 2, 3)
        }
    assert len(trained.record.protocol.test_ids) <= STRESSED


def test_what_training_moved_is_told_by_layer(trained: rt.Run) -> None:
    drifts = {d.method: d for d in trained.record.drift}
    assert set(drifts) == {"finetune", "bitfit"}
    assert any(layer.weights for layer in drifts["finetune"].layers)


def test_denominators_trained_from_nothing_join_the_others(trained: rt.Run) -> None:
    assert set(trained.record.gain) == {"majority", "small-cnn"}


def test_a_run_is_read_back_as_it_was_and_drawn(trained: rt.Run) -> None:
    again = rt.load_run(trained.folder).record
    assert again.as_json() == trained.record.as_json()
    page = (trained.folder / "report.html").read_text(encoding="utf-8")
    assert 'id="methods"' in page
    assert 'id="robustness"' in page


def test_the_model_of_several_encoders_predicts_and_exports(
    trained: rt.Run, pictures: Path, tmp_path: Path
) -> None:
    some = sorted((pictures / "test").rglob("*.png"))[:3]
    found = trained.predict(some)
    assert found.values.shape == (3, 2)
    np.testing.assert_allclose(found.values.sum(axis=1), 1.0, atol=1e-6)
    assert trained.export(tmp_path / "export").difference <= 1e-4
    card = json.loads((tmp_path / "export" / "model.json").read_text())
    assert [i["name"] for i in card["inputs"]] == ["input"]


def test_the_same_again_trains_nothing_and_finds_the_same(
    trained: rt.Run, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RETARGET_CACHE", str(trained.folder.parent / "cache"))

    def never(*told: object) -> None:
        raise AssertionError("it was trained again, or an encoder loaded")

    monkeypatch.setattr("retarget.methods.course.run", never)
    monkeypatch.setattr("retarget.sources.model_source.ModelSource.load", never)
    again = rt.fit(pictures, out=str(tmp_path / "again"), **ASKED).record
    assert again.as_json()["test"] == trained.record.as_json()["test"]
    assert [m.model_copy(update={"seconds": 0.0}) for m in again.methods] == [
        m.model_copy(update={"seconds": 0.0}) for m in trained.record.methods
    ]


def test_labels_that_judge_change_no_choice(
    trained: rt.Run, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RETARGET_CACHE", str(tmp_path / "cache"))
    task = rt.open_task(pictures)
    examples = task.examples
    judging = examples.splits == "test"
    wrong = np.where(judging, 1 - examples.targets, examples.targets)
    canary = replace(task, examples=replace(examples, targets=wrong))
    asked = {**ASKED, "robustness": False, "baselines": ["majority"]}
    changed = rt.fit(canary, out=str(tmp_path / "run"), **asked).record
    usual = trained.record
    found = [(t.method, t.loss, t.score) for t in usual.trials]
    assert [(t.method, t.loss, t.score) for t in changed.trials] == found
    assert changed.chosen.why == usual.chosen.why
    assert changed.test != usual.test


def test_few_labels_are_cross_fitted_and_judge_each_once(pictures: Path, tmp_path: Path) -> None:
    task = rt.open_task(pictures)
    splits = np.full(len(task), "", dtype=task.examples.splits.dtype)
    free = replace(task, examples=replace(task.examples, splits=splits))
    record = rt.fit(
        free,
        out=str(tmp_path / "run"),
        sources=["small:"],
        methods=[{"name": "finetune", "epochs": 1, "refit": False}],
        folds=2,
        baselines=["majority"],
        robustness=False,
        learning_curve=False,
    ).record
    assert record.protocol.mode == "cross-fitting"
    assert record.test.examples == record.task.labelled
    assert [m.method for m in record.chosen.members] == ["finetune"]


def test_the_command_line_asks_for_the_same(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "fit", str(pictures), "--source", "small:", "--method", "finetune,small-cnn", "--epochs",
        "1", "--lr", "1e-3", "--from", "2", "--time", "5m", "--no-robustness", "--baseline",
        "majority", "--no-learning-curve", "--out", str(tmp_path / "run"), "--json",
    ]  # fmt: skip
    assert command(words) == 0
    record = json.loads(capsys.readouterr().out)
    config = FitConfig.model_validate(record["config"])
    assert (config.epochs, config.lr, config.from_layer, config.time) == (1, 1e-3, "2", 300.0)
    (tuned,) = [t for t in record["trials"] if t["method"] == "finetune"]
    assert tuned["training"]["settings"]["lr"] == 1e-3
    assert tuned["training"]["settings"]["from_layer"] == 2


@pytest.mark.parametrize(
    ("said", "seconds"), [("90", 90.0), ("90s", 90.0), ("5m", 300.0), ("1.5h", 5400.0), (7, 7.0)]
)
def test_times_are_read_as_people_write_them(said: object, seconds: float) -> None:
    assert FitConfig.model_validate({"data": "x", "time": said}).time == seconds


@pytest.mark.parametrize("said", ["soon", "-5m", "0", "5 days"])
def test_times_that_are_none_are_refused(said: str) -> None:
    with pytest.raises(UsageError, match="time"):
        rt.fit("nowhere", time=said)


def test_denominators_follow_from_what_is_asked() -> None:
    frozen = FitConfig(data="x")
    training = FitConfig(data="x", methods=("probe", "finetune"))
    pictures = rt.open_task([np.zeros((4, 4), np.uint8)] * 2, ["a", "b"])
    texts = rt.open_task(["one text", "another text"], ["a", "b"])
    assert baselines_of(frozen, pictures) == ("majority", "pixels", "random")
    assert baselines_of(training, pictures)[3:] == ("scratch", "small-cnn")
    assert baselines_of(frozen, texts) == ("majority", "tfidf", "random")
    assert baselines_of(training, texts)[3:] == ("scratch",)
    with pytest.raises(UsageError, match=r"no denominator pixels.*majority, tfidf"):
        baselines_of(FitConfig(data="x", baselines=("majority", "pixels")), texts)
    assert (trains(frozen), trains(training)) == (False, True)
    assert (stresses(frozen), stresses(training)) == (False, True)
    assert baselines_of(FitConfig(data="x", methods=("lora",), baselines=()), texts) == ()


@pytest.mark.parametrize(
    ("methods", "said"),
    [
        (["teleport"], "There is no method 'teleport'"),
        ([{"name": "finetune", "speed": 3}], "has no setting speed"),
        ([{"name": "probe", "speed": 3}], "has no setting speed. It has class_weight, strengths"),
        ([{"epochs": 3}], "needs its name"),
        ([{"name": "finetune", "epochs": 3}, "finetune"], "asked for twice"),
    ],
)
def test_methods_that_do_not_exist_are_refused_in_a_sentence(
    pictures: Path, methods: list[Any], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        rt.fit(pictures, sources=["small:"], methods=methods)


def test_the_cost_is_said_first_and_all_who_listen_hear_every_training(
    draw_pictures: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[tuple[str, Any]] = []
    tracked: list[int] = []

    class Hearing(rt.Callback):
        def on_train_begin(self, title: str, settings: Mapping[str, Any]) -> None:
            heard.append(("begins", settings["epochs"]))

        def on_epoch_end(self, epoch: Epoch) -> None:
            heard.append(("epoch", epoch.number))

        def on_train_end(self, epochs: Sequence[Epoch], taken: int) -> None:
            heard.append(("ends", len(epochs)))

    class Tracking(rt.Callback):
        def on_epoch_end(self, epoch: Epoch) -> None:
            tracked.append(epoch.number)

    class Listening:
        def start(self, what: str, total: int, unit: str) -> "Listening":
            return self

        def finish(self, meter: object) -> None: ...

        def advance(self, steps: int = 1) -> None: ...

        def note(self, text: str) -> None: ...

        def tell(self, text: str) -> None:
            heard.append(("told", text))

    asked: list[tuple[str, Path]] = []
    monkeypatch.setattr(
        "retarget.methods.tracking.tracker",
        lambda name, place: (asked.append((name, place)), Tracking())[1],
    )
    with listening(Listening()):
        rt.fit(
            draw_pictures(tmp_path / "pictures", each=9),
            source="small:",
            method=rt.FineTune(epochs=2, refit=False),
            baselines=["majority"],
            robustness=False,
            learning_curve=False,
            folds=2,
            track="tensorboard",
            callbacks=[Hearing()],
            out=tmp_path / "run",
        )
    assert [what for what, _ in heard[:2]] == ["told", "begins"]
    said = str(heard[0][1])
    assert said.startswith("3 trainings in 3 rounds: ")
    assert said.endswith("; fewer --folds take less")
    once = [("begins", 2), ("epoch", 0), ("epoch", 1), ("epoch", 2), ("ends", 3)]
    assert heard[1:] == 3 * once
    assert tracked == 3 * [0, 1, 2]
    assert asked == [("tensorboard", Path(f"{tmp_path / 'run'}-tensorboard"))]


def test_a_method_as_a_dataclass_is_one_in_a_configuration() -> None:
    from retarget.api import asked

    config = asked("x", None, {"method": rt.FineTune(from_layer=2, lr="auto")})
    assert config.methods == ({"name": "finetune", "from_layer": 2, "lr": "auto"},)
    assert FitConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize("name", [n for n in rt.__all__ if n[0].isupper()])
def test_every_method_is_a_documented_dataclass_that_a_configuration_holds(name: str) -> None:
    from retarget.api import asked

    cls = getattr(rt, name)
    if not issubclass(cls, Method | Tuning):
        return
    assert len(cls.__doc__) > 40
    config = asked("x", None, {"methods": [cls()]})
    again = FitConfig.model_validate_json(config.model_dump_json())
    kind = sorted(cls.kinds)[0]
    (made,) = (*methods_for(kind, again.methods), *tunings_for(kind, again.methods, {}))
    assert made == cls()


def test_a_method_on_frozen_features_takes_settings_of_its_own() -> None:
    from retarget.api import asked

    wanted = rt.Probe(strengths=(0.5, 0.125), class_weight="balanced")
    config = asked("x", None, {"methods": [wanted, "probe", rt.Knn(neighbours=(3,))]})
    again = FitConfig.model_validate_json(config.model_dump_json())
    found = methods_for("classification", again.methods)
    assert found == (wanted, rt.Probe(), rt.Knn(neighbours=(3,)))
    assert len(set(found)) == 3


def test_classes_weigh_alike_with_several_labels_too() -> None:
    for kind in ("classification", "multilabel", "tagging"):
        (probe,) = methods_for(kind, ["probe"], "balanced")
        assert isinstance(probe, rt.Probe)
        assert probe.class_weight == "balanced"
    (ridge,) = methods_for("regression", ["probe"], "balanced")
    assert ridge == rt.Probe()


def test_every_file_that_registers_a_method_is_known_to_programs() -> None:
    room = Path(rt.__file__).parent / "methods"
    there = {p.stem for p in room.glob("*.py") if "\n@register_" in p.read_text("utf-8")}
    hands = "import sys, json, retarget.api; print(json.dumps([m for m in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", hands], capture_output=True, text=True, check=True)
    loaded = set(json.loads(done.stdout))
    assert {f"retarget.methods.{name}" for name in there} <= loaded
    assert "torch" not in loaded


def test_the_time_told_is_that_of_every_step_and_of_training_again() -> None:
    assert training_seconds(1_000, 0.01, 3) == pytest.approx(1_000 * 3 * 8 * 0.01)
    assert training_seconds(100, 0.01, 3) == pytest.approx(2 * 100 * 3 * 8 * 0.01)
    assert training_seconds(100, 0.01) == pytest.approx(2 * 100 * 40 * 8 * 0.01)


def test_mixes_are_told_from_kinds_by_their_names() -> None:
    assert mix_of("finetune@0.25") == ("finetune", 0.25)
    assert mix_of("finetune") == ("finetune", None)


@pytest.mark.slow
def test_two_processes_find_what_one_does(
    undisturbed: rt.Run, pictures: Path, tmp_path: Path
) -> None:
    alone = undisturbed.record
    config = told(tmp_path, pictures, LONG)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = str(probe.getsockname()[1])
    launched = [
        *("-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"),
        *("--main_process_port", port, "-m", "retarget", "fit", "--config", str(config)),
        *("--out", str(tmp_path / "two"), "--json"),
    ]
    done = started(tmp_path / "cache-of-two", launched, ACCELERATE_USE_CPU="true")
    shown, complaint = done.communicate()
    assert done.returncode == 0, complaint
    shared = rt.load_run(tmp_path / "two").record
    assert json.loads(shown)["run"] == str(tmp_path / "two")
    for one, two in zip(alone.trials, shared.trials, strict=True):
        assert two.method == one.method
        assert two.loss == pytest.approx(one.loss, abs=1e-4)
        assert one.training is not None
        assert two.training is not None
        np.testing.assert_allclose(
            [e.loss for e in two.training.epochs], [e.loss for e in one.training.epochs], atol=1e-4
        )
    for name, estimate in alone.test.metrics.items():
        assert shared.test.metrics[name].value == pytest.approx(estimate.value, abs=1e-3), name


def told(folder: Path, pictures: Path, asked: dict[str, Any]) -> Path:
    """Write a configuration to a file."""
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump({**asked, "data": str(pictures)}), encoding="utf-8")
    return path


def started(cache: Path, words: list[str], **more: str) -> "subprocess.Popen[str]":
    """Start Python with a cache of its own."""
    return subprocess.Popen(
        [sys.executable, *words],
        env={**os.environ, "RETARGET_CACHE": str(cache), "OMP_NUM_THREADS": "1", **more},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_training(cache: Path, process: "subprocess.Popen[str]") -> None:
    """Wait until a checkpoint is there."""
    end = time.monotonic() + 300
    while not list((cache / "trainings").glob("*/*")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "nothing was trained"
        time.sleep(0.05)


@pytest.mark.slow
def test_a_training_killed_at_any_moment_ends_in_the_same_numbers(
    undisturbed: rt.Run, pictures: Path, tmp_path: Path
) -> None:
    words = ["-m", "retarget", "fit", "--config", str(told(tmp_path, pictures, LONG))]
    words += ["--out", str(tmp_path / "run"), "--json"]
    first = started(tmp_path / "cache", words)
    wait_for_training(tmp_path / "cache", first)
    time.sleep(float(np.random.default_rng().uniform(0.0, 0.5)))
    first.send_signal(signal.SIGKILL)
    first.communicate()
    if not (tmp_path / "run").exists():
        again = started(tmp_path / "cache", words)
        _, complaint = again.communicate()
        assert again.returncode == 0, complaint
    found, expected = rt.load_run(tmp_path / "run").record, undisturbed.record
    for name in ("test", "gain", "verdict"):
        assert found.as_json()[name] == expected.as_json()[name]


@pytest.mark.slow
def test_the_best_so_far_is_kept_and_judged_where_somebody_ends_a_training(
    pictures: Path, tmp_path: Path
) -> None:
    method = {"name": "finetune", "epochs": 50_000, "patience": 50_000, "refit": False}
    config = told(tmp_path, pictures, {**LONG, "methods": [method]})
    words = ["-m", "retarget", "fit", "--config", str(config), "--out", str(tmp_path / "run")]
    process = started(tmp_path / "cache", [*words, "--json"])
    wait_for_training(tmp_path / "cache", process)
    process.send_signal(signal.SIGINT)
    shown, complaint = process.communicate()
    assert process.returncode == 0, complaint
    record = json.loads(shown)
    assert any("interrupted" in note for note in record["notes"])
    assert record["test"]["examples"] == 8
    assert rt.load_run(tmp_path / "run").model.members


def test_one_method_alone_is_judged_under_corruption_with_what_its_weights_were_mixed_to(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("retarget.runs.kinds.SEVERITIES", (2,))
    run = rt.fit(
        str(pictures),
        sources=["small:"],
        method="finetune",
        epochs=1,
        baselines=["majority"],
        learning_curve=False,
        out=str(tmp_path / "run"),
    )
    methods = run.record.methods
    assert {m.name for m in methods} == {"finetune"}
    # All of the trained weights are there: as what is handed over, or as a point beside it.
    assert {m.share for m in methods} >= {0.25, 0.5, 0.75, 1.0}
    assert all(m.robustness is not None for m in methods)
