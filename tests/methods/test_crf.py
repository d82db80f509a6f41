"""The CRF: its loss by brute force, its gradient by differences, and what methods promise."""

import itertools

import numpy as np
import pytest
from scipy import sparse

from retarget.evaluation.decoding import decode, standard
from retarget.evaluation.metrics import score
from retarget.methods import crf as room
from retarget.methods.base import HEADS, METHODS, Labels
from retarget.methods.crf import Crf, CrfHead, fit_sparse_crf
from retarget.methods.losses import calibrated, example_losses
from retarget.methods.model import Member, TransferModel, load_model
from retarget.methods.probe import Probe
from retarget.methods.prototype import Prototype
from retarget.methods.scale import BlockScale

K, STRENGTH = 5, 2e-3


def drawn(sentences=30, seed=0, width=12, signal=1.0, tags=K, longest=9):
    """Words of which the tag shows in the features, and depends on the tag before."""
    rng = np.random.default_rng(seed)
    sequences = np.repeat(np.arange(sentences) * 2, rng.integers(1, longest + 1, sentences))
    bias = np.where(np.arange(tags) == 0, 1.0, 0.0)
    values = decode(rng.gumbel(size=(len(sequences), tags)) + bias, sequences, standard(tags))
    means = np.random.default_rng(77).normal(size=(tags, width))
    x = signal * means[values] + rng.normal(size=(len(sequences), width))
    x = (x / np.sqrt((x**2).sum(axis=1).mean())).astype(np.float32)
    return x, Labels("tagging", values, tags, np.ones(len(values)), sequences)


def folds_of(labels, k=3):
    return np.unique(labels.sequences, return_inverse=True)[1] % k


def f1(head, x, labels):
    p = np.exp(head.outputs_in(x, labels.sequences))
    return score("entity_f1", "tagging", labels.values, p, sequences=labels.sequences)


def test_loss_is_brute_force_and_its_gradient_that_of_differences():
    x, labels = drawn(6, 1, width=4, tags=3, longest=4)
    problem = room._Problem(x, labels, np.arange(3), labels.values)
    flat = np.random.default_rng(0).normal(size=3 * (4 + 3 + 3))
    at = room._Solved.of(flat, 3)
    loss, gradient = problem.loss(flat)

    def path_score(rows, tags):
        e = x[rows].astype(float) @ at.weight.T + at.bias
        steps = sum(at.transitions[a, b] for a, b in itertools.pairwise(tags))
        own = e[np.arange(len(rows)), list(tags)].sum()
        return own + steps + at.start[tags[0]] + at.end[tags[-1]]

    def valid(tags):
        allowed = standard(3)
        return allowed[-1, tags[0]] and all(allowed[a, b] for a, b in itertools.pairwise(tags))

    total = 0.0
    for own in np.unique(labels.sequences):
        rows = np.flatnonzero(labels.sequences == own)
        tried = (t for t in itertools.product(range(3), repeat=len(rows)) if valid(t))
        normaliser = np.logaddexp.reduce([path_score(rows, t) for t in tried])
        total += normaliser - path_score(rows, labels.values[rows])
    assert loss == pytest.approx(total / len(x), rel=1e-5)
    for i in range(len(flat)):
        step = np.zeros(len(flat))
        step[i] = 1e-3
        slope = (problem.loss(flat + step)[0] - problem.loss(flat - step)[0]) / 2e-3
        assert gradient[i] == pytest.approx(slope, abs=2e-4)


def test_out_of_fold_outputs_are_those_of_a_head_fitted_on_the_other_folds():
    x, labels = drawn()
    folds = folds_of(labels)
    method = Crf(strengths=(2e-2, 2e-3))
    found = method.cross_fit(x, labels, folds)
    assert found.outputs.shape == (2, len(x), K)
    exact = np.empty((len(x), K))
    for fold in range(3):
        kept, out = np.flatnonzero(folds != fold), folds == fold
        head = method.fit(x[kept], labels.take(kept), 2e-3)
        exact[out] = head.outputs_in(x[out], labels.sequences[out])
    # Choosing solves coarsely: of so few words to some hundredths of the loss.
    losses = [-logs[np.arange(len(x)), labels.values].mean() for logs in (found.outputs[1], exact)]
    assert losses[0] == pytest.approx(losses[1], rel=0.03)
    assert np.exp(found.outputs[1]) == pytest.approx(np.exp(exact), abs=0.1)
    assert np.abs(np.exp(found.outputs[1]) - np.exp(exact)).mean() < 0.02


def test_labels_of_a_fold_never_reach_its_own_outputs():
    x, labels = drawn()
    folds = folds_of(labels)
    found = Crf().cross_fit(x, labels, folds).outputs
    values = np.where(folds == 0, 0, labels.values)
    other = Labels("tagging", values, K, labels.weights, labels.sequences)
    assert (Crf().cross_fit(x, other, folds).outputs[:, folds == 0] == found[:, folds == 0]).all()


def test_a_fit_from_a_start_is_the_fit_alone():
    x, labels = drawn()
    starts = Crf().cross_fit(x, labels, folds_of(labels)).heads
    alone = Crf().fit(x, labels, STRENGTH)
    begun = Crf().fit(x, labels, STRENGTH, starts[1])
    a, b = (np.exp(h.outputs_in(x, labels.sequences)) for h in (alone, begun))
    assert a == pytest.approx(b, abs=0.03)
    ignored = Crf().fit(x, labels, STRENGTH, Probe().fit(x, labels, STRENGTH))
    assert (ignored.weight == alone.weight).all()


def test_weight_two_is_the_sentence_twice():
    x, labels = drawn(12)
    weights = np.where(labels.sequences == 4, 2.0, 1.0)
    heavy = Labels("tagging", labels.values, K, weights, labels.sequences)
    again = np.concatenate([np.arange(len(x)), np.flatnonzero(labels.sequences == 4)])
    sequences = labels.sequences[again]
    sequences[len(x) :] = 99
    twice = Labels("tagging", labels.values[again], K, np.ones(len(again)), sequences)
    a = Crf().fit(x, heavy, STRENGTH).outputs_in(x, labels.sequences)
    b = Crf().fit(x[again], twice, STRENGTH).outputs_in(x, labels.sequences)
    assert np.exp(a) == pytest.approx(np.exp(b), abs=0.02)


def test_outputs_are_log_probabilities_and_of_rows_alone_without_sequences():
    x, labels = drawn()
    head = Crf().fit(x, labels, STRENGTH)
    outputs = head.outputs_in(x, labels.sequences)
    assert np.exp(outputs).sum(axis=1) == pytest.approx(np.ones(len(x)))
    alone = head.outputs(x)
    assert alone == pytest.approx(head.outputs_in(x, np.arange(len(x))))
    assert (np.exp(alone[:, [2, 4]]) < 1e-20).all()  # no word begins with an I
    with pytest.raises(ValueError, match="the head takes"):
        head.outputs(x[:, 1:])


def test_the_head_survives_being_arrays():
    x, labels = drawn(8)
    head = Crf().fit(x, labels, STRENGTH)
    again = HEADS["crf"].from_arrays(head.arrays())
    assert (again.outputs_in(x, labels.sequences) == head.outputs_in(x, labels.sequences)).all()
    assert METHODS["crf"] is Crf
    arrays = head.arrays()
    with pytest.raises(KeyError, match="start"):
        CrfHead.from_arrays({k: v for k, v in arrays.items() if k != "start"})
    with pytest.raises(ValueError, match="transitions"):
        CrfHead.from_arrays({**arrays, "transitions": np.zeros((2, 2))})
    with pytest.raises(ValueError, match="finite"):
        CrfHead.from_arrays({**arrays, "end": np.full(K, np.nan)})


def test_it_learns_from_five_sentences_and_more_from_more():
    x, labels = drawn(200, 9, signal=1.5)
    found = []
    for sentences in (5, 60):
        own = drawn(sentences, 3, signal=1.5)
        found.append(f1(Crf().fit(own[0], own[1], STRENGTH), x, labels))
    assert 0.3 < found[0] < found[1]
    assert found[1] > 0.75


def test_neighbours_tell_what_the_word_does_not():
    """A word that looks the same is inside after a beginning, and outside elsewhere."""
    rng = np.random.default_rng(0)
    values = np.array([rng.permutation([0, 1, 0, 0]) for _ in range(80)])
    after = np.roll(values, 1, axis=1) == 1
    after[:, 0] = False
    values[after] = 2
    sequences, values = np.repeat(np.arange(80), 4), values.ravel()
    x = np.stack([values == 1, values != 1], axis=1).astype(np.float32)
    labels = Labels("tagging", values, 3, np.ones(320), sequences)
    assert f1(Crf().fit(x, labels, 1e-4), x, labels) == 1.0
    assert f1(Probe().fit(x, labels, 1e-4), x, labels) < 0.5


def test_tags_that_do_not_occur_are_possible_but_unlikely():
    x, labels = drawn(20, tags=3)
    wider = Labels("tagging", labels.values, 5, labels.weights, labels.sequences)
    outputs = Crf().fit(x, wider, STRENGTH).outputs_in(x, labels.sequences)
    assert outputs.shape == (len(x), 5)
    b = np.exp(outputs[:, 3])
    assert 0 < b.max() < 0.1


def test_one_tag_one_row_and_constant_features_are_harmless():
    ones = np.ones((4, 3), np.float32)
    only = Labels("tagging", np.zeros(4, int), 5, np.ones(4), np.array([0, 0, 1, 1]))
    head = Crf().fit(ones, only, STRENGTH)
    assert (head.outputs_in(ones, only.sequences).argmax(axis=1) == 0).all()
    row = Labels("tagging", np.array([1]), 3, np.ones(1), np.zeros(1, int))
    assert np.isfinite(Crf().fit(ones[:1], row, STRENGTH).outputs(ones)).all()
    without = Labels("tagging", np.array([0, 1, 0, 1]), 3, np.ones(4))
    assert np.isfinite(Crf().fit(ones, without, STRENGTH).outputs(ones)).all()


def test_sequences_that_nobody_repaired_are_learned_from_all_the_same():
    x, labels = drawn(10)
    values = labels.values.copy()
    values[:2] = [4, 2]
    broken = Labels("tagging", values, K, labels.weights, labels.sequences)
    head = Crf().fit(x, broken, STRENGTH)
    assert np.isfinite(head.outputs_in(x, labels.sequences)).all()


def test_sparse_and_dense_features_have_one_solution():
    rng = np.random.default_rng(3)
    _, labels = drawn(40, 3)
    held = (rng.random((len(labels), 20)) < 0.2).astype(np.float32)
    held[:, 0] = labels.values == 1
    found = fit_sparse_crf(sparse.csr_array(held), labels.values, labels.sequences, K, 1e-2)
    dense = Crf().fit(held, labels, 1e-2)
    a = found.log_marginals(sparse.csr_array(held), labels.sequences)
    b = dense.outputs_in(held, labels.sequences)
    assert np.exp(a) == pytest.approx(np.exp(b), abs=0.03)
    begun = fit_sparse_crf(
        sparse.csr_array(held), labels.values, labels.sequences, K, 1e-2, start=found
    )
    again = begun.log_marginals(sparse.csr_array(held), labels.sequences)
    assert np.exp(again) == pytest.approx(np.exp(a), abs=0.02)


def test_expected_of_a_fit_are_the_counts_that_were_seen():
    """At the minimum without a penalty what is expected is what was seen, for every bias."""
    x, labels = drawn(40)
    head = Crf().fit(x, labels, 2e-3)
    p = np.exp(head.outputs_in(x, labels.sequences)).mean(axis=0)
    seen = np.bincount(labels.values, minlength=K) / len(x)
    assert p == pytest.approx(seen, abs=0.01)


def test_a_model_of_tagging_is_saved_and_reads_sequences(tmp_path):
    x, labels = drawn(20)
    scale = BlockScale.fit(x, [x.shape[1]])
    heads = (Crf().fit(scale(x), labels, STRENGTH), Probe().fit(scale(x), labels, STRENGTH))
    members = tuple(Member(("top",), "any", scale, head, temperature=1.5) for head in heads)
    classes = ("O", "B-a", "I-a", "B-b", "I-b")
    model = TransferModel("tagging", classes, members, 1.2, ("random:x",), "words")
    model.save(tmp_path)
    read = load_model(tmp_path)
    shown = read.predict([lambda name: x], labels.sequences)
    assert shown == pytest.approx(model.predict([lambda name: x], labels.sequences))
    assert shown.sum(axis=1) == pytest.approx(np.ones(len(x)))
    own = heads[0].outputs_in(scale(x), labels.sequences) / 1.5
    assert members[0].outputs(lambda name: x, labels.sequences) == pytest.approx(own)
    assert not np.allclose(shown, read.predict([lambda name: x]))


def test_tags_are_classes_wherever_heads_are_fitted_and_judged():
    x, labels = drawn(20)
    classes = Labels("classification", labels.values, K, labels.weights)
    for method in (Probe(), Prototype()):
        setting = method.settings(labels)[0]
        assert "tagging" in method.kinds
        as_tags, as_classes = (method.fit(x, one, setting).outputs(x) for one in (labels, classes))
        assert (as_tags == as_classes).all()
    temperature, p = calibrated(labels, as_tags)
    assert (temperature, p.tolist()) == (
        calibrated(classes, as_tags)[0],
        calibrated(classes, as_tags)[1].tolist(),
    )
    assert (example_losses(labels, p) == example_losses(classes, p)).all()
