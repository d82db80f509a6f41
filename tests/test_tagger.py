"""The tagger keeps scikit-learn's contract, and predicts in the form that it was taught in."""

import pickle
from typing import Any

import numpy as np
import pytest
from seqeval.metrics import f1_score
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score

from retarget.core.errors import DataError, UsageError
from retarget.estimators import TransferTagger

PEOPLE = ("Anna Berg", "Tom", "Lena Voss")
PLACES = ("Oslo", "New Haven", "Graz")


def spans(count: int) -> tuple[list[str], list[list[tuple[int, int, str]]]]:
    """Sentences of people who go places, and where the two are in them."""
    X, y = [], []
    for i in range(count):
        person, place = PEOPLE[i % 3], PLACES[i // 3 % 3]
        X.append(f"{person} came to {place} on day {i}.")
        at = X[-1].index(place)
        y.append([(0, len(person), "person"), (at, at + len(place), "place")])
    return X, y


def tokens(count: int, begin: str, single: str) -> tuple[list[list[str]], list[list[str]]]:
    """The same as tokens with tags, whose first and only letters are given."""
    X, y = [], []
    for i in range(count):
        person, place = PEOPLE[i % 3].split(), PLACES[i // 3 % 3].split()
        X.append([*person, "came", "to", *place, "."])
        last = "E" if begin != single else "I"
        tags: list[str] = []
        for words, name in ((person, "person"), (["came", "to"], ""), (place, "place")):
            if not name:
                tags += ["O", "O"]
            elif len(words) == 1:
                tags.append(f"{single}-{name}")
            else:
                tags += [f"{begin}-{name}", f"{last}-{name}"]
        y.append([*tags, "O"])
    return X, y


def small(**more: Any) -> TransferTagger:
    return TransferTagger(layer="hidden_states.3", folds=2, **more)


def test_spans_come_out_of_texts() -> None:
    X, y = spans(18)
    model = small().fit(X, y)
    assert model.types_.tolist() == ["person", "place"]
    assert model.predict(X) == y
    assert model.score(X, y) == 1.0
    (found,) = model.predict(["🇳🇴 Tom came to Oslo on day 3."])
    assert (3, 6, "person") in found


@pytest.mark.parametrize(("begin", "single", "scheme"), [("B", "B", "IOB2"), ("B", "S", "BIOES")])
def test_tags_come_out_of_tokens_in_their_scheme(begin: str, single: str, scheme: str) -> None:
    X, y = tokens(18, begin, single)
    model = small().fit(X, y)
    assert model.scheme_ == scheme
    assert model.predict(X) == y
    with_gaps = [[*X[0][:1], " ", *X[0][1:]]]
    assert model.predict(with_gaps)[0] == [y[0][0], "O", *y[0][1:]]


def test_the_score_is_that_of_seqeval() -> None:
    X, y = tokens(18, "B", "B")
    model = small().fit(X, y)
    rng = np.random.default_rng(0)
    wrong = [tags if rng.random() < 0.5 else ["O"] * len(tags) for tags in y]
    assert 0 < model.score(X, wrong) < 1
    assert model.score(X, wrong) == pytest.approx(f1_score(wrong, model.predict(X)))


def test_it_is_cloned_searched_and_pickled() -> None:
    X, y = spans(12)
    twin = clone(small(method="crf"))
    assert twin.get_params() == small(method="crf").get_params()
    assert cross_val_score(small(), X, y, cv=2).mean() > 0.5
    search = GridSearchCV(small(), {"layer": ["last", "hidden_states.2"]}, cv=2).fit(X, y)
    again = pickle.loads(pickle.dumps(search.best_estimator_))
    assert again.predict(X) == search.predict(X)


def test_texts_without_spans_said_are_not_learned_from() -> None:
    X, y = spans(12)
    half = [*y[:8], None, None, None, None]
    model = small().fit(X, half)
    assert model.predict(X[:8]) == small().fit(X[:8], y[:8]).predict(X[:8])
    assert model.left_out_.tolist() == []


def test_what_cannot_be_read_is_warned_of_and_named() -> None:
    X, y = spans(12)
    with pytest.warns(UserWarning, match="row 3 holds no text"):
        model = small().fit([*X[:3], " ", *X[4:]], y)
    assert model.left_out_.tolist() == [3]
    with pytest.raises(DataError, match="row 0 holds no text"):
        model.predict([""])


@pytest.mark.parametrize(
    ("X", "y", "wrong", "told"),
    [
        (["a b"], [[], []], ValueError, "inconsistent"),
        ([["a", "b"]] * 2, [["O"]] * 2, ValueError, "2 tokens and 1 tags"),
        (["a b"] * 2, [["O", "O"]] * 2, ValueError, "text with tags"),
        (["a b", "c d"], [[], []], DataError, "has a span"),
        (["a b"] * 2, [[(0, 1, "x")]] * 2, DataError, "the same one"),
        ("a b", [[]], UsageError, "One str"),
        ([], [], DataError, "empty"),
    ],
)
def test_what_does_not_fit_together_is_refused(
    X: Any, y: Any, wrong: type[Exception], told: str
) -> None:
    with pytest.raises(wrong, match=told):
        small().fit(X, y)


def test_nothing_comes_out_before_fit_and_wrong_parameters_are_refused() -> None:
    X, y = spans(6)
    with pytest.raises(NotFittedError):
        small().predict(X)
    with pytest.raises(UsageError, match="knn can't do tagging"):
        small(method="knn").fit(X, y)
    with pytest.raises(UsageError, match="attic"):
        TransferTagger(layer="attic").fit(X, y)
