"""Candidates are judged once on the same rows, and told apart by all that decides a trial."""

import importlib
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from retarget.core.paths import cache_dir
from retarget.core.recall import FOLDER
from retarget.features.table import Table
from retarget.methods.base import METHODS, Labels, Method
from retarget.methods.knn import Knn
from retarget.methods.probe import Probe
from retarget.methods.scale import BlockScale
from retarget.selection import recalled_trials
from retarget.selection.candidates import Candidate
from retarget.selection.select import attempt, refit
from retarget.selection.trials import Evidence

N = 40
METRIC = {
    "classification": "accuracy",
    "multilabel": "macro_f1",
    "regression": "rmse",
    "tagging": "word_accuracy",
}


@pytest.fixture(autouse=True)
def _keep_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recalled_trials, "LEAST_SECONDS", 0.0)


def table(seed: int = 0, columns: dict[str, slice] | None = None) -> Table:
    matrix = np.random.default_rng(seed).normal(size=(N, 6)).astype(np.float32)
    own = columns or {"one": slice(0, 3), "pooled": slice(3, 6)}
    return Table("tiny:a", matrix, own, 1.0, 0.1)


def evidence(kind: str = "classification", **changed: object) -> Evidence:
    random = np.random.default_rng(1)
    values: np.ndarray = random.integers(0, 3, N)
    outputs = 3
    if kind == "multilabel":
        values = np.eye(3)[values]
    elif kind == "regression":
        values, outputs = random.normal(size=N), 1
    sequences = np.repeat(np.arange(N // 4), 4) if kind == "tagging" else None
    labels = Labels(kind, values, outputs, np.ones(N), sequences)  # type: ignore[arg-type]
    own = Evidence({"tiny:a": table()}, labels, np.arange(N) // 4 % 5, np.arange(N), METRIC[kind])
    return replace(own, **changed)  # type: ignore[arg-type]


def kept() -> int:
    return len(list((cache_dir() / FOLDER).glob("*.npz")))


def cases() -> list[tuple[str, str]]:
    return [(n, k) for n, cls in sorted(METHODS.items()) for k in sorted(cls.kinds)]


@pytest.mark.parametrize(("name", "kind"), cases())
def test_every_method_comes_back_to_the_bit(
    name: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, candidate = evidence(kind), Candidate("tiny:a", ("one", "pooled"), METHODS[name]())
    first = attempt(own, candidate)
    with monkeypatch.context() as patch:
        patch.setattr(METHODS[name], "cross_fit", None)
        second = attempt(own, candidate)
    for field in ("predictions", "losses"):
        assert np.array_equal(getattr(first, field), getattr(second, field), equal_nan=True)
    for field in ("temperatures", "temperature", "score", "seconds", "candidates"):
        assert getattr(first, field) == getattr(second, field), field
    assert np.array_equal(first.settings, second.settings, equal_nan=True)
    classes = tuple("abc"[: own.labels.outputs])
    made = [refit(own, first, classes, "mean").members[0].head]
    with monkeypatch.context() as patch:
        patch.setattr(METHODS[name], "fit", None)
        made.append(refit(own, second, classes, "mean").members[0].head)
    assert made[0].kind == made[1].kind
    for key, array in made[0].arrays().items():
        assert np.array_equal(array, made[1].arrays()[key]), key


def test_whatever_decides_it_makes_another() -> None:
    own = evidence()
    labels = own.labels
    flipped = labels.values.copy()
    flipped[:1] = (flipped[:1] + 1) % 3
    heavier = labels.weights.copy()
    heavier[0] = 2.0
    moved = own.folds.copy()
    moved[0] = 4
    others = [
        own,
        replace(own, features={"tiny:a": table(seed=2)}),
        replace(
            own, features={"tiny:a": table(columns={"one": slice(0, 2), "pooled": slice(2, 6)})}
        ),
        replace(own, folds=moved),
        replace(own, metric="balanced_accuracy"),
        replace(own, labels=replace(labels, values=flipped)),
        replace(own, labels=replace(labels, weights=heavier)),
        replace(own, labels=replace(labels, outputs=4)),
    ]
    probe = Candidate("tiny:a", ("pooled",), Probe())
    for one in others:
        attempt(one, probe)
    assert kept() == len(others)
    methods: list[Method] = [Probe(strengths=(1e-2,)), Probe(class_weight="balanced"), Knn()]
    for method in methods:
        attempt(own, replace(probe, method=method))
    attempt(own, replace(probe, layers=("one",)))
    assert kept() == len(others) + 4
    # What only a choice among trials asks for decides no trial.
    attempt(replace(own, units=np.arange(N) // 2), probe)
    assert kept() == len(others) + 4


def test_whatever_decides_a_head_makes_another() -> None:
    own, probe = evidence(), Candidate("tiny:a", ("pooled",), Probe())
    trial = attempt(own, probe)
    others = [
        trial,
        replace(trial, settings=(trial.settings[0] * 2,)),
        replace(trial, starts=(None,)),
        attempt(own, replace(probe, layers=("one",))),
    ]
    before = kept()
    made = [refit(own, one, ("a", "b", "c"), "mean").members[0].head for one in others]
    assert kept() == before + len(others)
    fresh = Probe().fit(
        BlockScale.fit(x := own.features["tiny:a"].layer("pooled"), [3])(x),
        own.labels,
        trial.settings[0],
    )
    assert np.allclose(made[0].arrays()["weight"], fresh.arrays()["weight"], atol=5e-3)
    refit(
        replace(own, folds=own.folds[::-1].copy(), metric="log_loss"),
        trial,
        ("a", "b", "c"),
        "mean",
    )
    assert kept() == before + len(others), "what a fit doesn't see decides no head"


def test_what_is_quick_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recalled_trials, "LEAST_SECONDS", 60.0)
    attempt(evidence(), Candidate("tiny:a", ("pooled",), Probe()))
    assert kept() == 0


METHOD = """
from dataclasses import dataclass
from retarget.methods.probe import Probe

@dataclass(frozen=True)
class Mine(Probe):
    def cross_fit(self, x, labels, folds):
        return super().cross_fit({scale} * x, labels, folds)
"""


def test_a_method_whose_code_has_changed_is_judged_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def losses(module: str, code: str) -> np.ndarray:
        (tmp_path / f"{module}.py").write_text(code)
        importlib.invalidate_caches()
        sys.modules.pop(module, None)
        method = importlib.import_module(module).Mine()
        assert repr(method) == repr(first)
        return attempt(evidence(), Candidate("tiny:a", ("pooled",), method)).losses

    (tmp_path / "first_methods.py").write_text(METHOD.format(scale="1.0"))
    first = importlib.import_module("first_methods").Mine()
    one = losses("first_methods", METHOD.format(scale="1.0"))
    assert kept() == 1
    assert np.array_equal(losses("first_methods", METHOD.format(scale="1.0")), one)
    assert kept() == 1
    assert not np.allclose(losses("first_methods", METHOD.format(scale="0.001")), one)
    assert kept() == 2
    # Of the same file, but another class.
    assert np.array_equal(losses("second_methods", METHOD.format(scale="1.0")), one)
    assert kept() == 3


def test_a_method_without_a_file_is_not_recalled() -> None:
    told: dict[str, type[Method]] = {"__name__": "typed_in"}  # type: ignore[dict-item]
    exec(METHOD.format(scale="1.0").replace("@dataclass(frozen=True)", ""), told)
    candidate = Candidate("tiny:a", ("pooled",), told["Mine"]())
    own = evidence()
    trial = attempt(own, candidate)
    refit(own, trial, ("a", "b", "c"), "mean")
    assert np.array_equal(attempt(own, candidate).losses, trial.losses)
    assert kept() == 0
