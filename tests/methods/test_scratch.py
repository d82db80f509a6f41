"""Training from random weights: what is random, what is learned, on what terms."""

import numpy as np
import pytest
import torch

from retarget.core.errors import SourceError
from retarget.methods.scratch import Scratch, SmallCnn
from retarget.sources.registry import resolve


def test_it_starts_from_the_architecture_with_weights_of_the_seed(toy):
    from dataclasses import replace

    subject = toy.subject("test_resnet", n=8, judging=2)
    own = subject.source.load().weights()
    first, again, other = (
        Scratch().start(replace(subject, seed=seed)).load().weights() for seed in (3, 3, 4)
    )
    assert own.keys() == first.keys()
    assert all(torch.equal(first[name], again[name]) for name in first)
    for others in (own, other):
        assert any(not torch.equal(first[name], others[name]) for name in first)


def test_all_is_trained_and_batch_norms_learn_their_statistics(toy):
    subject = toy.subject("test_resnet", n=40, judging=16)
    how = Scratch(epochs=2, batch=8, augment=0.0, refit=False)
    found = how.fit(subject)
    before, after = how.start(subject).load().weights(), resolve(found.uri).load().weights()
    assert found.cost.trainable == found.cost.parameters
    if found.taken:
        assert all(
            not torch.equal(before[n], after[n]) for n in before if n.endswith("running_mean")
        )
    assert found.epochs[0].validation_loss == pytest.approx(np.log(2), abs=1e-3)


def test_its_schedule_is_its_own_and_its_budget_is_not(toy):
    subject = toy.subject("test_resnet", n=40)
    cnn, vit = (toy.ToySource(name).load() for name in ("test_resnet", "test_vit"))
    how = Scratch().settled(cnn, subject)
    assert (how.lr, how.head_lr, how.batch_statistics, how.epochs) == (1e-3, 1e-3, True, None)
    assert Scratch().settled(vit, subject).lr == 5e-4
    assert Scratch().warmup > 0.1
    searched = Scratch(lr="auto").settled(cnn, subject)
    assert (searched.lr, searched.head_lr) == ("auto", 1e-3)
    assert Scratch(lr=0.5, batch_statistics=False).settled(cnn, subject).head_lr == 0.5


def test_it_is_one_of_the_denominators():
    assert Scratch.from_random and SmallCnn.from_random
    assert not Scratch().mixes


def test_a_source_without_weights_has_no_scratch(toy):
    from dataclasses import replace

    subject = replace(toy.subject(n=8, judging=2), source=resolve("pixels:"))
    with pytest.raises(SourceError, match="no random version"):
        Scratch().fit(subject)
