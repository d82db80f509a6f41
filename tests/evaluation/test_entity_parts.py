"""`evaluate()` of tagging: types, novelty, domains, groups, calibration."""

import numpy as np
import pytest
from seqeval.metrics import classification_report

from retarget.core.errors import UsageError
from retarget.evaluation.decoding import decode, standard
from retarget.evaluation.evaluate import evaluate
from retarget.evaluation.gain import gain
from retarget.evaluation.metrics import metrics_for, score
from retarget.evaluation.sample import sample_of

TAGS = ("O", "B-place", "I-place", "B-who", "I-who")


def judged(sentences=80, seed=0):
    rng = np.random.default_rng(seed)
    sequences = np.repeat(np.arange(sentences) + 7, rng.integers(1, 12, sentences))
    targets = decode(rng.gumbel(size=(len(sequences), 5)), sequences, standard(5))
    z = 2 * np.eye(5)[targets] + 1.2 * rng.normal(size=(len(sequences), 5))
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    return {
        "kind": "tagging",
        "classes": TAGS,
        "targets": targets,
        "predictions": p,
        "sequences": sequences,
    }


def sample(given):
    return sample_of(
        "tagging", given["targets"], given["predictions"], sequences=given["sequences"]
    )


def test_types_have_the_scores_of_seqeval():
    given = judged()
    found = evaluate(**given)
    sequences = given["sequences"]
    truth, called = (
        [[TAGS[t] for t in tags[sequences == s]] for s in np.unique(sequences)]
        for tags in (given["targets"], sample(given).called)
    )
    report = classification_report(truth, called, output_dict=True)
    assert [part.name for part in found.per_class] == ["place", "who"]
    for part in found.per_class:
        own = report[part.name]
        assert part.examples == own["support"]
        assert part.metrics["precision"].value == pytest.approx(own["precision"])
        assert part.metrics["recall"].value == pytest.approx(own["recall"])
        assert part.metrics["f1"].value == pytest.approx(own["f1-score"])
        assert all(e.low < e.value < e.high for e in part.metrics.values())
    assert found.metric == "entity_f1"
    assert found.metrics["entity_macro_f1"].value == pytest.approx(report["macro avg"]["f1-score"])
    assert set(found.metrics) == set(metrics_for("tagging"))
    assert found.examples == 80


def test_a_type_that_is_nowhere_has_no_scores():
    given = judged()
    given["classes"] = (*TAGS, "B-zoo", "I-zoo")
    given["predictions"] = np.pad(given["predictions"], ((0, 0), (0, 2)))
    found = evaluate(**given)
    assert (found.per_class[2].examples, found.per_class[2].metrics) == (0, {})


def test_types_are_confused_where_the_words_are_right():
    given = judged()
    found = evaluate(**given)
    assert found.confusion is not None
    assert found.confusion.classes == ("place", "who")
    right = sample(given).matches.right.sum()
    assert found.confusion.counts[0][0] + found.confusion.counts[1][1] == right


def test_seen_and_unseen_entities_make_up_the_recall():
    given = judged()
    matches = sample(given).matches
    seen = np.arange(len(matches.true)) % 3 == 0
    found = evaluate(**given, seen=seen)
    assert [part.name for part in found.per_novelty] == ["seen", "unseen"]
    for part, chosen in zip(found.per_novelty, (seen, ~seen), strict=True):
        assert part.examples == chosen.sum()
        recall = part.metrics["recall"]
        assert recall.value == pytest.approx(matches.hit[chosen].mean())
        assert recall.low < recall.value < recall.high
    all_seen = evaluate(**given, seen=np.ones(len(seen), bool))
    assert all_seen.per_novelty[1].metrics == {}
    assert evaluate(**given).per_novelty == ()
    with pytest.raises(ValueError, match="are said to be seen"):
        evaluate(**given, seen=seen[1:])


def test_domains_and_groups_are_of_whole_sequences():
    given = judged()
    sequences = given["sequences"]
    domains = np.where(sequences % 2 == 0, "even", "odd")
    groups = np.char.add("g", (sequences // 20).astype(str))
    found = evaluate(**given, domains=domains, groups=groups)
    odd = domains == "odd"
    assert [part.name for part in found.per_domain] == ["even", "odd"]
    assert found.per_domain[1].examples == 40
    assert found.per_domain[1].metrics["entity_f1"].value == pytest.approx(
        score(
            "entity_f1",
            "tagging",
            given["targets"][odd],
            given["predictions"][odd],
            sequences=sequences[odd],
        )
    )
    assert {p.name: p.examples for p in found.per_group} == {
        "g0": 13,
        "g1": 20,
        "g2": 20,
        "g3": 20,
        "g4": 7,
    }
    assert all(set(part.metrics) == {"entity_f1"} for part in found.per_group)
    assert found.metrics["entity_f1"].how.endswith("over groups")


def test_calibration_is_of_words_with_sequences_as_units():
    given = judged()
    found = evaluate(**given).calibration
    assert found is not None
    assert sum(one.examples for one in found.bins) == len(given["targets"])
    assert found.after.how.endswith("over sentences")


def test_gain_is_paired_over_sequences():
    given = judged()
    guess = np.tile([0.9, 0.025, 0.025, 0.025, 0.025], (len(given["targets"]), 1))
    found = gain(
        "entity_f1",
        "tagging",
        given["targets"],
        given["predictions"],
        guess,
        sequences=given["sequences"],
    )
    value = evaluate(**given).metrics["entity_f1"].value
    assert found.value == pytest.approx(value)
    assert found.denominator_score == 0.0
    assert found.how.endswith("over sentences")
    assert 0 < found.low < found.value < found.high


def test_folds_widen_by_the_number_of_sequences():
    given = judged()
    plain = evaluate(**given).metrics["entity_f1"]
    crossed = evaluate(**given, folds=given["sequences"] % 4).metrics["entity_f1"]
    assert crossed.value == plain.value
    assert crossed.high - crossed.low > plain.high - plain.low


def test_what_is_no_tagging_is_refused():
    given = judged()
    with pytest.raises(ValueError, match="every type, not O, B-a"):
        evaluate(**{**given, "classes": ("O", "B-a", "B-b", "I-a", "I-b")})
    with pytest.raises(ValueError, match="not ascending"):
        evaluate(**{**given, "sequences": given["sequences"][::-1]})
    with pytest.raises(ValueError, match="not given"):
        evaluate(**{**given, "sequences": None})
    with pytest.raises(ValueError, match="without a target"):
        evaluate(**{**given, "targets": given["targets"] - 1})
    with pytest.raises(UsageError, match="entity_f1"):
        evaluate(**given, metric="accuracy")
