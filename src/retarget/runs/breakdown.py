"""What judging is broken down by: how large inputs are, and which entities were seen before."""

from collections.abc import Sequence
from contextlib import suppress

import numpy as np

from retarget.core.errors import UnreadableInput
from retarget.core.hashing import hash_bytes
from retarget.core.types import BoolArray, IntArray, StrArray
from retarget.evaluation.entities import Entities, entity_forms
from retarget.evaluation.sizes import Sizes
from retarget.runs.predict import Found
from retarget.selection.judge import Study
from retarget.tasks.modalities import measure
from retarget.tasks.task import Task
from retarget.tasks.words import worded

DIGITS = 12
"""Hexadecimal digits of a digest: of 100,000 forms one in 3 billion others looks known."""


def sizes_of(task: Task, examples: IntArray) -> Sizes | None:
    """Return how large the task's `examples` (n,) are, which may repeat; `None` for unmeasurable.

    Of what a modality measures the first thing is taken: of texts their length.
    """
    ((name, modality),) = task.inputs.items()
    references = task.examples.inputs[name]
    found: dict[int, float] = {}
    told = ""
    for row in np.unique(examples).tolist():
        with suppress(UnreadableInput):
            told, value = next(iter(measure(modality, references[row]).items()))
            found[row] = value
    if not found:
        return None
    return Sizes(told, np.array([found.get(row, np.nan) for row in examples.tolist()]))


def seen_entities(study: Study, task: Task) -> BoolArray:
    """Return (m,) of the true entities of the judging words, in order, whether they were seen.

    An entity was seen if one written the same, whatever its type, is among those that the round
    which judges it learned and chose from. `task` holds the sentences.
    """
    assert study.owners is not None, "tagging has words"
    words = _words(task)
    forms = _forms(study, words, study.protocol.judging)
    judging = study.protocol.judging
    tags = study.task.examples.targets[judging].astype(np.int64)
    starts = Entities.of(tags, study.owners[judging]).starts
    seen = np.zeros(len(forms), bool)
    for rows, held_out in study.protocol.rounds():
        known = set(_forms(study, words, rows))
        own = np.flatnonzero(np.isin(starts, held_out))
        seen[own] = [forms[i] in known for i in own.tolist()]
    return seen


def learned_entities(study: Study, task: Task) -> tuple[str, ...]:
    """Return digests of how the entities are written that the model handed over learned from.

    A run keeps these instead of the words: enough to know a form again, and only to try whether a
    form that one can think of is there. `task` holds the sentences.
    """
    forms = set(_forms(study, _words(task), study.protocol.choosing))
    return tuple(sorted(map(_digest, forms)))


def known_entities(found: Found, learned: Sequence[str]) -> BoolArray:
    """Return (m,) of the true entities of predicted sentences, in order, whether their digests
    are among those that a model learned from."""
    assert found.owners is not None, "tagging has words"
    targets = found.rows.examples.targets.astype(np.int64)
    forms = entity_forms(_words(found.task), targets, found.owners)
    known = frozenset(learned)
    return np.array([_digest(form) in known for form in forms.tolist()], bool)


def _digest(form: str) -> str:
    return hash_bytes(form.encode("utf-8", "surrogatepass"), b"entity")[:DIGITS]


def _forms(study: Study, words: StrArray, rows: IntArray) -> list[str]:
    """Return how the true entities among some rows, whole sentences, are written."""
    assert study.owners is not None, "tagging has words"
    targets = study.task.examples.targets[rows].astype(np.int64)
    return list(map(str, entity_forms(words[rows], targets, study.owners[rows])))


def _words(task: Task) -> StrArray:
    """Return (n words,) the words of all sentences."""
    ((name, _),) = task.inputs.items()
    texts = [worded(reference) for reference in task.examples.inputs[name]]
    words = np.empty(sum(len(text.words) for text in texts), object)
    words[:] = [text.text[a:b] for text in texts for a, b in text.words]
    return words
