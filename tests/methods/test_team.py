"""Two processes come to what one comes to."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from retarget.methods import team as teams
from retarget.methods.team import Team

HERE = Path(__file__).parent
RUN = f"""
import os, sys
sys.path.insert(0, {str(HERE)!r})
import trainable
import numpy as np, torch
from dataclasses import replace
from retarget.methods.settings import Part, Training
from retarget.methods.training import train

torch.set_num_threads(1)
HOW = Training(epochs=3, lr=3e-3, batch=7, augment=0.3, views=0, patience=9)

def numbers(model):
    return [round(float(x), 7) for t in model.state_dict().values() for x in t.double().flatten()]

def run(name, made, how=HOW, most=10**9, names=None):
    model = trainable.trainee(made)
    model.encoder.most = most
    own = [n for n, _ in model.named_parameters() if names is None or names in n]
    parts = (Part(tuple(own)),)
    done = train(model, parts, made, how, key=name)
    figures = [[e.loss, e.validation_loss, e.score] for e in done.epochs]
    found[name] = [numbers(model), figures, done.outputs.tolist(), list(done.gap), done.taken]

weights = np.random.default_rng(0).uniform(0.2, 3, 24)
made = trainable.subject(24, 7, weights=weights)
run("plain", made)
run("mixed", made, replace(HOW, mixup=0.4, sharpness=0.1, stay_near=0.1, average=0.5))
run("cached", made, replace(HOW, views=2, epochs=6), names="l")
run("short", made, most=1 if os.environ.get("RANK") == "1" else 10**9)
run("few", trainable.subject(9, 1), replace(HOW, batch=3))
run("one", trainable.subject(4, 1), replace(HOW, batch=1))
"""


def doubled(monkeypatch: pytest.MonkeyPatch) -> Team:
    """A team of two, the other of which has the same numbers."""
    team = Team("cpu")
    team.count = 2
    monkeypatch.setattr(team, "_sum", lambda tensor: tensor.mul_(2))
    return team


def test_gradients_are_summed_in_buckets_where_anybody_has_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(teams, "_BUCKET", 5)
    parameters = [nn.Parameter(torch.randn(size)) for size in (3, 4, 2, 1)]
    for parameter in parameters[:3]:
        parameter.grad = torch.randn_like(parameter)
    before = [p.grad.clone() for p in parameters[:3]]
    loss = doubled(monkeypatch).sum_gradients(parameters, torch.tensor(1.5))
    assert loss.item() == 3.0
    assert all(torch.equal(p.grad, 2 * b) for p, b in zip(parameters, before, strict=False))
    assert parameters[3].grad is None


def test_a_process_without_examples_takes_part(monkeypatch: pytest.MonkeyPatch) -> None:
    team, weight = doubled(monkeypatch), nn.Parameter(torch.ones(2))

    def other(tensor: torch.Tensor) -> None:
        tensor.add_(1.0)

    monkeypatch.setattr(team, "_sum", other)
    assert team.sum_gradients([weight], torch.tensor(0.0)).item() == 1.0
    assert weight.grad is not None and weight.grad.tolist() == [1.0, 1.0]


def test_rows_and_statistics_are_put_together(monkeypatch: pytest.MonkeyPatch) -> None:
    team = doubled(monkeypatch)
    rows = team.whole(np.ones((2, 3)), slice(1, 3), 4)
    assert rows.tolist() == [[0.0] * 3, [2.0] * 3, [2.0] * 3, [0.0] * 3]
    mean, count = torch.tensor([1.0, 2.0]), torch.tensor(7)
    team.average([mean, count])
    assert mean.tolist() == [1.0, 2.0] and int(count) == 7


def test_alone_nothing_is_sent() -> None:
    team = Team("cpu")
    assert (team.count, team.rank, team.share(5)) == (1, 0, slice(0, 5))
    weight = nn.Parameter(torch.ones(2))
    assert team.sum_gradients([weight], torch.tensor(2.0)).item() == 2.0
    assert weight.grad is None
    assert team.whole(np.ones((2, 3)), slice(0, 2), 2).shape == (2, 3)


def difference(a: Any, b: Any) -> float:
    if isinstance(a, list):
        assert len(a) == len(b)
        return max((difference(x, y) for x, y in zip(a, b, strict=True)), default=0.0)
    return abs(a - b) / max(1.0, abs(a))


@pytest.mark.slow
def test_two_processes_come_to_what_one_comes_to(
    together: Callable[[str], list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("accelerate")
    first, second = together(RUN)
    assert (first["status"], second["status"]) == (0, 0), first["errors"] + second["errors"]
    monkeypatch.setenv("RETARGET_CACHE", str(tmp_path / "alone"))
    alone: dict[str, Any] = {}
    exec(RUN.replace("found[", "alone["), {"alone": alone})
    assert set(alone) == {"plain", "mixed", "cached", "short", "few", "one"}
    for name, expected in alone.items():
        assert first[name] == second[name], name
        assert difference(expected, first[name]) < 1e-5, name
