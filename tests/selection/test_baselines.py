"""The denominators are judged in the rounds that judge what was chosen."""

from collections.abc import Callable

import numpy as np

from retarget.features.table import Table
from retarget.selection.baselines import Baseline, judge_majority, strongest
from retarget.selection.judge import Study

Maker = Callable[..., tuple[Study, dict[str, Table]]]


def test_majority_is_each_rounds_own_frequencies(study_of: Maker) -> None:
    study, _ = study_of(n=50)
    found = judge_majority(study).predictions
    for rows, places in study.protocol.rounds():
        share = np.mean(study.task.examples.targets[rows])
        np.testing.assert_allclose(found[places], np.tile([1 - share, share], (len(places), 1)))


def test_majority_of_numbers_is_each_rounds_mean(study_of: Maker) -> None:
    study, _ = study_of(n=50, kind="regression")
    found = judge_majority(study).predictions
    for rows, places in study.protocol.rounds():
        np.testing.assert_allclose(found[places], np.mean(study.task.examples.targets[rows]))


def test_the_strongest_is_best_on_choosing_data_and_nan_is_never() -> None:
    nothing = np.empty(0)
    made = [Baseline(n, nothing, s) for n, s in (("a", 0.5), ("b", 0.7), ("c", np.nan))]
    assert strongest(made, "accuracy") == "b"
    assert strongest(made, "log_loss") == "a"
