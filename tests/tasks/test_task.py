import numpy as np

from retarget.core.types import Kind
from retarget.tasks.task import Examples, Problem, Task


def task_of(targets: object, kind: Kind) -> Task:
    values = np.array(targets)
    n = len(values)
    return Task(
        name="t",
        inputs={"image": "image"},
        kind=kind,
        classes=("a", "b"),
        examples=Examples(
            ids=np.array([str(i) for i in range(n)]),
            names=tuple(f"{i}.png" for i in range(n)),
            inputs={"image": [f"ref {i}" for i in range(n)]},
            targets=values,
            splits=np.array(["train"] * n),
            groups=np.array([f"g{i}" for i in range(n)]),
            domains=np.array([f"d{i}" for i in range(n)]),
            weights=np.arange(1.0, n + 1),
        ),
    )


def test_labelled_examples_are_those_with_a_target() -> None:
    nan = np.nan
    assert task_of([0, -1, 1], "classification").labelled.tolist() == [True, False, True]
    assert task_of([0.5, nan], "regression").labelled.tolist() == [True, False]
    assert task_of([[0.0, 1], [nan, nan]], "multilabel").labelled.tolist() == [True, False]
    assert task_of(np.zeros((2, 0)), "multilabel").labelled.tolist() == [False, False]


def test_taking_rows_takes_every_column_in_that_order() -> None:
    task = task_of([0, -1, 1], "classification").take(np.array([2, 0]))
    examples = task.examples
    assert len(task) == len(examples) == 2
    assert examples.names == ("2.png", "0.png")
    assert examples.ids.tolist() == ["2", "0"]
    assert examples.inputs == {"image": ["ref 2", "ref 0"]}
    assert examples.targets.tolist() == [1, 0]
    assert examples.groups.tolist() == ["g2", "g0"]
    assert examples.domains.tolist() == ["d2", "d0"]
    assert examples.weights.tolist() == [3, 1]
    assert task.labelled.tolist() == [True, True]


def test_problems_are_added_and_the_task_is_not_changed() -> None:
    task = task_of([0], "classification")
    told = task.with_problems(Problem("duplicate", ("a",), "x."))
    assert not task.problems
    assert [problem.kind for problem in told.problems] == ["duplicate"]
