import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers

from retarget.core.errors import SourceError
from retarget.sources.tokenizing import TextTokenizer
from retarget.tasks.words import Worded, split_words


@pytest.fixture(scope="module")
def tokenizers(text_models):
    made = {
        kind: (text_models / kind / "tokenizer.json").read_text()
        for kind in ("bert", "roberta", "gpt2")
    }
    prefixed = Tokenizer.from_str(made["roberta"])
    prefixed.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    made["prefixed"] = prefixed.to_str()
    spaces = Tokenizer(
        models.Unigram([("<unk>", 0.0), *((c, -1.0) for c in "▁abc."), ("a▁b", -0.1)], unk_id=0)
    )
    spaces.pre_tokenizer = pre_tokenizers.Metaspace(split=False)
    made["metaspace"] = spaces.to_str()
    return {name: (TextTokenizer(text), Tokenizer.from_str(text)) for name, text in made.items()}


TEXT = st.text(
    st.one_of(
        st.characters(exclude_categories=["Cs"]), st.sampled_from("ab). 'é中👩\u200d🚀\u0301")
    ),
    max_size=30,
)


@settings(deadline=None, max_examples=150)
@given(text=TEXT)
@example(text="a). b")
@example(text=" x).\u200b")
def test_every_piece_belongs_to_the_word_it_overlaps(tokenizers, text):
    words = split_words(text)
    for name, (ours, theirs) in tokenizers.items():
        found = ours.pieces(Worded(text, words))
        assert len(found.ids) == len(found.types) == len(found.words)
        plain = theirs.encode(text)
        touched = [
            {k for k, (s, e) in enumerate(words, 1) if s < b and a < e and a < b}
            for a, b in plain.offsets
        ]
        for number in range(1, len(words) + 1):
            start, end = words[number - 1]
            alone = theirs.encode(text[start:end], add_special_tokens=False)
            # Some tokenizers drop characters, although a piece of what is around reaches over.
            if any(number in t for t in touched) and any(a < b for a, b in alone.offsets):
                assert number in found.words, (name, text, number)
        if all(len(t) <= 1 for t in touched):
            assert found.ids.tolist() == plain.ids
            assert [{n} - {0} for n in found.words.tolist()] == touched
        inner = found.words[found.words > 0]
        assert (np.diff(inner) >= 0).all()
        assert not found.words[: found.leading].any()


def test_pieces_over_a_border_of_words_are_cut(tokenizers):
    ours, theirs = tokenizers["gpt2"]
    text = "x). a)."
    words = split_words(text)
    assert max(b - a for a, b in theirs.encode(text).offsets) > 1
    found = ours.pieces(Worded(text, words))
    assert set(found.words.tolist()) - {0} == set(range(1, len(words) + 1))
    tokens = [theirs.id_to_token(number) for number in found.ids.tolist()]
    assert "".join(tokens).replace("Ġ", " ") == text


@pytest.mark.parametrize("text", ["", "The cat", "a).b a)."])
def test_texts_and_pairs_are_read_as_the_library_reads_them(tokenizers, text):
    for ours, theirs in tokenizers.values():
        assert ours.pieces(text).ids.tolist() == theirs.encode(text).ids
        pair = ours.pieces((text, "good dog"))
        assert pair.ids.tolist() == theirs.encode(text, "good dog").ids
        assert pair.types.tolist() == theirs.encode(text, "good dog").type_ids


def test_half_surrogates_are_read_as_the_replacement(tokenizers):
    ours, _ = tokenizers["roberta"]
    assert ours.pieces("a\ud800b").ids.tolist() == ours.pieces("a\ufffdb").ids.tolist()
    found = ours.pieces(Worded("a\ud800b", ((0, 1), (2, 3))))
    assert {1, 2} <= set(found.words.tolist())


def test_marks_around_a_text_are_counted(tokenizers):
    assert tokenizers["bert"][0].begins
    assert not tokenizers["gpt2"][0].begins
    assert (tokenizers["bert"][0].pieces("cat").leading, tokenizers["bert"][0].lowercases) == (
        1,
        True,
    )
    assert not tokenizers["roberta"][0].lowercases


def test_what_knows_no_pieces_is_refused():
    with pytest.raises(SourceError, match="no pieces"):
        TextTokenizer(Tokenizer(models.BPE()).to_str())
