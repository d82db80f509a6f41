"""Mixtures of two sets of weights, against the plainest recomputation."""

import copy

import numpy as np
import pytest
import torch

from retarget.methods.losses import calibrated, example_losses
from retarget.methods.mixing import SHARES, judge, mixed_weights, weights_of
from retarget.methods.probe import Probe
from retarget.methods.start import headed


@pytest.fixture
def way(toy):
    """A trainee that was changed at random, its weights before, and its subject."""
    subject = toy.subject("test_resnet", n=40, judging=16)
    trainee = headed(subject.source.load(), subject, Probe()).eval()
    start = weights_of(trainee)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in trainee.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return trainee, start, subject


def plain_outputs(trainee, subject):
    batch = torch.stack(
        [trainee.encoder.prepare(subject.inputs.references[i]) for i in subject.judging]
    )
    with torch.no_grad():
        return trainee.eval()(batch).double().numpy()


def test_a_mixture_is_the_weighted_mean_and_whole_numbers_are_the_tuned():
    start = {"w": torch.tensor([0.0, 2.0]), "n": torch.tensor(3)}
    tuned = {"w": torch.tensor([1.0, 6.0]), "n": torch.tensor(7)}
    found = mixed_weights(start, tuned, 0.25)
    torch.testing.assert_close(found["w"], torch.tensor([0.25, 3.0]))
    assert found["n"] == 7


def test_the_ends_of_the_way_are_start_and_tuned_bit_for_bit(way):
    trainee, start, _ = way
    tuned = weights_of(trainee)
    for share, weights in ((0.0, start), (1.0, tuned)):
        found = mixed_weights(start, tuned, share)
        assert all(torch.equal(found[k], weights[k]) for k in weights if "num_batches" not in k)


def test_points_are_judged_as_a_plain_loop_over_shares_judges_them(way):
    trainee, start, subject = way
    last = plain_outputs(trainee, subject)
    found = judge(trainee, start, last, subject, more=(0.25,))
    assert [p.share for p in found.points] == sorted({*SHARES, 0.25})
    labels = subject.labels.take(subject.judging)
    tuned, losses = trainee.state_dict(), []
    for point, outputs in zip(found.points, found.outputs, strict=True):
        other = copy.deepcopy(trainee)
        state = {
            k: (start[k] + point.share * (v - start[k])) if v.is_floating_point() else v
            for k, v in tuned.items()
        }
        other.load_state_dict(state)
        expected = plain_outputs(other, subject)
        np.testing.assert_allclose(outputs, expected, atol=1e-4, rtol=1e-4)
        predictions = calibrated(labels, expected)[1]
        losses.append(float(example_losses(labels, predictions).mean()))
        assert point.validation_loss == pytest.approx(losses[-1], abs=1e-4)
        assert point.score == np.mean(predictions.argmax(1) == labels.values)
    assert found.share == found.points[int(np.argmin(losses))].share


def test_judging_leaves_the_trainee_as_it_was_trained(way):
    trainee, start, subject = way
    tuned = weights_of(trainee)
    judge(trainee, start, plain_outputs(trainee, subject), subject)
    assert all(torch.equal(v, tuned[k]) for k, v in trainee.state_dict().items())


def test_of_equal_mixtures_the_one_nearest_to_the_source_is_best(way):
    trainee, start, subject = way
    trainee.load_state_dict(start)
    found = judge(trainee, start, plain_outputs(trainee, subject), subject)
    assert found.share == 0.0


def test_a_point_is_found_by_its_share(way):
    trainee, start, subject = way
    found = judge(trainee, start, plain_outputs(trainee, subject), subject)
    assert found.points[found.at(0.3)].share == 0.3
    with pytest.raises(ValueError, match="not in list"):
        found.at(0.35)


def test_frozen_layers_are_run_once_and_change_nothing(toy, monkeypatch):
    subject = toy.subject("test_resnet", n=40, judging=16)
    trainee = headed(subject.source.load(), subject, Probe()).eval()
    start, late = weights_of(trainee), trainee.encoder.groups()[-2:]
    names = {name for group in late for name in group.parameters}
    with torch.no_grad():
        for name, parameter in trainee.encoder.named_parameters():
            if name in names:
                parameter.mul_(1.1)
    last, behind = plain_outputs(trainee, subject), trainee.encoder.groups()[-3].layer
    seen = []
    first = trainee.encoder.model.conv1[0]
    convolve = first._conv_forward

    def counted(given, *rest):
        seen.append(len(given))
        return convolve(given, *rest)

    monkeypatch.setattr(first, "_conv_forward", counted)
    whole = judge(trainee, start, last, subject)
    many = sum(seen)
    seen.clear()
    cut = judge(trainee, start, last, subject, behind=behind)
    assert many == 10 * 16 and sum(seen) < many / 2
    for a, b in zip(whole.outputs, cut.outputs, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4, rtol=1e-4)
    assert whole.share == cut.share and trainee.split is None


def test_a_mixture_whose_outputs_are_not_finite_is_the_worst(way):
    trainee, start, subject = way
    last = plain_outputs(trainee, subject)
    with torch.no_grad():
        trainee.linear.bias.fill_(float("inf"))
    found = judge(trainee, start, last, subject)
    assert found.share in (0.0, 1.0)
    assert all(np.isinf(p.validation_loss) for p in found.points[1:-1])
