"""Entities: stretches of words of one type, as tags in IOB2 tell them, and how many are found.

Tags are numbered as tagging has them: 0 is O, 2t + 1 and 2t + 2 are B and I of type t. An entity
begins at a B and goes on over the I of its type (the strict rule of `seqeval`); an I that follows
nothing of its type is part of no entity.
"""

from dataclasses import dataclass

import numpy as np

from retarget.core.types import BoolArray, FloatArray, IntArray, StrArray
from retarget.evaluation.decoding import starts_of


@dataclass(frozen=True)
class Entities:
    """m entities among n words: (m,) first words, ascending, ends (one behind the last word), and
    types."""

    starts: IntArray
    ends: IntArray
    types: IntArray

    @classmethod
    def of(cls, tags: IntArray, sequences: IntArray) -> "Entities":
        """Return the entities of words (n,); `sequences` (n,) are ascending."""
        types = (tags - 1) // 2  # −1 for O
        goes_on = np.zeros(len(tags) + 1, bool)
        inside = (tags[1:] > 0) & (tags[1:] % 2 == 0)
        goes_on[1:-1] = inside & (types[1:] == types[:-1]) & (sequences[1:] == sequences[:-1])
        starts = np.flatnonzero(tags % 2 == 1)
        stops = np.flatnonzero(~goes_on)
        return cls(starts, stops[np.searchsorted(stops, starts + 1)], types[starts])

    def __len__(self) -> int:
        return len(self.starts)

    def at(self, words: int) -> IntArray:
        """Return (n,) which entity each word is of, −1 for none."""
        marks = np.zeros(words + 1, np.int64)
        np.add.at(marks, self.starts, 1)
        np.add.at(marks, self.ends, -1)
        within = np.cumsum(marks[:-1]) > 0
        begun = np.zeros(words, np.int64)
        begun[self.starts] = 1
        return np.where(within, np.cumsum(begun) - 1, -1)


@dataclass(frozen=True)
class Matches:
    """True and predicted entities of n words, and which of them agree.

    Attributes:
        words: n.
        true: the entities there are.
        predicted: the entities that were found.
        spans: (predicted,) the true entity of the same words, −1 where there is none.
        found: (true,) whether a predicted entity of its type has a word of it.
        touching: (predicted,) whether it has a word of a true entity of its type.
    """

    words: int
    true: Entities
    predicted: Entities
    spans: IntArray
    found: BoolArray
    touching: BoolArray

    @classmethod
    def of(cls, targets: IntArray, tags: IntArray, sequences: IntArray) -> "Matches":
        """Compare the entities of true tags and of predicted ones (n,)."""
        true, predicted = Entities.of(targets, sequences), Entities.of(tags, sequences)
        begun = np.full(len(targets), -1)
        begun[true.starts] = np.arange(len(true))
        spans = begun[predicted.starts]
        if len(true):
            spans = np.where(true.ends[spans] == predicted.ends, spans, -1)
        ours, theirs = true.at(len(targets)), predicted.at(len(targets))
        both = np.flatnonzero((ours >= 0) & (theirs >= 0))
        same = both[true.types[ours[both]] == predicted.types[theirs[both]]]
        found, touching = np.zeros(len(true), bool), np.zeros(len(predicted), bool)
        found[ours[same]] = True
        touching[theirs[same]] = True
        return cls(len(targets), true, predicted, spans, found, touching)

    @property
    def right(self) -> BoolArray:
        """(predicted,) whether a true entity has the same words and type."""
        own = self.spans >= 0
        own[own] = self.true.types[self.spans[own]] == self.predicted.types[own]
        return own

    @property
    def hit(self) -> BoolArray:
        """(true,) whether a predicted entity has the same words and type."""
        hit = np.zeros(len(self.true), bool)
        hit[self.spans[self.right]] = True
        return hit

    def strict(self, types: int) -> FloatArray:
        """Return (n, 3, T) right, predicted and true entities that begin at each word, by type."""
        counts = np.zeros((self.words, 3, types))
        ours, theirs = self.true, self.predicted
        counts[theirs.starts, 0, theirs.types] = self.right
        counts[theirs.starts, 1, theirs.types] = 1.0
        counts[ours.starts, 2, ours.types] = 1.0
        return counts

    def boundaries(self) -> FloatArray:
        """Return (n, 3, 1) entities that begin at each word: of the same words as a true one, of
        whatever type, predicted, and true."""
        counts = np.zeros((self.words, 3, 1))
        counts[self.predicted.starts, 0, 0] = self.spans >= 0
        counts[self.predicted.starts, 1, 0] = 1.0
        counts[self.true.starts, 2, 0] = 1.0
        return counts

    def overlaps(self) -> FloatArray:
        """Return (n, 4) entities that begin at each word: predicted with a word of a true one of
        the type, predicted, true with a word of a predicted one of the type, and true."""
        counts = np.zeros((self.words, 4))
        counts[self.predicted.starts, 0] = self.touching
        counts[self.predicted.starts, 1] = 1.0
        counts[self.true.starts, 2] = self.found
        counts[self.true.starts, 3] = 1.0
        return counts

    def confused(self, types: int) -> IntArray:
        """Return (T, T) how often an entity of type i was found, of the same words, as type j."""
        same = self.spans >= 0
        cells = self.true.types[self.spans[same]] * types + self.predicted.types[same]
        return np.bincount(cells, minlength=types * types).reshape(types, types)


def entity_forms(words: StrArray, tags: IntArray, sequences: IntArray) -> StrArray:
    """Return (m,) how each entity is written: its words (of n), lower case, with spaces between.

    By this an entity of the judged words counts as seen or not among those learned from.
    """
    found = Entities.of(tags, sequences)
    bounds = zip(found.starts, found.ends, strict=True)
    return np.array([" ".join(words[a:b]).lower() for a, b in bounds], dtype=np.str_)


def count_sequences(sequences: IntArray) -> int:
    """Return how many sequences rows (n,) are of."""
    return len(starts_of(sequences))
