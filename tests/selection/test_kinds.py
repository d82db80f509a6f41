"""How much kinds of method count in their mean, and what is then handed over."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retarget.features.table import Table
from retarget.methods.base import Labels
from retarget.methods.losses import example_losses
from retarget.methods.probe import Probe
from retarget.selection import tune
from retarget.selection.candidates import Candidate
from retarget.selection.select import attempt
from retarget.selection.trials import Evidence, Trial
from retarget.selection.tune import shares_of

NAMES = ("frozen", "finetune", "scratch")


def test_of_one_unit_shares_are_those_of_the_likelihoods():
    losses = np.array([[0.3, 0.5], [0.6, 0.4], [1.0, 2.0]])
    likely = np.exp(-losses.mean(axis=1))
    assert shares_of(losses, np.zeros(2, int)) == pytest.approx(likely / likely.sum())


def test_shares_are_the_mean_over_bootstraps():
    random = np.random.default_rng(0)
    losses, units = random.gamma(1.0, 0.3, (3, 30)), np.repeat(np.arange(15), 2)
    total = np.zeros(3)
    draws = np.random.default_rng(7).dirichlet(np.ones(15), 4000)
    for draw in draws:
        weights = np.repeat(draw, 2) / 2
        likely = np.exp(-15 * (losses @ weights))
        total += likely / likely.sum()
    assert shares_of(losses, units) == pytest.approx(total / len(draws), abs=0.03)


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 5), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_shares_sum_to_one_and_follow_their_kind(kinds, rows, seed):
    random = np.random.default_rng(seed)
    losses, units = random.gamma(0.5, 1.0, (kinds, rows)), random.integers(0, 8, rows)
    shares = shares_of(losses, units)
    assert shares.sum() == pytest.approx(1.0)
    assert (shares >= 0).all()
    order = random.permutation(kinds)
    assert shares_of(losses[order], units) == pytest.approx(shares[order])
    better = losses.copy()
    better[0] -= 0.2
    assert shares_of(better, units)[0] >= shares[0] - 1e-12


def test_alike_count_alike_and_what_is_far_worse_not_at_all():
    losses = np.tile(np.random.default_rng(0).gamma(1.0, 0.3, 40), (3, 1))
    assert shares_of(losses, np.arange(40)) == pytest.approx([1 / 3] * 3)
    losses[2] += 1.0
    assert shares_of(losses, np.arange(40)) == pytest.approx([0.5, 0.5, 0.0], abs=1e-6)


def test_rows_of_one_unit_tell_as_much_as_one_row():
    losses = np.random.default_rng(1).gamma(1.0, 0.3, (2, 10))
    alone = shares_of(losses, np.arange(10))
    tripled = shares_of(np.repeat(losses, 3, axis=1), np.repeat(np.arange(10), 3))
    assert tripled == pytest.approx(alone)


def evidence_of(kind="classification", n=40) -> Evidence:
    random = np.random.default_rng(0)
    x = random.normal(size=(n, 6)).astype(np.float32)
    if kind == "regression":
        labels = Labels(kind, 10 * x[:, 0] + random.normal(size=n), 1, np.ones(n))
    else:
        labels = Labels(kind, (x[:, 0] > 0).astype(np.int64), 2, np.ones(n))
    table = Table("tiny:a", x, {"one": slice(0, 3), "pooled": slice(3, 6)}, 1.0, 0.1)
    return Evidence(
        {"tiny:a": table},
        labels,
        np.arange(n) % 4,
        np.arange(n),
        "rmse" if kind == "regression" else "log_loss",
    )


def trials_of(evidence: Evidence, worse: float) -> dict[str, Trial]:
    """Two kinds that did as well, judged on different rows, and one that did worse."""
    first = attempt(evidence, Candidate("tiny:a", ("one",), Probe()))
    second = attempt(evidence, Candidate("tiny:a", ("one", "pooled"), Probe()))
    held = evidence.folds == 0
    third = attempt(evidence, Candidate("tiny:a", ("pooled",), Probe()))
    losses = np.where(held, second.losses + worse, np.nan)
    third = replace(third, losses=losses)
    return dict(zip(NAMES, (first, second, third), strict=True))


@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_the_mean_is_weighed_and_leaves_out_what_did_badly(kind):
    evidence = evidence_of(kind)
    kinds = trials_of(evidence, 50.0)
    shares = tune._shares(evidence, kinds)
    assert set(shares) == {"frozen", "finetune"}
    assert sum(shares.values()) == pytest.approx(1.0)
    assert list(shares.values()) == sorted(shares.values(), reverse=True)
    counted = [(kinds[name], share) for name, share in shares.items()]
    mean = tune._mean_of_kinds(evidence, counted, list(kinds.values()))
    assert mean.weights == pytest.approx(tuple(shares.values()))
    wanted = sum(share * trial.predictions for trial, share in counted)
    if kind == "regression":
        assert mean.predictions == pytest.approx(wanted)
        assert mean.losses == pytest.approx(example_losses(evidence.labels, wanted))
    else:
        assert mean.predictions.argmax(axis=1).tolist() == wanted.argmax(axis=1).tolist()
    assert len(mean.candidates) == 2


def test_units_of_numbers_change_no_share():
    evidence = evidence_of("regression")
    labels = replace(evidence.labels, values=1000 * evidence.labels.values)
    scaled = replace(evidence, labels=labels)
    small, large = (tune._shares(e, trials_of(e, 0.0)) for e in (evidence, scaled))
    assert large == pytest.approx(small, abs=0.02)
