"""Studies on features that are made up, so that nothing is read or extracted."""

from collections.abc import Callable

import numpy as np
import pytest

from retarget.core.types import Kind
from retarget.evaluation.protocol import plan
from retarget.features.table import Table
from retarget.selection.judge import Study
from retarget.tasks.task import Examples, Task

Maker = Callable[..., tuple[Study, dict[str, Table]]]


def make_task(
    targets: np.ndarray,
    kind: Kind = "classification",
    classes: tuple[str, ...] = ("ant", "bee"),
    splits: np.ndarray | None = None,
    groups: np.ndarray | None = None,
) -> Task:
    """Return a task of n examples whose ids are their numbers."""
    n = len(targets)
    none = np.full(n, "", dtype="U8")
    examples = Examples(
        ids=np.array([f"{i:032x}" for i in range(n)]),
        names=tuple(f"row {i}" for i in range(n)),
        inputs={"image": list(range(n))},
        targets=targets,
        splits=none if splits is None else splits,
        groups=none if groups is None else groups,
        domains=none,
        weights=np.ones(n),
    )
    return Task("made up", {"image": "image"}, kind, classes, examples)


def make_table(uri: str, layers: list[np.ndarray], cost: float = 1.0) -> Table:
    """Return a table of layers (n, d) each."""
    columns, start = {}, 0
    for i, layer in enumerate(layers):
        columns[f"layer{i}"] = slice(start, start + layer.shape[1])
        start += layer.shape[1]
    matrix = np.concatenate(layers, axis=1).astype(np.float32)
    return Table(uri, matrix, columns, cost, 0.0)


@pytest.fixture
def task_of() -> Callable[..., Task]:
    """Give the maker of tasks."""
    return make_task


@pytest.fixture
def table_of() -> Callable[..., Table]:
    """Give the maker of tables."""
    return make_table


@pytest.fixture
def study_of() -> Maker:
    """Give a maker of studies with one informative and several useless layers."""

    def make(
        n: int = 80,
        signal: float = 3.0,
        held_out: int = 0,
        useless: int = 3,
        kind: Kind = "classification",
        seed: int = 0,
    ) -> tuple[Study, dict[str, Table]]:
        generator = np.random.default_rng(seed)
        truth = generator.integers(0, 2, n)
        noise = [generator.normal(size=(n, 6)) for _ in range(useless)]
        informative = generator.normal(size=(n, 6))
        informative[:, 0] += signal * (truth - 0.5)
        targets = {
            "classification": truth.astype(np.int64),
            "regression": informative[:, 0] * 10 + generator.normal(size=n),
            "multilabel": np.stack([truth, 1 - truth], axis=1).astype(np.float32),
        }[kind]
        splits = np.array(["train"] * (n - held_out) + ["test"] * held_out) if held_out else None
        classes = ("value",) if kind == "regression" else ("ant", "bee")
        task = make_task(targets, kind, classes, splits)
        metric = {"regression": "rmse", "multilabel": "average_precision"}.get(kind, "accuracy")
        study = Study(task, plan(task, seed=seed), metric, "mean")
        return study, {"made:up": make_table("made:up", [*noise, informative])}

    return make
