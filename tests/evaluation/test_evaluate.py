"""`evaluate()` against scikit-learn and plain loops."""

from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn import metrics as sk

from retarget.core.errors import UsageError
from retarget.evaluation.evaluate import MOST_GROUPS, evaluate
from retarget.evaluation.metrics import metrics_for

CLASSES = ("ant", "bee", "cat")


def classified(n: int = 240, k: int = 3, seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, k, n)
    logits = 1.5 * (rng.standard_normal((n, k)) + 1.5 * np.eye(k)[targets])  # calibrated
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    classes = CLASSES if k == 3 else tuple(f"class {i}" for i in range(k))
    return {"kind": "classification", "classes": classes, "targets": targets, "predictions": probs}


def labelled(n: int = 240, seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    targets = (rng.random((n, 3)) < [0.5, 0.3, 0.2]).astype(np.float32)
    probs = np.clip(0.25 + 0.5 * targets + 0.25 * rng.standard_normal((n, 3)), 0.01, 0.99)
    return {"kind": "multilabel", "classes": CLASSES, "targets": targets, "predictions": probs}


def valued(n: int = 240, seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    targets = 10 * rng.standard_normal(n)
    predictions = targets + 4 * rng.standard_normal(n)
    return {
        "kind": "regression",
        "classes": ("age",),
        "targets": targets,
        "predictions": predictions,
    }


def test_classification_metrics_are_scikit_learn_s() -> None:
    given = classified()
    y, p = given["targets"], given["predictions"]
    called = p.argmax(axis=1)
    expected = {
        "accuracy": sk.accuracy_score(y, called),
        "balanced_accuracy": sk.balanced_accuracy_score(y, called),
        "macro_f1": sk.f1_score(y, called, average="macro"),
        "auroc": sk.roc_auc_score(y, p, multi_class="ovr"),
        "log_loss": sk.log_loss(y, p),
    }
    found = evaluate(**given)
    assert (found.metric, found.higher_is_better, found.examples) == ("accuracy", True, 240)
    assert set(found.metrics) == set(metrics_for("classification"))
    for name, value in expected.items():
        assert found.metrics[name].value == pytest.approx(value), name
    for estimate in found.metrics.values():
        assert estimate.low <= estimate.value <= estimate.high
        assert estimate.high > estimate.low


def test_regression_metrics_are_scikit_learn_s() -> None:
    given = valued()
    y, p = given["targets"], given["predictions"]
    found = evaluate(**given)
    assert (found.metric, found.higher_is_better) == ("rmse", False)
    assert found.metrics["rmse"].value == pytest.approx(sk.root_mean_squared_error(y, p))
    assert found.metrics["mae"].value == pytest.approx(sk.mean_absolute_error(y, p))
    assert found.metrics["r2"].value == pytest.approx(sk.r2_score(y, p))
    assert found.metrics["spearman"].value == pytest.approx(spearmanr(y, p).statistic)
    assert (found.per_class, found.calibration, found.confusion) == ((), None, None)


def test_multilabel_metrics_are_scikit_learn_s() -> None:
    given = labelled()
    y, p = given["targets"], given["predictions"]
    decided = p >= 0.5
    found = evaluate(**given)
    assert found.metric == "average_precision"
    assert found.metrics["average_precision"].value == pytest.approx(
        sk.average_precision_score(y, p, average="macro")
    )
    assert found.metrics["macro_f1"].value == pytest.approx(
        sk.f1_score(y, decided, average="macro")
    )
    for number, part in enumerate(found.per_class):
        column = (y[:, number], decided[:, number])
        assert (part.name, part.examples) == (CLASSES[number], int(y[:, number].sum()))
        assert part.metrics["recall"].value == pytest.approx(sk.recall_score(*column))
        assert part.metrics["precision"].value == pytest.approx(sk.precision_score(*column))
        assert part.metrics["average_precision"].value == pytest.approx(
            sk.average_precision_score(y[:, number], p[:, number])
        )
    assert found.confusion is None
    assert found.calibration is not None
    assert sum(one.examples for one in found.calibration.bins) == 720


def test_classes_have_the_recall_and_precision_of_scikit_learn() -> None:
    given = classified()
    called = given["predictions"].argmax(axis=1)
    recall = sk.recall_score(given["targets"], called, average=None)
    precision = sk.precision_score(given["targets"], called, average=None)
    found = evaluate(**given)
    assert [part.name for part in found.per_class] == list(CLASSES)
    for number, part in enumerate(found.per_class):
        assert part.examples == (given["targets"] == number).sum()
        assert part.metrics["recall"].value == pytest.approx(recall[number])
        assert part.metrics["precision"].value == pytest.approx(precision[number])
        assert part.metrics["recall"].low < recall[number] < part.metrics["recall"].high


def test_weights_weigh() -> None:
    given = classified()
    weights = np.random.default_rng(0).uniform(0.1, 4, 240)
    called = given["predictions"].argmax(axis=1)
    found = evaluate(**given, weights=weights)
    accuracy = sk.accuracy_score(given["targets"], called, sample_weight=weights)
    assert found.metrics["accuracy"].value == pytest.approx(accuracy)
    recall = sk.recall_score(given["targets"], called, average=None, sample_weight=weights)
    assert [part.metrics["recall"].value for part in found.per_class] == pytest.approx(list(recall))


def test_confusion_is_scikit_learn_s_and_left_out_for_many_classes() -> None:
    given = classified()
    found = evaluate(**given)
    assert found.confusion is not None
    expected = sk.confusion_matrix(given["targets"], given["predictions"].argmax(axis=1))
    assert found.confusion.counts == tuple(map(tuple, expected.tolist()))
    assert found.confusion.classes == CLASSES
    assert evaluate(**classified(k=51)).confusion is None


def test_a_class_that_nobody_has_or_calls_has_no_numbers() -> None:
    given = classified()
    predictions = np.column_stack([given["predictions"], np.zeros(240)])
    found = evaluate(**{**given, "classes": (*CLASSES, "dog"), "predictions": predictions})
    assert (found.per_class[3].name, found.per_class[3].examples) == ("dog", 0)
    assert found.per_class[3].metrics == {}


def test_groups_are_those_with_enough_examples_largest_first() -> None:
    given = classified()
    groups = np.array(["a"] * 100 + ["b"] * 120 + ["few"] * 4 + [""] * 16)
    found = evaluate(**given, groups=groups)
    assert [(part.name, part.examples) for part in found.per_group] == [("b", 120), ("a", 100)]
    called = given["predictions"].argmax(axis=1)
    in_b = groups == "b"
    accuracy = found.per_group[0].metrics["accuracy"]
    assert accuracy.value == pytest.approx((called == given["targets"])[in_b].mean())
    assert accuracy.low < accuracy.value < accuracy.high


def test_at_most_fifty_groups_are_shown() -> None:
    groups = np.repeat([f"{i:02}" for i in range(60)], 5)
    found = evaluate(**classified(n=300), groups=groups)
    assert [part.name for part in found.per_group] == [f"{i:02}" for i in range(MOST_GROUPS)]


def test_intervals_are_over_groups_where_there_are_any() -> None:
    given = classified(n=40)
    many = {key: given[key] for key in ("kind", "classes")}
    many["targets"] = np.repeat(given["targets"], 10)
    many["predictions"] = np.repeat(given["predictions"], 10, axis=0)
    groups = np.repeat([f"patient {i}" for i in range(40)], 10)
    over_groups = evaluate(**many, groups=groups).metrics["accuracy"]
    alone = evaluate(**many).metrics["accuracy"]
    assert over_groups.high - over_groups.low > 2 * (alone.high - alone.low)
    nameless = evaluate(**many, groups=np.full(400, ""))
    assert nameless.metrics["accuracy"] == alone
    assert nameless.per_group == ()


def test_domains_have_every_metric_that_is_defined_there() -> None:
    given = classified()
    domains = np.where(np.arange(240) < 80, "north", "south")
    domains[-3:] = ""
    only = domains == "north"
    given["targets"] = np.where(only, 1, given["targets"])
    found = evaluate(**given, domains=domains)
    assert [(part.name, part.examples) for part in found.per_domain] == [
        ("north", 80),
        ("south", 157),
    ]
    north, south = found.per_domain
    assert "auroc" not in north.metrics
    assert set(south.metrics) == set(metrics_for("classification"))
    called = given["predictions"].argmax(axis=1)
    assert north.metrics["accuracy"].value == pytest.approx((called[only] == 1).mean())


def test_a_domain_of_one_group_still_has_intervals() -> None:
    hospital = np.repeat(["a", "b"], 120)
    found = evaluate(**classified(), groups=hospital, domains=hospital)
    for part in found.per_domain:
        accuracy = part.metrics["accuracy"]
        assert accuracy.low < accuracy.value < accuracy.high


@pytest.mark.parametrize("given", [labelled(), valued()], ids=["multilabel", "regression"])
def test_every_kind_has_groups_domains_and_folds(given: dict[str, Any]) -> None:
    groups = np.repeat([f"patient {i}" for i in range(12)], 20)
    domains = np.repeat(["x", "y", "z"], 80)
    folds = np.repeat(np.arange(4), 60)
    found = evaluate(**given, groups=groups, domains=domains, folds=folds)
    assert [len(found.per_group), len(found.per_domain)] == [12, 3]
    assert all(found.metric in part.metrics for part in (*found.per_group, *found.per_domain))


def test_calibration_is_before_and_after() -> None:
    given = classified(n=2_000)
    sure = given["predictions"] ** 4
    sure /= sure.sum(axis=1, keepdims=True)
    found = evaluate(**given, uncalibrated=sure, temperature=4.0).calibration
    assert found is not None
    assert found.temperature == 4.0
    assert found.before.value > found.after.value + 0.05
    unscaled = evaluate(**given).calibration
    assert unscaled is not None
    assert unscaled.before == unscaled.after == found.after


def test_a_headline_that_is_not_defined_gives_way() -> None:
    given = classified(n=30)
    given["targets"] = np.zeros(30, np.int64)
    found = evaluate(**given, metric="auroc")
    assert found.metric == "accuracy"
    assert found.metric in found.metrics
    assert "auroc" not in found.metrics


def test_the_headline_can_be_chosen() -> None:
    found = evaluate(**valued(), metric="mae")
    assert (found.metric, found.higher_is_better) == ("mae", False)
    with pytest.raises(UsageError, match="rmse"):
        evaluate(**valued(), metric="accuracy")


@pytest.mark.parametrize("given", [classified(), labelled(), valued()])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_predictions_that_are_not_numbers_are_named(given: dict[str, Any], bad: float) -> None:
    predictions = given["predictions"].copy()
    predictions[[7, 11]] = bad
    with pytest.raises(
        ValueError, match=r"2 predictions of 240 are NaN or infinite \(rows 7, 11\)"
    ):
        evaluate(**{**given, "predictions": predictions})


@pytest.mark.parametrize("given", [classified(), labelled(), valued()])
def test_unlabelled_examples_do_not_judge(given: dict[str, Any]) -> None:
    targets = given["targets"].copy()
    targets[3] = -1 if given["kind"] == "classification" else np.nan
    with pytest.raises(ValueError, match="1 judged example of 240 without a target"):
        evaluate(**{**given, "targets": targets})


def test_what_does_not_fit_together_is_refused() -> None:
    given = classified()
    with pytest.raises(ValueError, match="3 classes"):
        evaluate(**{**given, "predictions": given["predictions"][:, :2]})
    with pytest.raises(ValueError, match="240 targets"):
        evaluate(**{**given, "predictions": given["predictions"][:-1]})
    with pytest.raises(ValueError, match="no judged examples"):
        evaluate(**{**given, "targets": np.zeros(0, np.int64)})


def test_one_example_is_judged_without_complaint() -> None:
    given = classified(n=1)
    found = evaluate(**given)
    assert found.examples == 1
    assert found.metric == "accuracy"


def test_the_same_judged_examples_give_the_same_evaluation() -> None:
    groups = np.repeat([f"patient {i}" for i in range(24)], 10)
    assert evaluate(**classified(), groups=groups) == evaluate(**classified(), groups=groups)
