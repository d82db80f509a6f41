import pytest

from retarget.reports import nouns
from retarget.runs.schema import RunRecord


@pytest.mark.parametrize(
    ("kind", "example", "row", "classes"),
    [
        ("classification", "picture", "picture", "12 classes"),
        ("regression", "picture", "picture", ""),
        ("texts", "text", "text", "12 classes"),
        ("tags", "sentence", "word", "3 types of entities"),
    ],
)
def test_examples_are_called_what_they_are(
    records: dict[str, RunRecord], kind: str, example: str, row: str, classes: str
) -> None:
    task = records[kind].task
    assert (nouns.example(task), nouns.row(task), nouns.classes(task)) == (example, row, classes)


def test_words_are_counted_with_sentences(records: dict[str, RunRecord]) -> None:
    assert nouns.how_many(records["tags"].task) == "1,000 sentences, 18,000 words"
    assert nouns.how_many(records["texts"].task) == "612 texts"


@pytest.mark.parametrize("inputs", [{}, {"a": "image", "b": "text"}, {"a": "smell"}])
def test_what_is_not_of_one_known_modality_is_an_example(
    records: dict[str, RunRecord], inputs: dict[str, str]
) -> None:
    task = records["classification"].task.model_copy(update={"inputs": inputs})
    assert nouns.example(task) == "example"
