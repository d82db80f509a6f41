"""The words that carry a class: those of what was transferred beside those of TF-IDF."""

from dataclasses import dataclass
from itertools import zip_longest

from retarget.reports import numbers
from retarget.runs.schema import CarryingPart, RunRecord

COLUMNS = {"transfer": "transferred", "tfidf": "TF-IDF"}
SHOWN = 4
MEANING = {
    "transfer": "For what was transferred: the outputs of its linear heads on a word in its place "
    "in the texts that judge, above those of the mean word, averaged over the texts with it.",
    "tfidf": "For TF-IDF: the weight of one occurrence, before texts are scaled to one length.",
}


@dataclass(frozen=True)
class Side:
    """A word as cells show it: the word, `+2.4`, in how many texts; empty where there is none."""

    word: str = ""
    adds: str = ""
    texts: str = ""


@dataclass(frozen=True)
class ClassWords:
    """The words of a class, a row for each rank, a side for each column of the table."""

    name: str
    rows: tuple[tuple[Side, ...], ...]


def columns(record: RunRecord) -> tuple[str, ...]:
    """Return by what there are words: `transfer`, `tfidf`, both or none."""
    there = {one.by for one in record.carrying if one.parts}
    return tuple(by for by in COLUMNS if by in there)


def by_class(record: RunRecord) -> tuple[ClassWords, ...]:
    """Return the words of every class that has any."""
    wanted = columns(record)
    found: dict[tuple[str, str], tuple[CarryingPart, ...]]
    found = {(one.name, one.by): one.parts for one in record.carrying}
    names = dict.fromkeys(one.name for one in record.carrying if one.parts)
    return tuple(
        ClassWords(
            name,
            tuple(
                tuple(_side(part) for part in row)
                for row in zip_longest(*(found.get((name, by), ()) for by in wanted))
            ),
        )
        for name in names
    )


def meaning(record: RunRecord) -> str:
    """Return how it was measured."""
    return " ".join(MEANING[by] for by in columns(record))


def _side(part: CarryingPart | None) -> Side:
    if part is None:
        return Side()
    adds = numbers.number(part.adds, 1 if abs(part.adds) >= 1 else 2, signed=True)
    return Side(_visible(part.part), adds, f"{part.texts:,}")


def _visible(part: str) -> str:
    """Return a part with the spaces at its ends, which say that a word ends, as signs."""
    inner = part.strip(" ")
    before, after = len(part) - len(part.lstrip(" ")), len(part) - len(part.rstrip(" "))
    return "␣" * before + inner + "␣" * after if inner else "␣" * len(part)
