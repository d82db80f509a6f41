"""Training on texts and on words: against the plain loop, killed, and as every tuning does it."""

import importlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from retarget.core.errors import UsageError
from retarget.core.hashing import hash_bytes
from retarget.features.views import Inputs
from retarget.methods import loop as loops
from retarget.methods.base import Labels
from retarget.methods.callbacks import Callback
from retarget.methods.settings import Part, Training
from retarget.methods.start import features
from retarget.methods.trainee import Trainee
from retarget.methods.training import train
from retarget.methods.tuning import TUNINGS, Subject
from retarget.sources.registry import resolve
from retarget.tasks.words import Worded, split_words

for _room in ("finetune", "lora", "scratch"):
    importlib.import_module(f"retarget.methods.{_room}")

GOOD, BAD = ("fine", "good", "bright"), ("poor", "bad", "dull")
OTHER = ("the", "day", "a", "very", "sea", "is", "and", "so")
PLAIN = Training(epochs=3, lr=2e-3, batch=5, weight_decay=0.1, patience=99)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A tiny random BERT as a folder."""
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    folder = tmp_path_factory.mktemp("bert")
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *GOOD, *BAD, *OTHER]
    pieces = Tokenizer(models.WordPiece({n: i for i, n in enumerate(names)}, unk_token="[UNK]"))
    pieces.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    pieces.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    torch.manual_seed(3)
    config = transformers.BertConfig(
        vocab_size=len(names),
        hidden_size=16,
        num_attention_heads=2,
        num_hidden_layers=2,
        intermediate_size=24,
        max_position_embeddings=32,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    transformers.BertModel(config).save_pretrained(folder)
    pieces.save(str(folder / "tokenizer.json"))
    return resolve(f"file:{folder}")


def subject(source, n=24, judging=8, *, words=False, kind="classification", **rest):
    """Texts that say good or bad things; or words, tagged where they do."""
    random = np.random.default_rng(0)
    texts, values = [], []
    for i in range(n):
        said = GOOD if i % 2 else BAD
        others = random.choice(OTHER, int(random.integers(1, 12))).tolist()
        place = int(random.integers(0, len(others) + 1))
        others.insert(place, str(random.choice(said)))
        texts.append(" ".join(others))
        values.append([1 + i % 2 if k == place else 0 for k in range(len(others))])
    ids = np.array([hash_bytes(f"{i} {t}".encode()) for i, t in enumerate(texts)])
    judges = np.arange(n) >= n - judging
    if words:
        owners = np.repeat(np.arange(n), [len(v) for v in values])
        tags = np.concatenate(values)
        worded = [Worded(t, split_words(t)) for t in texts]
        labels = Labels("tagging", tags, 3, np.ones(len(tags)), sequences=owners)
        inputs = Inputs("text", worded, ids, owners)
        pooling, metric, validation = "words", "word_accuracy", judges[owners]
    else:
        classes = np.arange(n) % 2
        told = {
            "classification": (classes, 2),
            "multilabel": (np.eye(2)[classes], 2),
            "regression": (5.0 + 2.0 * classes, 1),
        }[kind]
        labels = Labels(kind, *told, np.ones(n))
        inputs, pooling, validation = Inputs("text", texts, ids), "mean", judges
        metric = {"classification": "accuracy", "multilabel": "macro_f1", "regression": "rmse"}[
            kind
        ]
    return Subject(
        source, inputs, labels, validation, metric, pooling=pooling, device="cpu", **rest
    )


def trainee(source, made):
    found = Trainee(source.load(), made.labels.outputs, pooling=made.pooling)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in found.linear.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / 5)
    return found


def everything(model):
    return (Part(tuple(name for name, _ in model.named_parameters())),)


def batch_of(model, made, examples):
    prepared = [model.encoder.prepare(made.inputs.references[i]) for i in examples]
    return model.encoder.collate(prepared)


def word_outputs(model, made, examples):
    """Outputs of every word of some sentences, one sentence and one word after the other."""
    z = model(batch_of(model, made, examples))
    return torch.stack(
        [
            z[b, k]
            for b, e in enumerate(examples)
            for k in range(len(made.inputs.references[e].words))
        ]
    )


def test_words_are_learned_as_in_the_plain_loop(source, monkeypatch):
    weights = np.random.default_rng(1).uniform(0.5, 2.0, 24)
    made = subject(source, judging=0, words=True)
    made = replace(made, labels=replace(made.labels, weights=weights[made.inputs.owners]))
    ours, theirs = trainee(source, made), trainee(source, made)
    orders = {}

    from retarget.methods.gear import Gear

    whole = Gear.batches
    monkeypatch.setattr(
        Gear, "batches", lambda self, epoch: orders.setdefault(epoch, whole(self, epoch))
    )
    train(ours, everything(ours), made, PLAIN, key="words")
    weight = torch.tensor(made.labels.weights / made.labels.weights.mean()).float()
    named = dict(theirs.named_parameters())
    groups = [
        {
            "params": [p],
            "peak": 2e-3 * (10 if n.startswith("linear.") else 1),
            "weight_decay": 0.1 if p.ndim > 1 else 0.0,
        }
        for n, p in named.items()
    ]
    optimiser, step = torch.optim.AdamW(groups, lr=1.0), 0
    for epoch in (1, 2, 3):
        assert sorted(np.concatenate(orders[epoch]).tolist()) == list(range(24))
        for examples in orders[epoch]:
            rise, steps = int(0.1 * 15), 15
            rate = (
                (step + 1) / (rise + 1)
                if step < rise
                else 0.5 * (1 + np.cos(np.pi * (step - rise) / (steps - rise)))
            )
            for group in optimiser.param_groups:
                group["lr"] = group["peak"] * rate
            rows = np.concatenate([np.flatnonzero(made.inputs.owners == e) for e in examples])
            targets = torch.tensor(made.labels.values[rows])
            losses = functional.cross_entropy(
                word_outputs(theirs, made, examples), targets, reduction="none"
            )
            optimiser.zero_grad()
            ((weight[rows] * losses).sum() / weight[rows].sum()).backward()
            torch.nn.utils.clip_grad_norm_(list(named.values()), 1.0)
            optimiser.step()
            step += 1
    for name, tensor in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], tensor, rtol=1e-3, atol=2e-4)


def test_validation_outputs_are_those_of_the_words_in_order(source):
    made = subject(source, words=True)
    model = trainee(source, made)
    done = train(model, everything(model), made, PLAIN, key="judged")
    with torch.no_grad():
        expected = torch.cat([word_outputs(model, made, [e]) for e in range(16, 24)])
    assert done.outputs.shape == (made.validation.sum(), 3)
    np.testing.assert_allclose(done.outputs, expected.numpy(), atol=1e-4)


def test_frozen_features_of_words_are_the_same_with_and_without_a_table(source):
    made = subject(source, words=True)
    encoder = source.load()
    found = features(encoder, made, made.learning)
    last = encoder.layers[-1].name
    expected = []
    for e in range(16):
        x = encoder.pooled(encoder.collate([encoder.prepare(made.inputs.references[e])]), "words")
        expected += list(x[last][0, : len(made.inputs.references[e].words)].detach().numpy())
    np.testing.assert_allclose(found, np.stack(expected), atol=1e-5)


class Stopped(BaseException):
    """What nobody catches."""


class Killed(Callback):
    def __init__(self, at):
        self.at = at

    def on_step_end(self, step, loss, lr):
        if step == self.at:
            raise Stopped


@pytest.mark.parametrize("words", [True, False])
def test_killed_in_an_epoch_it_goes_on_to_the_same_numbers(source, words, monkeypatch):
    monkeypatch.setattr(loops, "SAVE_EVERY", 0.0)

    def run(key, *callbacks):
        made = subject(source, words=words, callbacks=callbacks)
        model = trainee(source, made)
        done = train(model, everything(model), made, PLAIN, key=key)
        return model.state_dict(), [e.validation_loss for e in done.epochs], done.outputs

    for at in (3, 6):
        with pytest.raises(Stopped):
            run("killed", Killed(at))
    weights, losses, outputs = run("killed")
    whole, expected, undisturbed = run("undisturbed")
    assert losses == expected
    np.testing.assert_array_equal(outputs, undisturbed)
    for name, tensor in whole.items():
        assert torch.equal(weights[name], tensor)


def test_ids_are_not_mixed(source):
    made = subject(source)
    model = trainee(source, made)
    for how in (replace(PLAIN, mixup=0.2), replace(PLAIN, cutmix=0.2)):
        with pytest.raises(UsageError, match="can't be mixed"):
            train(model, everything(model), made, how, key="mixed")


@pytest.mark.parametrize("recompute", [False, True])
def test_long_texts_are_learned_from_in_windows(source, recompute):
    made = subject(source, n=8, judging=2)
    long = [f"{' very' * 60} {text}" for text in made.inputs.references]
    made = replace(made, inputs=replace(made.inputs, references=long))
    model = trainee(source, made)
    how = replace(PLAIN, epochs=1, recompute=recompute)
    done = train(model, everything(model), made, how, key=f"long {recompute}")
    assert np.isfinite(done.outputs).all()


CASES = [
    *(("finetune", kind) for kind in ("classification", "multilabel", "regression", "tagging")),
    *((name, "tagging") for name in ("lora", "scratch")),
    *((name, "classification") for name in ("lora", "dora", "ia3", "bitfit", "norms", "scratch")),
]


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_every_tuning_leaves_what_it_was_judged_by(source, name, kind, tmp_path):
    words = kind == "tagging"
    made = subject(source, words=words, **({} if words else {"kind": kind}))
    how = TUNINGS[name](epochs=2, lr=5e-3, batch=8, refit=False)
    tuned = how.fit(made)
    encoder = resolve(tuned.uri).load()
    rows = []
    with torch.inference_mode():
        for e in made.judges.tolist():
            raw = made.inputs.references[e]
            found = encoder.pooled(encoder.collate([encoder.prepare(raw)]), made.pooling)
            size = len(raw.words) if words else 1
            rows.append({n: t.reshape(-1, t.shape[-1])[:size].numpy() for n, t in found.items()})
    told = tuned.member.outputs(lambda n: np.concatenate([r[n] for r in rows]))
    np.testing.assert_allclose(told * tuned.member.temperature, tuned.validation, atol=2e-3)
    assert how.fit(made).uri == tuned.uri
    if tuned.adapter and name == "lora":
        _loads_in_peft(source, tuned)


def _loads_in_peft(source, tuned):
    import peft
    import transformers

    base = transformers.BertModel.from_pretrained(source.uri.removeprefix("file:"))
    model = peft.PeftModel.from_pretrained(base, tuned.adapter).merge_and_unload()
    merged = resolve(tuned.uri).load().model.state_dict()
    for name, tensor in model.state_dict().items():
        if name in merged:
            torch.testing.assert_close(tensor, merged[name], rtol=1e-4, atol=1e-5)
