"""Batches go through a model in parts where that is less work, and nothing else changes."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from retarget.sources import apart
from retarget.sources.apart import parts_by_length, taken_apart
from retarget.sources.registry import resolve
from retarget.tasks.words import worded

TEXTS = ["cat", "", "The cat sat.", " ".join(["The cat sat on the mat."] * 5), "a b c d e"]
LONG = " ".join(["The cat sat on the mat, and the dog barked."] * 9)


def cost(parts: list[list[int]], lengths: list[int], extra: float) -> float:
    return sum(extra + max(lengths[i] for i in part) * len(part) for part in parts)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=7), st.sampled_from([0.0, 5.0, 90.0]))
def test_no_way_to_part_a_batch_is_less_work(lengths, extra):
    parts = parts_by_length(lengths, extra)
    assert sorted(i for part in parts for i in part) == list(range(len(lengths)))
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    ways = []
    for cuts in itertools.product([False, True], repeat=len(order) - 1):
        way = [[order[0]]]
        for row, cut in zip(order[1:], cuts, strict=True):
            way = [*way, [row]] if cut else [*way[:-1], [*way[-1], row]]
        ways.append(cost(way, lengths, extra))
    assert cost(parts, lengths, extra) == pytest.approx(min(ways))


def test_rows_alike_stay_together_in_their_order():
    assert parts_by_length([8, 8, 8], 0.0) == [[0, 1, 2]]
    assert parts_by_length([8, 64, 8, 64], 0.0) == [[1, 3], [0, 2]]
    assert parts_by_length([8, 64, 8, 64], 1e6) == [[1, 3, 0, 2]]
    assert parts_by_length([5], 3.0) == [[0]]


def test_every_row_comes_back_to_its_place(monkeypatch):
    monkeypatch.setattr(apart, "PASS_WITH_GRADIENT", 0.0)
    batch = torch.arange(12.0).reshape(6, 2, 1).repeat(1, 20, 1)
    seen = []

    def run(part):
        seen.append(part.shape[:2])
        return {"row": part[:, 0], "places": part}

    found = taken_apart(batch, [40, 2, 40, 2, 7, 2], run)
    assert seen == [(2, 40), (1, 7), (3, 2)]
    assert torch.equal(found["row"], batch[:, 0])
    assert found["places"].shape == batch.shape
    assert torch.equal(found["places"][1, :2], batch[1, :2])
    assert not found["places"][1, 2:].any()


@pytest.fixture(scope="module")
def encoders(text_models):
    kinds = ("bert", "gpt2", "t5", "static")
    return {kind: resolve(f"file:{text_models / kind}").load().eval() for kind in kinds}


@pytest.mark.parametrize("pooling", ["mean", "cls", "max", "last", "first+last", "words", "tokens"])
@pytest.mark.parametrize("texts", [TEXTS, [*TEXTS, LONG]], ids=["short", "windows"])
def test_a_head_reads_the_same_whatever_was_parted(encoders, pooling, texts, monkeypatch):
    monkeypatch.setattr(apart, "PASS", 0.0)
    for encoder in encoders.values():
        names = [layer.name for layer in encoder.layers]
        batch = encoder.collate([encoder.prepare(worded(text)) for text in texts])
        with torch.no_grad():
            whole = encoder.pooled(batch, pooling)
            parted = encoder.pooled_of(batch, pooling, names)
        assert list(parted) == names
        for name in names:
            torch.testing.assert_close(parted[name], whole[name], rtol=1e-4, atol=1e-5)


def test_gradients_are_the_same(encoders, monkeypatch):
    encoder, widths = encoders["bert"], []
    states = encoder._states
    monkeypatch.setattr(encoder, "_states", lambda b: widths.append(b.shape[1]) or states(b))
    batch = encoder.collate([encoder.prepare(text) for text in TEXTS])

    def gradients(extra):
        monkeypatch.setattr(apart, "PASS_WITH_GRADIENT", extra)
        encoder.zero_grad(set_to_none=True)
        found = encoder.pooled_of(batch, "mean", ("pooled",))["pooled"]
        (found * torch.linspace(-1, 1, found.shape[1])).sum().backward()
        return {n: p.grad.clone() for n, p in encoder.named_parameters() if p.grad is not None}

    whole, parted = gradients(1e9), gradients(0.0)
    assert widths[0] == batch.shape[1] and len(widths) > 2 and min(widths) < widths[0]
    assert whole.keys() == parted.keys() and whole
    for name, wanted in whole.items():
        torch.testing.assert_close(parted[name], wanted, rtol=1e-4, atol=1e-5)
