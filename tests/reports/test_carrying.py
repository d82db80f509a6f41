from retarget.reports import carrying
from retarget.runs.schema import Carrying, CarryingPart, RunRecord


def _one(name: str, by: str, *words: tuple[str, float]) -> Carrying:
    parts = tuple(CarryingPart(part=w, adds=a, texts=i + 1) for i, (w, a) in enumerate(words))
    return Carrying.model_validate({"name": name, "by": by, "parts": parts})


def test_words_of_one_rank_share_a_row_and_what_is_missing_is_empty(record: RunRecord) -> None:
    told = (
        _one("good", "tfidf", ("best", 4.12), ("of the", 0.5)),
        _one("good", "transfer", ("gorgeous", 3.52)),
        _one("bad", "transfer"),
    )
    (good,) = carrying.by_class(record.model_copy(update={"carrying": told}))
    assert good.name == "good"
    assert [[(s.word, s.adds, s.texts) for s in row] for row in good.rows] == [
        [("gorgeous", "+3.5", "1"), ("best", "+4.1", "1")],
        [("", "", ""), ("of the", "+0.50", "2")],
    ]


def test_only_what_was_measured_has_a_column(record: RunRecord) -> None:
    assert carrying.columns(record) == ()
    assert carrying.by_class(record) == ()
    alone = record.model_copy(update={"carrying": (_one("a", "tfidf", ("x", 1.0)),)})
    assert carrying.columns(alone) == ("tfidf",)
    assert carrying.meaning(alone) == carrying.MEANING["tfidf"]


def test_spaces_at_the_ends_of_pieces_are_seen(record: RunRecord) -> None:
    told = (_one("a", "tfidf", (" goo", 1.0), ("od ", 1.0), ("of the", 1.0), ("  ", 1.0)),)
    (found,) = carrying.by_class(record.model_copy(update={"carrying": told}))
    assert [row[0].word for row in found.rows] == ["␣goo", "od␣", "of the", "␣␣"]
