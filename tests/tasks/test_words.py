import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retarget.tasks.words import Worded, split_words, worded

regex = pytest.importorskip("regex")

INDIC_AND_JAMO = "\u0915\u094d\u1100\u1161\u17d2"
PIECES = INDIC_AND_JAMO + "ab1 .\n\u0301\u200d\ufe0f👩🏽❤♂🇩🇪🇫東かﾞ기กำ\u0600\u200b\u00ad\u0903©_"
TEXTS = st.text(st.sampled_from(PIECES), max_size=12)


def words_of(text: str) -> list[str]:
    return [text[start:end] for start, end in split_words(text)]


def test_words_follow_the_stated_rule() -> None:
    assert words_of("don't stop, Zoë's") == ["don", "'", "t", "stop", ",", "Zoë", "'", "s"]
    assert words_of("東京に行く") == list("東京に行く")
    assert words_of("👩\u200d👩\u200d👧 x🇩🇪🇫🇷") == ["👩\u200d👩\u200d👧", "x", "🇩🇪", "🇫🇷"]
    assert words_of("ok👍🏽! e\u0301a") == ["ok", "👍🏽", "!", "e\u0301a"]
    assert words_of(" \n\u200b") == []


def test_jamo_behind_a_sign_that_stacks_letters_are_one_grapheme() -> None:
    assert words_of("\u1780\u17d2\u1100\u1161") == ["\u1780\u17d2", "\u1100\u1161"]
    assert words_of("東\u094d\u1100\u1161") == ["東\u094d", "\u1100\u1161"]


@settings(deadline=None, max_examples=300)
@given(TEXTS)
def test_no_grapheme_is_divided_and_a_word_is_itself_one_word(text: str) -> None:
    cuts = {match.start() for match in regex.finditer(r"\X", text)} | {len(text)}
    for start, end in split_words(text):
        assert start in cuts
        assert end in cuts
        assert split_words(text[start:end]) == ((0, end - start),)


@settings(deadline=None, max_examples=300)
@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_words_are_in_order_and_cover_what_can_be_seen(text: str) -> None:
    place = 0
    for start, end in split_words(text):
        assert place <= start < end
        place = end
    covered = {i for start, end in split_words(text) for i in range(start, end)}
    assert all(i in covered for i, character in enumerate(text) if character.isalnum())
    assert worded(worded(text)) == Worded(text, split_words(text))
