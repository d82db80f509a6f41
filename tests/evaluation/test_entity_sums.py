"""Entity metrics: seqeval's numbers, exact when a sequence is left out, intervals that hold."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval import metrics as seq
from seqeval.scheme import IOB2

from retarget.evaluation.decoding import decode, standard
from retarget.evaluation.intervals import interval, number_units, paired
from retarget.evaluation.metrics import METRICS, headline, metrics_for, score
from retarget.evaluation.sample import sample_of

TAGS = ("O", "B-a", "I-a", "B-b", "I-b", "B-c", "I-c")
K = len(TAGS)


def drawn(sentences, seed, noise=1.5, longest=12):
    """Sentences with entities, and probabilities that see them through noise of word and
    sentence."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, longest + 1, sentences)
    sequences = np.repeat(np.arange(sentences), lengths)
    bias = np.where(np.arange(K) == 0, 1.2, 0.0)
    targets = decode(rng.gumbel(size=(len(sequences), K)) + bias, sequences, standard(K))
    z = 2.0 * np.eye(K)[targets] + noise * rng.normal(size=(len(sequences), K))
    z += 0.8 * noise * rng.normal(size=(sentences, K))[sequences]
    p = np.exp(z)
    return targets, p / p.sum(axis=1, keepdims=True), sequences


def named(tags, sequences):
    return [[TAGS[t] for t in tags[sequences == s]] for s in np.unique(sequences)]


@settings(deadline=None, max_examples=60)
@given(sentences=st.integers(1, 9), seed=st.integers(0, 9999))
def test_values_are_those_of_seqeval(sentences, seed):
    targets, p, sequences = drawn(sentences, seed)
    sample = sample_of("tagging", targets, p, sequences=sequences)
    truth, called = named(targets, sequences), named(sample.called, sequences)
    found = {name: METRICS[name].function(sample) for name in metrics_for("tagging")}
    ways = {
        "entity_f1": (seq.f1_score, "micro"),
        "entity_precision": (seq.precision_score, "micro"),
        "entity_recall": (seq.recall_score, "micro"),
        "entity_macro_f1": (seq.f1_score, "macro"),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, (function, average) in ways.items():
            if len(sample.matches.true) + len(sample.matches.predicted) == 0:
                assert np.isnan(found[name])
                continue
            for mode in ({}, {"mode": "strict", "scheme": IOB2}):
                expected = function(truth, called, average=average, zero_division=0, **mode)
                value = 0.0 if np.isnan(found[name]) else found[name]
                assert value == pytest.approx(expected), name
        assert found["word_accuracy"] == pytest.approx(seq.accuracy_score(truth, called))
        plain = [[t if t == "O" else t[:2] + "x" for t in s] for s in truth]
        theirs = [[t if t == "O" else t[:2] + "x" for t in s] for s in called]
        spans = seq.f1_score(plain, theirs, mode="strict", scheme=IOB2, zero_division=0)
    assert np.nan_to_num(found["span_f1"]) == pytest.approx(spans)


def test_overlap_is_the_mean_of_what_touches_and_is_touched():
    targets = np.array([1, 2, 2, 0, 3, 0, 1])
    called = np.array([1, 0, 1, 0, 1, 2, 0])  # two pieces of the first; another type
    p = np.eye(K)[called]
    precision, recall = 2 / 3, 1 / 3
    found = score("overlap_f1", "tagging", targets, p, sequences=np.zeros(7, int))
    assert found == pytest.approx(2 * precision * recall / (precision + recall))
    nothing = np.eye(K)[np.zeros(7, int)]
    assert score("overlap_f1", "tagging", targets, nothing, sequences=np.zeros(7, int)) == 0.0


@pytest.mark.parametrize("name", metrics_for("tagging"))
@pytest.mark.parametrize("grouped", [False, True])
def test_leaving_out_a_unit_is_scoring_the_rest(name, grouped):
    targets, p, sequences = drawn(24, 3)
    weights = np.random.default_rng(1).uniform(0.5, 2, 24)[sequences]
    groups = (sequences // 5).astype(str) if grouped else None
    sample = sample_of("tagging", targets, p, weights, sequences=sequences)
    units = number_units(groups, sample)
    left = METRICS[name].statistic.without(sample, units)
    exact = [
        score(name, "tagging", targets[k], p[k], weights[k], sequences=sequences[k])
        for k in (units != unit for unit in range(units.max() + 1))
    ]
    assert left == pytest.approx(np.array(exact), abs=1e-12)


def test_weights_of_two_are_sentences_twice():
    targets, p, sequences = drawn(10, 5)
    weights = np.where(sequences == 4, 2.0, 1.0)
    again = np.concatenate([np.arange(len(targets)), np.flatnonzero(sequences == 4)])
    twice = np.concatenate([sequences, np.full((sequences == 4).sum(), 10)])
    for name in metrics_for("tagging"):
        assert score(name, "tagging", targets, p, weights, sequences=sequences) == pytest.approx(
            score(name, "tagging", targets[again], p[again], sequences=twice)
        )


def test_tags_without_sequences_are_refused():
    targets, p, _ = drawn(3, 0)
    with pytest.raises(ValueError, match="sequence at a time"):
        score("entity_f1", "tagging", targets, p)
    with pytest.raises(ValueError, match="sequence at a time"):
        sample_of("tagging", targets, p).decisions()
    assert headline("tagging", targets) == "entity_f1"


def test_decisions_are_the_decoded_tags():
    p = np.zeros((2, 3))
    p[:] = [0.3, 0.1, 0.6]  # the most probable of each word is no sequence
    sample = sample_of("tagging", np.array([1, 2]), p, sequences=np.zeros(2, int))
    assert sample.decisions().argmax(axis=1).tolist() == sample.called.tolist() == [0, 0]


def test_sequences_are_what_varies_and_groups_hold_them_together():
    targets, p, sequences = drawn(40, 2)
    alone = interval("entity_f1", "tagging", targets, p, sequences=sequences)
    grouped = interval(
        "entity_f1",
        "tagging",
        targets,
        p,
        sequences=sequences,
        groups=np.where(sequences < 36, sequences // 9, -1).astype(str),
    )
    assert alone.how.endswith("over sentences")
    assert grouped.how.endswith("over groups")
    assert grouped.high - grouped.low > alone.high - alone.low
    nameless = np.full(len(targets), "")
    same = interval("entity_f1", "tagging", targets, p, sequences=sequences, groups=nameless)
    assert same == alone


def test_no_entities_anywhere_are_not_defined():
    sequences = np.zeros(4, int)
    p = np.eye(3)[np.zeros(4, int)]
    found = interval("entity_f1", "tagging", np.zeros(4, int), p, sequences=sequences)
    assert np.isnan(found.value)
    assert found.how == "not defined"
    missed = interval("entity_f1", "tagging", np.array([1, 2, 0, 0]), p, sequences=sequences)
    assert missed.value == missed.low == 0.0


@pytest.fixture(scope="module")
def truths():
    return {
        name: score(name, "tagging", *drawn(20_000, 99)[:2], sequences=drawn(20_000, 99)[2])
        for name in ("entity_f1", "entity_macro_f1", "entity_precision")
    }


@pytest.mark.parametrize("sentences", [30, 100])
@pytest.mark.parametrize("name", ["entity_f1", "entity_macro_f1", "entity_precision"])
def test_intervals_hold_the_truth_as_often_as_they_say(truths, name, sentences):
    held = []
    for seed in range(120):
        targets, p, sequences = drawn(sentences, 1000 + seed)
        found = interval(name, "tagging", targets, p, sequences=sequences)
        held.append(found.low <= truths[name] <= found.high)
    assert 0.9 <= np.mean(held) <= 1.0


def test_paired_differences_hold_the_truth():
    def better(p, targets, seed):
        z = np.log(p) + 0.6 * np.eye(K)[targets]
        z += 0.8 * np.random.default_rng(seed).normal(size=z.shape)
        return np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)

    targets, p, sequences = drawn(20_000, 99)
    scores = [
        score("entity_f1", "tagging", targets, q, sequences=sequences)
        for q in (better(p, targets, 1), p)
    ]
    held = []
    for seed in range(120):
        targets, p, sequences = drawn(30, 3000 + seed)
        ours = better(p, targets, seed)
        found = paired("entity_f1", "tagging", targets, ours, p, sequences=sequences)
        held.append(found.low <= scores[0] - scores[1] <= found.high)
    assert 0.9 <= np.mean(held) <= 1.0
