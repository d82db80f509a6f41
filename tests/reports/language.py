"""Records of tasks on texts, made from a record of a task on pictures."""

from collections.abc import Sequence
from dataclasses import replace

from retarget.evaluation.results import Confusion, Estimate, Gain, Part, Verdict
from retarget.runs.schema import Carrying, CarryingPart, Marked, Mistake, RunRecord

TYPES = ("location", "person", "work of art")
SENTENCE = "Ada Lovelace left London for a house in Ockham Park, reading The Vampyre on the way."
STRANGE = (
    "שלום Ada מ־London 12 היום",
    "a\u0301\u0302\u0303\u0304\u0305\u0306\u0307\u0308\u0309 marks \u0301stacked " * 3,
    "\u202egnp.exe\u2066 turned\u200b hidden\x1b[31m",
    "👩‍👩‍👧 \U0001f1ee\U0001f1f3 می‌خواهم ซาวน่า 東京都",
    "<script>alert(1)</script>\n\t<b>bold</b> & {{7*7}}",
    "unbreakable" * 30,
)


def with_texts(record: RunRecord, texts: Sequence[str]) -> RunRecord:
    """A record of a classification of texts: mistakes have texts and no pictures."""
    mistakes = tuple(
        m.model_copy(update={"picture": None, "text": texts[i % len(texts)], "name": f"row {i}"})
        for i, m in enumerate(record.mistakes)
    )
    task = record.task.model_copy(update={"inputs": {"text": "text"}})
    sizes = tuple(
        Part(name, 97, {"accuracy": _estimate(value)})
        for name, value in (("length 3 to 40 characters", 0.8), ("length 41 to 90 characters", 0.7))
    )
    test = replace(record.test, per_size=sizes)
    return record.model_copy(
        update={"task": task, "test": test, "mistakes": mistakes, "carrying": _words(texts)}
    )


def _words(texts: Sequence[str]) -> tuple[Carrying, ...]:
    """Words of six classes by both ways, some as strange as the texts."""
    words = ("stunning", "too much", " ook ", "no", *texts)
    return tuple(
        Carrying(
            name=texts[k % len(texts)] if k == 2 else f"class {k}", by=by,
            parts=tuple(
                CarryingPart(part=word, adds=(3.1 if by == "tfidf" else 0.9) / (i + 1), texts=i + 1)
                for i, word in enumerate(words[: 10 if by == "tfidf" else 7])
            ),
        )
        for by in ("tfidf", "transfer")
        for k in range(6)
    )  # fmt: skip


def _estimate(value: float, half: float = 0.06) -> Estimate:
    return Estimate(value, value - half, min(1.0, value + half), "score, jackknife over sentences")


def _types() -> tuple[Part, ...]:
    return tuple(
        Part(
            name,
            40 - 12 * i,
            {
                "precision": _estimate(0.8 - 0.1 * i),
                "recall": _estimate(0.7 - 0.2 * i),
                "f1": _estimate(0.75 - 0.15 * i),
            },
        )
        for i, name in enumerate(TYPES)
    )


def _mistakes(texts: Sequence[str]) -> tuple[Mistake, ...]:
    spans = (
        Marked(start=0, end=12, label="person", mark="right"),
        Marked(start=18, end=24, label="location", mark="missed"),
        Marked(start=40, end=46, label="person", mark="wrong"),
        Marked(start=40, end=51, label="location", mark="missed"),
    )
    first = Mistake(
        name="sentence 3", target="Ockham Park (location)", predicted="Ockham (person)",
        confidence=0.91, text=SENTENCE, spans=spans,
    )  # fmt: skip
    others = tuple(
        Mistake(
            name=f"sentence {i}", target="nothing", predicted="nothing", confidence=0.8, text=text,
            spans=(
                Marked(start=0, end=min(5, len(text)), label="<b>\u202e", mark="wrong"),
                Marked(start=2, end=len(text), label="person", mark="missed"),
                Marked(start=7, end=900, label="beyond the text", mark="missed"),
            ),
        )
        for i, text in enumerate(texts, start=4)
    )  # fmt: skip
    return (first, *others)


def with_tags(record: RunRecord, texts: Sequence[str]) -> RunRecord:
    """A record of a tagging task with every part that tagging has."""
    scores = {"entity_f1": 0.62, "entity_precision": 0.7, "entity_recall": 0.56, "span_f1": 0.71}
    counts = ((20, 3, 0), (2, 18, 1), (0, 4, 5))
    test = replace(
        record.test,
        metric="entity_f1",
        examples=300,
        metrics={name: _estimate(value) for name, value in scores.items()},
        per_class=_types(),
        per_group=(),
        per_domain=(
            Part("news", 120, {"entity_f1": _estimate(0.7), "entity_recall": _estimate(0.6)}),
        ),
        per_novelty=(
            Part("seen", 30, {"recall": _estimate(0.9)}),
            Part("unseen", 54, {"recall": _estimate(0.4)}),
        ),
        confusion=Confusion(TYPES, counts),
    )
    task = record.task.model_copy(
        update={
            "kind": "tagging", "inputs": {"text": "text"}, "classes": TYPES, "examples": 1000,
            "labelled": 1000, "unlabelled": 0, "words": 18000,
            "class_counts": dict(zip(TYPES, (140, 90, 41), strict=True)),
        }
    )  # fmt: skip
    gains = {"majority": Gain(0.62, 0.5, 0.7, 0.0), "crf": Gain(0.08, 0.03, 0.13, 0.54)}
    sentence = "Transfer helps: entity F1 0.62, +0.08 over a CRF on words."
    return record.model_copy(
        update={
            "task": task, "test": test, "gain": gains, "map": (),
            "verdict": Verdict("helps", sentence, "crf", "entity_f1"),
            "mistakes": _mistakes(texts),
        }
    )  # fmt: skip
