"""Entities against seqeval and plain loops."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics.sequence_labeling import get_entities
from seqeval.scheme import IOB2
from seqeval.scheme import Entities as SeqevalEntities

from retarget.evaluation.entities import Entities, Matches, count_sequences, entity_forms

TAGS = ("O", "B-a", "I-a", "B-b", "I-b")


def named(tags, sequences):
    return [[TAGS[t] for t in tags[sequences == s]] for s in np.unique(sequences)]


def random_tags(lengths, seed, valid=False):
    rng = np.random.default_rng(seed)
    sequences = np.repeat(np.arange(len(lengths)), lengths)
    tags = rng.integers(0, 5, len(sequences))
    if valid:
        for i in range(len(tags)):
            first = i == 0 or sequences[i] != sequences[i - 1]
            if tags[i] in (2, 4) and (first or tags[i - 1] not in (tags[i] - 1, tags[i])):
                tags[i] -= 1
    return tags, sequences


def found_by_us(tags, sequences):
    """(sentence, type, first, behind the last) of words counted within the sentence."""
    one = Entities.of(tags, sequences)
    begin = {s: int(np.flatnonzero(sequences == s)[0]) for s in np.unique(sequences)}
    return {
        (int(sequences[a]), "ab"[t], int(a - begin[sequences[a]]), int(b - begin[sequences[a]]))
        for a, b, t in zip(one.starts, one.ends, one.types, strict=True)
    }


lengths = st.lists(st.integers(1, 7), min_size=1, max_size=6)


@settings(deadline=None, max_examples=100)
@given(lengths=lengths, seed=st.integers(0, 9999))
def test_any_tags_tell_the_entities_of_seqevals_strict_mode(lengths, seed):
    tags, sequences = random_tags(lengths, seed)
    theirs = SeqevalEntities(named(tags, sequences), IOB2)
    expected = {
        (s, e.tag, e.start, e.end) for s, sentence in enumerate(theirs.entities) for e in sentence
    }
    assert found_by_us(tags, sequences) == expected


@settings(deadline=None, max_examples=60)
@given(lengths=lengths, seed=st.integers(0, 9999))
def test_valid_tags_tell_the_entities_of_seqevals_default_mode(lengths, seed):
    tags, sequences = random_tags(lengths, seed, valid=True)
    expected = {
        (s, kind, first, last + 1)
        for s, sentence in enumerate(named(tags, sequences))
        for kind, first, last in get_entities(sentence)
    }
    assert found_by_us(tags, sequences) == expected


@settings(deadline=None, max_examples=60)
@given(lengths=lengths, seed=st.integers(0, 9999))
def test_words_know_their_entity(lengths, seed):
    tags, sequences = random_tags(lengths, seed)
    one = Entities.of(tags, sequences)
    expected = np.full(len(tags), -1)
    for number, (a, b) in enumerate(zip(one.starts, one.ends, strict=True)):
        expected[a:b] = number
    assert one.at(len(tags)).tolist() == expected.tolist()


@settings(deadline=None, max_examples=60)
@given(lengths=lengths, seed=st.integers(0, 9999))
def test_matches_are_those_of_plain_loops(lengths, seed):
    targets, sequences = random_tags(lengths, seed)
    tags, _ = random_tags(lengths, seed + 1)
    keep = np.random.default_rng(seed).random(len(tags)) < 0.6
    tags = np.where(keep, targets, tags)
    one = Matches.of(targets, tags, sequences)
    true, predicted = (
        list(zip(e.starts, e.ends, e.types, strict=True)) for e in (one.true, one.predicted)
    )
    assert one.right.tolist() == [p in true for p in predicted]
    assert one.hit.tolist() == [t in predicted for t in true]
    spans = [t[:2] for t in true]
    assert (one.spans >= 0).tolist() == [p[:2] in spans for p in predicted]

    def touch(p, others):
        return any(p[2] == o[2] and p[0] < o[1] and o[0] < p[1] for o in others)

    assert one.touching.tolist() == [touch(p, true) for p in predicted]
    assert one.found.tolist() == [touch(t, predicted) for t in true]
    strict = one.strict(2)
    assert strict.sum(axis=0).tolist() == [
        [sum(p in true and p[2] == t for p in predicted) for t in (0, 1)],
        [sum(p[2] == t for p in predicted) for t in (0, 1)],
        [sum(p[2] == t for p in true) for t in (0, 1)],
    ]
    expected = [[0, 0], [0, 0]]
    for p in predicted:
        for t in true:
            expected[t[2]][p[2]] += p[:2] == t[:2]
    assert one.confused(2).tolist() == expected


def test_a_sequence_ends_an_entity():
    tags, sequences = np.array([1, 2, 2, 1]), np.array([0, 0, 1, 1])
    one = Entities.of(tags, sequences)
    assert one.starts.tolist() == [0, 3]
    assert one.ends.tolist() == [2, 4]
    assert len(one) == count_sequences(sequences) == 2


def test_forms_are_lower_case_words_with_spaces():
    words = np.array(["Bank", "of", "JAPAN", "in", "Tokyo"])
    tags, sequences = np.array([1, 2, 2, 0, 3]), np.zeros(5, int)
    assert entity_forms(words, tags, sequences).tolist() == ["bank of japan", "tokyo"]


def test_nothing_is_no_entities():
    none = Matches.of(np.zeros(3, int), np.zeros(3, int), np.zeros(3, int))
    assert (len(none.true), len(none.predicted)) == (0, 0)
    assert none.strict(2).sum() == none.boundaries().sum() == none.overlaps().sum() == 0
    assert none.right.tolist() == none.hit.tolist() == []
    only = Matches.of(np.zeros(3, int), np.array([0, 1, 2]), np.zeros(3, int))
    assert only.right.tolist() == [False]
    assert entity_forms(np.array(["a"]), np.zeros(1, int), np.zeros(1, int)).tolist() == []
    with pytest.raises(IndexError):
        only.strict(0)
