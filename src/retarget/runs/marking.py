"""The sentences in which a tagging model erred most, with what it found and what it should have."""

import numpy as np

from retarget.core.types import FloatArray, IntArray
from retarget.evaluation.decoding import allowed, decode
from retarget.runs.schema import Mark, Marked, Mistake
from retarget.tasks.tags import to_spans
from retarget.tasks.task import Task
from retarget.tasks.words import Span, Worded, worded

SHOWN = 12
CHARACTERS = 600
TINY = 1e-300


def marked_mistakes(
    examples: Task, rows: Task, owners: IntArray, judging: IntArray, predictions: FloatArray
) -> tuple[Mistake, ...]:
    """Describe the examples with most spans missed or wrong, the surest errors first among equals.

    Args:
        examples: the task.
        rows: its words.
        owners: (n words,) example of each.
        judging: words that judge, of whole examples.
        predictions: (n of judging, K) probabilities of tags.
    """
    sequences = owners[judging]
    tags = decode(np.log(np.maximum(predictions, TINY)), sequences, allowed(rows.classes))
    sure = predictions[np.arange(len(tags)), tags]
    found, first = np.unique(sequences, return_index=True)
    ends = [*first[1:], len(sequences)]
    ((name, _),) = examples.inputs.items()
    made: list[tuple[int, float, Mistake]] = []
    for example, a, b in zip(found.tolist(), first.tolist(), ends, strict=True):
        text = worded(examples.examples.inputs[name][example])
        called = to_spans(text.words, [rows.classes[tag] for tag in tags[a:b]])
        true = rows.examples.targets[judging[a:b]]
        meant = to_spans(text.words, [rows.classes[tag] for tag in true])
        wrong = len(set(called) ^ set(meant))
        if wrong:
            confidence = float(sure[a:b][tags[a:b] != true].mean())
            told = _mistake(examples.examples.names[example], text, meant, called, confidence)
            made.append((wrong, confidence, told))
    made.sort(key=lambda one: (-one[0], -one[1]))
    return tuple(told for _, _, told in made[:SHOWN])


def _mistake(
    name: str, text: Worded, meant: tuple[Span, ...], called: tuple[Span, ...], confidence: float
) -> Mistake:
    marks: list[tuple[Span, Mark]] = [
        *((span, "right" if span in called else "missed") for span in meant),
        *((span, "wrong") for span in called if span not in meant),
    ]
    return Mistake(
        name=name,
        target=_told(text, meant),
        predicted=_told(text, called),
        confidence=confidence,
        picture=None,
        text=text.text[:CHARACTERS],
        spans=tuple(
            Marked(start=span.start, end=span.end, label=span.label, mark=mark)
            for span, mark in sorted(marks)
            if span.end <= CHARACTERS
        ),
    )


def _told(text: Worded, spans: tuple[Span, ...]) -> str:
    return ", ".join(f"{text.text[s.start : s.end]} ({s.label})" for s in spans) or "nothing"
