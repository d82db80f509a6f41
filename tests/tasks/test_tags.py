import seqeval.scheme
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics.sequence_labeling import get_entities

from retarget.tasks.tags import broken, chunks, detect_scheme, to_spans, to_tags

TAGS = ["O", "B", "I", *(f"{part}-{label}" for part in "BIES" for label in ("a", "b-c"))]
SEQUENCES = st.lists(st.sampled_from(TAGS), max_size=12)


@settings(deadline=None, max_examples=300)
@given(SEQUENCES)
def test_spans_are_those_of_seqeval(tags: list[str]) -> None:
    wanted = [(first, last, label) for label, first, last in get_entities(tags)]
    assert [tuple(chunk) for chunk in chunks(tags)] == wanted


@settings(deadline=None, max_examples=300)
@given(SEQUENCES, st.sampled_from(["IOB1", "IOB2", "BIOES", "BILOU"]))
def test_spans_survive_every_scheme_and_nothing_is_broken(tags: list[str], scheme: str) -> None:
    words = [(2 * i, 2 * i + 1) for i in range(len(tags))]
    spans = to_spans(words, tags)
    written = to_tags(words, spans, scheme)  # type: ignore[arg-type]  # one of the four
    assert to_spans(words, written) == spans
    assert broken(written, scheme) == ()  # type: ignore[arg-type]  # one of the four


@settings(deadline=None, max_examples=300)
@given(SEQUENCES, st.sampled_from(["IOB2", "BIOES", "BILOU"]))
def test_unbroken_tags_are_read_as_seqeval_reads_them_strictly(
    tags: list[str], scheme: str
) -> None:
    words = [(2 * i, 2 * i + 1) for i in range(len(tags))]
    typed = [tag if "-" in tag else "O" for tag in tags]
    written = to_tags(words, to_spans(words, typed), scheme)  # type: ignore[arg-type]  # one of them
    kind = getattr(seqeval.scheme, {"BIOES": "IOBES"}.get(scheme, scheme))
    strict = seqeval.scheme.Entities([written], kind).entities[0]
    wanted = sorted((entity.start, entity.end - 1, entity.tag) for entity in strict)
    assert [tuple(chunk) for chunk in chunks(written)] == wanted


def test_broken_tags_are_told_by_scheme() -> None:
    assert broken(["O", "I-a", "I-b", "B-a"], "IOB2") == (1, 2)
    assert broken(["B-a", "I-a", "B-a"], "IOB1") == (0,)
    assert broken(["B-a", "O", "E-a", "S-a"], "BIOES") == (0, 2)


def test_schemes_are_told_by_the_stated_rule() -> None:
    assert detect_scheme([["O", "I-a", "B-a"]]) == "IOB1"
    assert detect_scheme([["O", "B-a", "I-a"], ["I-a"]]) == "IOB2"
    assert detect_scheme([["S-a"]]) == "BIOES"
    assert detect_scheme([["U-a"]]) == "BILOU"
    assert detect_scheme([["NOUN", "VERB"]]) == "plain"
    assert detect_scheme([["O"]]) == "IOB2"
