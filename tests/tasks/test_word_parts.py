"""What is told of words."""

from hypothesis import given, settings
from hypothesis import strategies as st

from retarget.tasks.word_parts import shape_of, word_features


def test_a_word_is_told_by_itself_and_its_neighbours():
    told = word_features(["The", "U2-tour", "in", "@Berlin"])
    assert {
        "word=u2-tour",
        "shape=X9-xx",
        "prefix=u2-t",
        "suffix=tour",
        "capital",
        "digit",
        "hyphen",
        "-1word=the",
        "-1capital",
        "-2none",
        "+1word=in",
        "+2word=@berlin",
        "+1both=u2-tour\0in",
    } <= set(told[1])
    assert {"first", "-1none", "-2none", "shape=Xxx"} <= set(told[0])
    assert {"last", "mention", "capital inside"} <= set(told[3])
    assert "first" not in told[1]


def test_long_words_of_one_shape_are_alike():
    assert shape_of("McDonald42") == "XxXxxxxx99"
    long, short = word_features(["Barcelona"])[0], word_features(["Rome"])[0]
    assert "shape=Xxx" in long
    assert "shape=Xxx" in short


@settings(deadline=None, max_examples=60)
@given(words=st.lists(st.text(max_size=8), max_size=6))
def test_any_words_are_told_once_each(words):
    told = word_features(words)
    assert len(told) == len(words)
    assert all(len(set(own)) == len(own) > 0 for own in told)


def test_no_affix_is_longer_than_its_word():
    (told,) = word_features(["ab"])
    assert sorted(t for t in told if t.startswith("prefix=")) == ["prefix=a", "prefix=ab"]
