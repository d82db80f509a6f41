"""Where trainings start: heads on frozen features, scales, spreads."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from retarget.features.table import Table
from retarget.methods.base import Labels
from retarget.methods.probe import Probe
from retarget.methods.scale import BlockScale
from retarget.methods.start import bare, features, headed, ignorant, spread_of


def run(trainee, subject, rows):
    batch = torch.stack([trainee.encoder.prepare(subject.inputs.references[i]) for i in rows])
    with torch.no_grad():
        return trainee.eval()(batch).numpy()


def test_features_are_those_of_the_encoder_or_of_the_table(toy):
    subject = toy.subject("test_resnet", n=40, judging=4)
    encoder = subject.source.load()
    rows = np.array([3, 39, 0])
    batch = torch.stack([encoder.prepare(subject.inputs.references[i]) for i in rows])
    with torch.no_grad():
        expected = encoder.pooled(batch, "mean")["pooled"].numpy()
    np.testing.assert_allclose(features(encoder, subject, rows), expected, atol=1e-5)
    width = expected.shape[1]
    matrix = np.arange(40 * (width + 2), dtype=np.float32).reshape(40, width + 2)
    columns = {"other": slice(0, 2), "pooled": slice(2, 2 + width)}
    table = Table("toy:", matrix, columns, 1.0, 1.0)
    found = features(encoder, replace(subject, table=table), rows)
    np.testing.assert_array_equal(found, matrix[rows, 2:])


def test_the_head_is_a_probe_of_the_learning_rows_alone(toy):
    subject = toy.subject("test_resnet", n=40, judging=10)
    encoder = subject.source.load()
    found = headed(encoder, subject, Probe())
    x = features(encoder, subject, subject.learning)
    scale = BlockScale.fit(x, [x.shape[1]])
    labels = subject.labels.take(subject.learning)
    made = run(found, subject, subject.learning)
    candidates = [
        Probe().fit(scale(x), labels, s).outputs(scale(x)) for s in Probe().settings(labels)
    ]
    # Each within the tolerance of the solver, which began elsewhere.
    assert min(np.abs(made - outputs).max() for outputs in candidates) < 1e-2
    other = replace(
        subject,
        labels=replace(
            subject.labels, values=np.where(subject.validation, 1, subject.labels.values)
        ),
    )
    again = headed(encoder, other, Probe())
    torch.testing.assert_close(again.linear.weight, found.linear.weight, rtol=0, atol=0)


def test_without_a_probe_it_starts_from_the_shares_of_classes(toy):
    subject = toy.subject("test_vit", n=20, judging=5)
    found = headed(subject.source.load(), subject, None)
    made = run(found, subject, np.arange(20))
    assert np.abs(made - made[0]).max() < 1e-6
    learning = subject.labels.values[:15]
    shares = (np.bincount(learning, minlength=2) + 0.5) / 16
    np.testing.assert_allclose(made[0] - made[0][0], np.log(shares / shares[0]), atol=1e-5)


def test_an_ignorant_head_gives_the_weighted_mean_of_numbers():
    labels = Labels("regression", np.array([1.0, 5.0]), 1, np.array([3.0, 1.0]))
    head = ignorant(labels, 4)
    np.testing.assert_allclose(head.outputs(np.ones((1, 4), np.float32)), [[2.0]])
    several = Labels("multilabel", np.array([[1.0, 0.0]] * 9), 2, np.ones(9))
    found = ignorant(several, 4).outputs(np.ones((1, 4), np.float32))[0]
    np.testing.assert_allclose(found, np.log([9.5 / 0.5, 0.5 / 9.5]))


def test_numbers_are_learned_in_units_of_their_spread(toy):
    subject = toy.subject("test_resnet", n=30, judging=6)
    values = np.linspace(1000.0, 5000.0, 30)
    labels = Labels("regression", values, 1, np.ones(30))
    subject = replace(subject, labels=labels, metric="rmse")
    found = headed(subject.source.load(), subject, Probe())
    assert float(found.spread) == pytest.approx(values[:24].std())
    assert float(found.linear.weight.detach().abs().max()) < 50
    assert abs(run(found, subject, subject.learning).mean() - values[:24].mean()) < 50
    member = found.member("finetune", 1.0)
    x = features(found.encoder, subject, subject.learning)
    made = member.head.outputs(member.scale(x))
    np.testing.assert_allclose(made, run(found, subject, subject.learning), rtol=1e-4)
    bare_one = bare(subject.source.load(), subject)
    np.testing.assert_allclose(run(bare_one, subject, np.arange(3)), values[:24].mean(), rtol=1e-5)


def test_values_that_do_not_differ_have_a_spread_of_one():
    assert spread_of(Labels("regression", np.full(3, 7.0), 1, np.ones(3))) == 1.0
    assert spread_of(Labels("classification", np.array([0, 5]), 6, np.ones(2))) == 1.0


def test_one_row_is_enough_to_start_from(toy):
    subject = toy.subject("test_vit", n=3, judging=2)
    found = headed(subject.source.load(), subject, Probe())
    assert np.isfinite(run(found, subject, np.arange(3))).all()
