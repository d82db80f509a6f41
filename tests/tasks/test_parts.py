from hypothesis import given, settings
from hypothesis import strategies as st

from retarget.tasks.parts import SECOND, text_parts
from retarget.tasks.words import Worded


@settings(deadline=None, max_examples=100)
@given(st.text(max_size=60))
def test_parts_are_what_scikit_learn_counts(text: str) -> None:
    from sklearn.feature_extraction.text import CountVectorizer

    words = CountVectorizer(ngram_range=(1, 2)).build_analyzer()
    pieces = CountVectorizer(analyzer="char_wb", ngram_range=(2, 5)).build_analyzer()
    found = text_parts(text)
    assert found["words"] == words(text)
    assert sorted(found["characters"]) == sorted(pieces(text))
    assert text_parts(Worded(text, ())) == found


def test_both_texts_of_a_pair_are_counted_apart() -> None:
    assert text_parts(("ab cd", "ab"))["words"] == ["ab", "cd", "ab cd", f"{SECOND}ab"]
