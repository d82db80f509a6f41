"""Which entities count as seen, by plain loops over sentences; and how large inputs are."""

import math
from pathlib import Path

import numpy as np
import pytest

from retarget.evaluation.entities import entity_forms
from retarget.evaluation.protocol import Protocol, unfolded
from retarget.runs.breakdown import seen_entities, sizes_of
from retarget.selection.judge import Study
from retarget.tasks.task import Examples, Task
from retarget.tasks.unfold import unfold
from retarget.tasks.words import Span, worded

# (text, entities): what is in capitals or begins with one is an entity.
SENTENCES = (
    "in Rome now", "to ROME", "nothing here", "New York and Rome", "from York", "new york it is",
    "The New  York", "Oslo",
)  # fmt: skip
ENTITIES = (
    {"Rome": "place"}, {"ROME": "song"}, {}, {"New York": "place", "Rome": "place"},
    {"York": "place"}, {"new york": "place"}, {"New  York": "place"}, {"Oslo": "place"},
)  # fmt: skip


def _task() -> Task:
    targets = np.empty(len(SENTENCES), object)
    for i, (text, entities) in enumerate(zip(SENTENCES, ENTITIES, strict=True)):
        found = [Span(text.index(e), text.index(e) + len(e), k) for e, k in entities.items()]
        targets[i] = tuple(sorted(found))
    n = len(SENTENCES)
    none = np.full(n, "", dtype="U8")
    examples = Examples(
        ids=np.array([f"{i:032x}" for i in range(n)]), names=tuple(map(str, range(n))),
        inputs={"text": [worded(text) for text in SENTENCES]}, targets=targets, splits=none,
        groups=none, domains=none, weights=np.ones(n),
    )  # fmt: skip
    return Task("made up", {"text": "text"}, "tagging", ("place", "song"), examples)


def _study(task: Task, mode: str, choosing: list[int], judging: list[int]) -> Study:
    found = unfold(task)
    protocol = Protocol(
        mode, "", np.array(choosing), np.array(judging),
        np.array(judging) % 2 if mode == "cross-fitting" else np.zeros(len(judging), np.int64),
        2, 0, task.examples.ids,
    )  # fmt: skip
    own = unfolded(protocol, found.sentences)
    return Study(found.task, own, "entity_f1", "words", found.sentences)


def _written(i: int) -> list[str]:
    """The entities of a sentence as they stand in it, without regard to case and spaces."""
    text = SENTENCES[i]
    return [" ".join(e.lower().split()) for e in sorted(ENTITIES[i], key=text.index)]


def test_held_out_entities_are_seen_if_written_alike_among_those_that_chose() -> None:
    task = _task()
    study = _study(task, "hold-out", [0, 2, 3], [1, 4, 5, 6, 7])
    known = {form for i in (0, 2, 3) for form in _written(i)}
    expected = [form in known for i in (1, 4, 5, 6, 7) for form in _written(i)]
    assert expected == [True, False, True, True, False]
    assert seen_entities(study, task).tolist() == expected


def test_under_cross_fitting_entities_of_other_folds_are_what_was_seen() -> None:
    task = _task()
    everything = list(range(len(SENTENCES)))
    study = _study(task, "cross-fitting", everything, everything)
    expected = [
        any(form in _written(j) for j in everything if j % 2 != i % 2)
        for i in everything
        for form in _written(i)
    ]
    assert set(expected) == {True, False}
    assert seen_entities(study, task).tolist() == expected


def test_seen_are_as_many_as_evaluation_counts() -> None:
    task = _task()
    study = _study(task, "hold-out", [0], [1, 2, 3])
    rows = study.protocol.judging
    words = np.array([text.text[a:b] for text in task.examples.inputs["text"]
                      for a, b in text.words])  # fmt: skip
    assert study.owners is not None
    forms = entity_forms(words[rows], study.task.examples.targets[rows], study.owners[rows])
    assert forms.tolist() == ["rome", "new york", "rome"]
    assert len(seen_entities(study, task)) == 3


def test_words_have_the_length_of_their_sentence() -> None:
    sizes = sizes_of(_task(), np.array([2, 2, 0, 7]))
    assert sizes is not None
    assert sizes.name == "length, characters"
    assert sizes.values.tolist() == [12, 12, 11, 4]


@pytest.mark.parametrize("references", [["there", ""], ["", "\0"]])
def test_what_cannot_be_measured_has_no_size(references: list[str], tmp_path: Path) -> None:
    task = _task().take(np.array([0, 1]))
    task.examples.inputs["text"][:] = references
    sizes = sizes_of(task, np.array([0, 1]))
    if references[0]:
        assert sizes is not None
        assert sizes.values[0] == 5
        assert math.isnan(sizes.values[1])
    else:
        assert sizes is None
