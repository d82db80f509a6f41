"""A tagging task word by word: what methods and metrics see of it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any

import numpy as np

from retarget.core.hashing import DIGEST_BYTES
from retarget.core.types import IntArray
from retarget.tasks.modalities import Corrupted
from retarget.tasks.tags import OUTSIDE, to_tags
from retarget.tasks.task import Examples, Task
from retarget.tasks.words import Worded


@dataclass(frozen=True)
class Unfolded:
    """A tagging task whose examples are words.

    Attributes:
        task: its classes are tags in IOB2, its targets tag numbers, -1 where unlabelled; the
            input of a word is that of its sentence.
        sentences: (n words,) row of each word's sentence, ascending.
    """

    task: Task
    sentences: IntArray


def unfold(task: Task) -> Unfolded:
    """Return a tagging task as one of words, in order; sentences without words leave none."""
    examples = task.examples
    (name, references), *_ = examples.inputs.items()
    texts = [_worded(reference) for reference in references]
    counts = np.array([len(text.words) for text in texts], dtype=np.int64)
    sentences = np.repeat(np.arange(len(texts), dtype=np.int64), counts)
    tags = tags_of(task.classes)
    place = {tag: number for number, tag in enumerate(tags)}
    targets = np.full(len(sentences), -1, dtype=np.int64)
    start = 0
    for text, spans in zip(texts, examples.targets, strict=True):
        end = start + len(text.words)
        if spans is not None:
            targets[start:end] = [place[tag] for tag in to_tags(text.words, spans)]
        start = end
    words = Examples(
        ids=_ids(examples.ids.tolist(), counts.tolist()),
        names=tuple(
            f"{sentence}, word {k}"
            for sentence, size in zip(examples.names, counts.tolist(), strict=True)
            for k in range(1, size + 1)
        ),
        inputs={name: [references[row] for row in sentences.tolist()]},
        targets=targets,
        splits=examples.splits[sentences],
        groups=examples.groups[sentences],
        domains=examples.domains[sentences],
        weights=examples.weights[sentences],
    )
    return Unfolded(replace(task, classes=tags, examples=words), sentences)


def tags_of(types: Sequence[str]) -> tuple[str, ...]:
    """Return the tags of IOB2 for types of spans: O, then B and I of each."""
    return (OUTSIDE, *(f"{part}-{name}" for name in types for part in "BI"))


def word_id(sentence: str, k: int) -> str:
    """Return the id of word k, from 0, of the sentence with an id: 32 hexadecimal digits."""
    digest = blake2b(b"word", digest_size=DIGEST_BYTES)
    digest.update(sentence.encode())
    digest.update(b"%d" % k)
    return digest.hexdigest()


def _ids(sentences: Sequence[str], counts: Sequence[int]) -> "np.typing.NDArray[np.str_]":
    ids: list[str] = []
    for sentence, size in zip(sentences, counts, strict=True):
        begun = blake2b(b"word", digest_size=DIGEST_BYTES)
        begun.update(sentence.encode())
        for k in range(size):
            digest = begun.copy()
            digest.update(b"%d" % k)
            ids.append(digest.hexdigest())
    return np.array(ids, dtype="<U32")


def _worded(reference: Any) -> Worded:
    """Return the words behind a reference; corruptions change letters, never how many words."""
    while isinstance(reference, Corrupted):
        reference = reference.reference
    if not isinstance(reference, Worded):
        raise TypeError(f"{type(reference).__name__} is no text with words")
    return reference
