"""The words that carry a class: for linear heads on what was transferred, and for TF-IDF."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from retarget.core.types import FloatArray, IntArray
from retarget.features.extract import extract
from retarget.features.features import Features
from retarget.features.material import Material
from retarget.methods.heads import LinearHead
from retarget.methods.model import Member
from retarget.runs.schema import Carrying, CarryingPart
from retarget.selection.baselines import Baseline, Effects
from retarget.selection.judge import Judged, Study
from retarget.sources.registry import resolve
from retarget.tasks.modalities import LOADERS, identify, load
from retarget.tasks.task import Task
from retarget.tasks.words import Worded

MOST_TEXTS = 200
MOST_WORDS = 10_000
MOST_CLASSES = 20
SHOWN = 10
FEWEST = 3  # texts with a word: in fewer, what is measured is those texts
SMALL = 60  # of fewer texts than this, two are enough
ALIKE = 0.8  # least cosine between a layer and the mean of its words for it to count as that


@dataclass(frozen=True)
class Examined:
    """Some of the judging texts, with their words.

    Attributes:
        task: m texts, each with its words.
        rows: (m,) of the task that was judged.
        words: (n,) every word in lower case.
        texts: (n,) which text each is of, ascending.
    """

    task: Task
    rows: IntArray
    words: Sequence[str]
    texts: IntArray


def carrying_words(
    study: Study, ours: Judged, material: Material, baselines: Sequence[Baseline]
) -> tuple[Carrying, ...]:
    """Return what speaks for each class, for the 20 commonest of them; nothing for other targets.

    For TF-IDF these are its weights. What was transferred has none for words, so the texts that
    judge are taken through the encoders once more and the linear heads applied to every word in
    its place (see `added_by_words`). Nothing is chosen by it.
    """
    kind, classes = study.task.kind, study.task.classes
    if kind not in ("classification", "multilabel") or LOADERS[material.modality].words is None:
        return ()
    held = study.labels.take(study.protocol.choosing).columns().sum(axis=0)
    common = np.sort(np.argsort(-held, kind="stable")[:MOST_CLASSES])
    texts = len(study.protocol.choosing)
    told = [_of_bag(b.effects, texts, classes, common) for b in baselines if b.effects is not None]
    examined = _examined(study, material)
    if examined is not None:
        told.append(_of_transfer(ours, material, examined, classes, common))
    return tuple(one for some in told for one in some)


def _of_bag(
    effects: Effects, texts: int, classes: Sequence[str], common: IntArray
) -> list[Carrying]:
    fewest = _fewest(texts)
    kept = np.flatnonzero(effects.inputs >= fewest)
    names, inputs = effects.names[kept].tolist(), effects.inputs[kept]
    return [
        _carrying(classes[k], "tfidf", names, effects.values[k, kept], inputs)
        for k in common.tolist()
    ]


def _of_transfer(
    ours: Judged, material: Material, examined: Examined, classes: Sequence[str], common: IntArray
) -> list[Carrying]:
    model = ours.model
    linear = [m for m in model.members if isinstance(m.head, LinearHead)]
    added = []
    for number, uri in enumerate(model.sources):
        own = [m for m in linear if m.source == number]
        if own and uri in material.features:
            shown = _extracted(material, examined, uri)
            whole = material.features[uri].take(examined.rows)
            names = {name for m in own for name in m.layers}
            blocks = {name: _block(name, shown, whole, examined.texts) for name in names}
            added += [(m.weight, _outputs(m, blocks)) for m in own]
    known = [(weight, outputs) for weight, outputs in added if outputs is not None]
    if not known:
        return []
    mean = np.average([o for _, o in known], axis=0, weights=[w for w, _ in known])
    if model.kind == "classification":
        mean = mean - mean.mean(axis=1, keepdims=True)
    words, adds, texts = added_by_words(examined.words, examined.texts, mean)
    return [_carrying(classes[k], "transfer", words, adds[:, k], texts) for k in common.tolist()]


def added_by_words(
    words: Sequence[str], texts: IntArray, outputs: FloatArray
) -> tuple[list[str], FloatArray, IntArray]:
    """Return words of at least three texts (two of fewer than 60), and what they add.

    Args:
        words: n words.
        texts: (n,) the text that each is of, ascending.
        outputs: (n, K) of each in its place.

    Returns:
        m words, (m, K) their mean outputs above the mean of all words, each text counted once,
        and (m,) in how many texts they are.
    """
    fewest = _fewest(len(np.unique(texts)))
    names, numbers = np.unique(np.array(words, object), return_inverse=True)
    pairs, own = np.unique(numbers * (int(texts.max()) + 1) + texts, return_inverse=True)
    each = np.zeros((len(pairs), outputs.shape[1]))
    np.add.at(each, own, outputs - outputs.mean(axis=0))
    each /= np.bincount(own)[:, None]
    of = pairs // (int(texts.max()) + 1)
    found = np.bincount(of, minlength=len(names))
    adds = np.zeros((len(names), outputs.shape[1]))
    np.add.at(adds, of, each)
    kept = np.flatnonzero([n >= fewest and _says(w) for w, n in zip(names, found, strict=True)])
    return [names[i] for i in kept.tolist()], adds[kept] / found[kept, None], found[kept]


def _fewest(texts: int) -> int:
    """Return in how many of some texts a word must be."""
    return FEWEST if texts >= SMALL else FEWEST - 1


def _says(word: str) -> bool:
    """Whether a word can say something: a letter left over from `don't` can't."""
    return any(c.isalpha() for c in word) and not (len(word) == 1 and word.isascii())


def _carrying(
    name: str,
    by: Literal["transfer", "tfidf"],
    parts: Sequence[str],
    adds: FloatArray,
    texts: IntArray,
) -> Carrying:
    best = [i for i in np.argsort(-adds, kind="stable")[:SHOWN].tolist() if adds[i] > 0]
    told = [CarryingPart(part=parts[i], adds=float(adds[i]), texts=int(texts[i])) for i in best]
    return Carrying(name=name, by=by, parts=tuple(told))


def _examined(study: Study, material: Material) -> Examined | None:
    """Return the judging texts that come first by id, with their words; `None` without any."""
    task, split = material.task, LOADERS[material.modality].words
    assert split is not None, "asked before"
    ((name, modality),) = task.inputs.items()
    judging = study.protocol.judging
    order = judging[np.argsort(task.examples.ids[judging], kind="stable")[:MOST_TEXTS]]
    rows, found, total = [], [], 0
    for row in order.tolist():
        text = split(load(modality, task.examples.inputs[name][row]))
        if text is None or not text.words or total + len(text.words) > MOST_WORDS:
            continue
        rows.append(row)
        found.append(text)
        total += len(text.words)
    if not found:
        return None
    return Examined(
        _tagged(task, np.array(rows), found),
        np.array(rows),
        [t.text[a:b].lower() for t in found for a, b in t.words],
        np.repeat(np.arange(len(found)), [len(t.words) for t in found]),
    )


def _tagged(task: Task, rows: IntArray, texts: Sequence[Worded]) -> Task:
    """Return the texts at `rows` as a task in which every word is a row, without tags."""
    ((name, modality),) = task.inputs.items()
    examples = replace(
        task.examples.take(rows),
        ids=np.array([identify(modality, text) for text in texts]),
        inputs={name: list(texts)},
        targets=np.full(len(texts), None),
    )
    return replace(task, kind="tagging", classes=(), examples=examples)


def _extracted(material: Material, examined: Examined, uri: str) -> Features:
    # So few texts are not worth measuring engines for.
    made = extract(
        examined.task,
        [resolve(uri)],
        store=material.store,
        pooling="words",
        engine="eager",
        device=material.order.device,
    )
    return made.features[uri]


def _block(name: str, words: Features, texts: Features, owners: IntArray) -> FloatArray | None:
    """Return a layer (n words, d) of single words; `None` where it is no mean of them.

    A layer that is a mean of words but for its length, as of vectors made one long, is taken as
    the mean times the factor that fits best. `owners` (n,) ascend, and miss no text.
    """
    own, whole = words.layer(name).astype(np.float64), texts.layer(name).astype(np.float64)
    if own.shape[1:] != whole.shape[1:]:
        return None
    starts = np.searchsorted(owners, np.arange(len(whole)))
    means = np.add.reduceat(own, starts, axis=0) / np.bincount(owners)[:, None]
    both, lengths = (means * whole).sum(axis=1), (means**2).sum(axis=1)
    norms = np.sqrt(lengths * (whole**2).sum(axis=1))
    if float(np.median(both / np.maximum(norms, 1e-12))) < ALIKE:
        return None
    return (own * float(both.sum() / max(float(lengths.sum()), 1e-12))).astype(np.float32)


def _outputs(member: Member, blocks: Mapping[str, FloatArray | None]) -> FloatArray | None:
    """Return (n words, K) outputs of a member on single words; `None` where a layer is no mean."""
    found = [block for name in member.layers if (block := blocks[name]) is not None]
    if len(found) < len(member.layers):
        return None
    x = np.concatenate(found, axis=1)
    return member.head.outputs(member.scale(x)) / member.temperature
