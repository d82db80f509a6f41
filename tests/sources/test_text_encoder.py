import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from retarget.core.errors import SourceError
from retarget.sources.registry import resolve
from retarget.sources.tracing import trace
from retarget.sources.tuned import save_tuned
from retarget.tasks.words import Worded, worded

KINDS = ("bert", "roberta", "distilbert", "gpt2", "t5", "static", "vectors.vec")
POOLINGS = ("mean", "cls", "max", "last", "first+last", "mean+max", "tokens", "words")
LONG = " ".join(["The cat sat on the mat, and the dog barked."] * 9)


@pytest.fixture(scope="module")
def encoders(text_models):
    return {kind: resolve(f"file:{text_models / kind}").load() for kind in KINDS}


def run(encoder, texts, pooling):
    batch = encoder.collate([encoder.prepare(text) for text in texts])
    with torch.inference_mode():
        return encoder.pooled(batch, pooling)


@settings(deadline=None, max_examples=15)
@given(
    st.lists(st.text(alphabet="the cat. sat é中\u200b\n", max_size=120), min_size=1, max_size=4),
    st.sampled_from(POOLINGS),
)
def test_features_do_not_depend_on_neighbours(encoders, texts, pooling):
    for encoder in encoders.values():
        together = run(encoder, [worded(t) for t in [*texts, LONG, ""]], pooling)
        for row, text in enumerate(texts):
            alone = run(encoder, [worded(text)], pooling)
            for name, value in together.items():
                other = value[row]
                if value.ndim == 3:
                    assert not value[row, len(alone[name][0]) :].any()
                    other = other[: len(alone[name][0])]
                torch.testing.assert_close(alone[name][0], other, rtol=1e-4, atol=1e-5)
                assert torch.isfinite(value).all()


@pytest.mark.parametrize("kind", KINDS)
def test_layers_have_the_widths_they_say_under_every_pooling(encoders, kind):
    encoder = encoders[kind]
    for pooling in POOLINGS:
        found = run(encoder, ["The cat.", LONG], pooling)
        assert list(found) == [layer.name for layer in encoder.layers]
        for layer in encoder.layers:
            wanted = layer.width * (2 if pooling == "mean+max" else 1)
            if layer.name == "pooled" and pooling in ("first+last", "words"):
                wanted = encoder.layers[0].width  # of the tokens, not of vectors joined
            assert found[layer.name].shape[-1] == wanted == encoder.width_of(layer.name, pooling)
            assert found[layer.name].dtype == torch.float32


def test_a_trained_head_reads_the_pooling_that_was_asked_for(encoders):
    text = "The cat sat on a mat."
    for kind in ("bert", "distilbert"):
        encoder = encoders[kind]
        for pooling in ("cls", "max", "last", "mean+max"):
            found = run(encoder, [text], pooling)[encoder.head_layer(pooling)]
            tokens = run(encoder, [text], "tokens")["hidden_states.2"][0]
            tokens = tokens[: len(encoder.prepare(text))]
            counts = encoder.prepare(text)[:, 2] == 1
            counted = tokens[counts]
            wanted = {
                "cls": tokens[0],
                "max": counted.amax(0),
                "last": counted[-1],
                "mean+max": torch.cat([counted.mean(0), counted.amax(0)]),
            }[pooling]
            torch.testing.assert_close(found[0], wanted)
        for pooling in ("mean", "first+last", "words"):
            assert encoder.head_layer(pooling) == "pooled"
    for kind in ("static", "vectors.vec"):
        assert {encoders[kind].head_layer(pooling) for pooling in POOLINGS} == {"pooled"}


def test_first_and_last_are_the_mean_of_two_layers(encoders):
    encoder = encoders["distilbert"]
    mean, both = (run(encoder, ["A cat sat."], p) for p in ("mean", "first+last"))
    expected = (mean["hidden_states.1"] + mean["hidden_states.2"]) / 2
    torch.testing.assert_close(both["pooled"], expected)
    torch.testing.assert_close(both["hidden_states.1"], mean["hidden_states.1"])


def test_the_first_token_stands_for_texts_that_begin_with_a_mark(encoders):
    for kind, expected in (("bert", "tokens"), ("gpt2", "mean")):
        found, other = (run(encoders[kind], ["A cat."], p) for p in ("cls", expected))
        wanted = other["hidden_states.1"]
        torch.testing.assert_close(
            found["hidden_states.1"], wanted[:, 0] if wanted.ndim == 3 else wanted
        )


def test_long_texts_are_pooled_over_windows_each_token_once(encoders):
    encoder = encoders["distilbert"]
    prepared = encoder.prepare(LONG)
    assert encoder.windows(encoder.prepare("cat")) == 1
    assert encoder.windows(prepared) == len(prepared) // encoder.length > 2
    rows = []
    for start in range(0, len(prepared), encoder.length):
        window = prepared[start : start + encoder.length]
        with torch.inference_mode():
            states = encoder(encoder.collate([window]))["hidden_states.2"][0]
        rows += [states[k] for k in range(encoder.length) if window[k, 2]]
    found = run(encoder, [LONG], "mean")["hidden_states.2"][0]
    torch.testing.assert_close(found, torch.stack(rows).mean(0), rtol=1e-4, atol=1e-5)
    text = worded(LONG)
    words = run(encoder, [text], "words")["hidden_states.2"][0]
    assert words[: len(text.words)].abs().sum(1).min() > 0
    assert not words[len(text.words) :].any()


def test_batches_hold_a_budget_of_tokens(encoders):
    encoder = encoders["bert"]
    short, long = encoder.prepare("cat"), encoder.prepare(LONG)
    assert encoder.bucket(short) == 8
    assert encoder.bucket(long) == len(long)
    assert encoder.batch_size(8, 16) == 64
    assert encoder.batch_size(32, 16) == 16
    assert encoder.batch_size(32, 64) == 256
    assert encoder.batch_size(100_000, 16) == 1
    assert encoder.collate([short]).shape == (1, 8, 5)
    batch = encoder.collate([short, long])
    assert batch.shape == (2, len(long), 5)
    assert batch[0, len(short) :, 1:].sum() == 0


def test_more_words_than_pieces_still_have_a_place_each(encoders):
    encoder = encoders["bert"]
    text = "\u200b" * 30 + "cat"
    raw = Worded(text, (*((i, i + 1) for i in range(30)), (30, 33)))
    found = run(encoder, [raw], "words")["hidden_states.1"][0]
    assert len(found) >= 31
    assert not found[:30].any()
    plain = run(encoder, [worded("cat")], "words")["hidden_states.1"][0, 0]
    torch.testing.assert_close(found[30], plain, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_parameters_are_grouped_by_depth_and_nothing_is_cut(encoders, kind):
    encoder = encoders[kind]
    groups = encoder.groups()
    names = [name for group in groups for name in group.parameters]
    assert sorted(names) == sorted(name for name, _ in encoder.named_parameters())
    assert [group.layer for group in groups] == [layer.name for layer in encoder.layers]
    assert any("embed" in n or "wte" in n or "shared" in n for n in groups[0].parameters)
    with pytest.raises(SourceError, match="differ in length"):
        encoder.split_at(encoder.layers[0].name)
    assert trace(encoder, encoder.example_batch(3)).calls


def test_a_tuned_text_encoder_opens_as_a_folder(text_models, tmp_path):
    source = resolve(f"file:{text_models / 'bert'}")
    encoder = source.load()
    with torch.no_grad():
        next(encoder.parameters()).add_(0.5)
    opened = resolve(save_tuned(source, encoder, tmp_path / "tuned"))
    assert opened.facts.modality == "text"
    assert opened.fingerprint != source.fingerprint
    a, b = run(encoder, ["A cat."], "mean"), run(opened.load(), ["A cat."], "mean")
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_pairs_tell_the_second_text_from_the_first(encoders):
    prepared = encoders["bert"].prepare(("A cat.", "A dog."))
    assert set(prepared[:, 1].tolist()) == {0, 1}
    assert encoders["roberta"].prepare(("A cat.", "A dog."))[:, 1].sum() == 0
    long = encoders["bert"].prepare((LONG, LONG))
    assert len(long) % encoders["bert"].length == 0
    assert np.isfinite(run(encoders["bert"], [(LONG, "x")], "mean")["pooled"].numpy()).all()
