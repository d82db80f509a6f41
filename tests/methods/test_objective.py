import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_sample_weight
from torch.nn import functional

from retarget.methods.base import Labels
from retarget.methods.objective import draw_mixing, objective_of

CPU = torch.device("cpu")


def of(kind, values, outputs=1, weights=None, learning=None, smoothing=0.0, balanced=False):
    values = np.asarray(values)
    weights = np.ones(len(values)) if weights is None else np.asarray(weights, float)
    learning = np.arange(len(values)) if learning is None else np.asarray(learning)
    labels = Labels(kind, values, outputs, weights)
    return objective_of(labels, learning, smoothing, "balanced" if balanced else None, CPU)


def test_classes_are_weighed_as_scikit_learn_does() -> None:
    values = [0, 0, 0, 1, 1, 2]
    made = of("classification", values, 4, balanced=True)
    expected = compute_sample_weight("balanced", values)
    assert made.weights.numpy() == pytest.approx(expected / expected.mean())


def test_class_weights_come_from_what_is_learned_from() -> None:
    made = of("classification", [0, 0, 0, 1, 1, 1, 1], 2, learning=[0, 1, 2, 3], balanced=True)
    weights = made.weights.numpy()
    assert weights[3] == pytest.approx(3 * weights[0])
    assert weights[:4].mean() == pytest.approx(1.0)


def test_example_weights_average_to_one_over_what_is_learned_from() -> None:
    made = of("regression", [1.0, 2.0, 9.0], weights=[2.0, 4.0, 100.0], learning=[0, 1])
    assert made.weights.numpy() == pytest.approx([2 / 3, 4 / 3, 100 / 3])
    assert made.spread == pytest.approx(0.5)


def test_numbers_that_are_all_alike_have_a_spread_of_one() -> None:
    made = of("regression", [3.0, 3.0, 3.0])
    assert made.spread == 1.0
    assert made.losses(torch.tensor([[5.0]]), torch.tensor([0])).item() == pytest.approx(4.0)


def test_presence_and_absence_of_a_label_weigh_the_same() -> None:
    values = np.array([[1, 0], [0, 0], [0, 0], [0, 1]], float)
    made = of("multilabel", values, 2, balanced=True)
    rows, outputs = torch.arange(4), torch.zeros(4, 2)
    each = functional.binary_cross_entropy_with_logits(
        outputs, torch.tensor(values).float(), reduction="none"
    )
    weights = torch.tensor([[2.0, 2 / 3], [2 / 3, 2 / 3], [2 / 3, 2 / 3], [2 / 3, 2.0]])
    assert torch.allclose(made.losses(outputs, rows), (each * weights).mean(1))
    always = of("multilabel", np.ones((3, 2)), 2, balanced=True)
    assert torch.isfinite(always.losses(torch.zeros(3, 2), torch.arange(3))).all()


def test_smoothed_labels_move_towards_one_half() -> None:
    made = of("multilabel", np.array([[1.0, 0.0]]), 2, smoothing=0.2)
    outputs = torch.tensor([[0.3, -1.2]])
    expected = functional.binary_cross_entropy_with_logits(outputs, torch.tensor([[0.9, 0.1]]))
    assert made.losses(outputs, torch.tensor([0])).item() == pytest.approx(expected.item())


def test_mixed_loss_is_that_of_both_by_share_and_weight() -> None:
    made = of("classification", [0, 1], 2, weights=[1.0, 3.0])
    outputs, shares = torch.randn(2, 2), torch.tensor([0.7, 0.7])
    rows, others = torch.tensor([0, 1]), torch.tensor([1, 0])
    logs = -functional.log_softmax(outputs, 1)
    expected = 0.7 * (0.5 * logs[0, 0] + 1.5 * logs[1, 1])
    expected = expected + 0.3 * (1.5 * logs[0, 1] + 0.5 * logs[1, 0])
    found = made.mixed_total(outputs, rows, others, shares)
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)


def mixing(count, mixup=0.5, cutmix=0.0, seed=0):
    return draw_mixing(count, np.random.default_rng(seed), mixup, cutmix)


def test_neighbours_are_mixed_and_an_odd_last_one_with_itself() -> None:
    batch = torch.randn(5, 3, 4, 4)
    made = mixing(5)
    mixed, shares = made.apply(batch)
    assert made.others.tolist() == [1, 0, 3, 2, 4]
    for i, other in enumerate(made.others):
        expected = shares[i] * batch[i] + (1 - shares[i]) * batch[other]
        assert torch.allclose(mixed[i], expected, atol=1e-6)
    assert torch.allclose(mixed[4], batch[4], atol=1e-6)
    assert shares[0] == shares[1] != shares[2]


def test_a_part_is_mixed_as_the_whole_is() -> None:
    batch = torch.randn(8, 2, 5, 5)
    for cutmix in (0.0, 1.0):
        made = mixing(8, cutmix=cutmix)
        whole, shares = made.apply(batch)
        for part in (slice(0, 4), slice(4, 8), slice(2, 6)):
            found, own = made.take(part).apply(batch[part])
            assert torch.equal(found, whole[part]) and torch.equal(own, shares[part])


def test_boxes_are_pasted_and_counted() -> None:
    batch = torch.arange(6).float()[:, None, None, None].expand(6, 2, 8, 10).clone()
    mixed, shares = mixing(6, mixup=0.0, cutmix=1.0, seed=3).apply(batch)
    for i in range(6):
        own = mixed[i] == i
        assert shares[i].item() == pytest.approx(own.float().mean().item())
        assert set(mixed[i].unique().tolist()) <= {float(i), float(i ^ 1)}
        rows = (~own[0]).any(1).nonzero().flatten()
        if len(rows):  # one box, without holes
            columns = (~own[0]).any(0).nonzero().flatten()
            inside = own[0][rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            assert not inside.any()
    assert (shares < 1).any()


def test_nothing_is_mixed_where_nothing_is_asked_for() -> None:
    assert mixing(4, 0.0, 0.0) is None
