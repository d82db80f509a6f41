from pathlib import Path
from types import MappingProxyType

import numpy as np
import pandas
import pytest
from PIL import Image

from retarget.core.errors import DataError
from retarget.tasks.modalities import load
from retarget.tasks.open import open_task

PIXELS = np.random.default_rng(0).integers(0, 256, (4, 6, 7, 3), dtype=np.uint8)


@pytest.fixture
def paths(tmp_path: Path) -> list[str]:
    made = []
    for number, pixels in enumerate(PIXELS):
        path = tmp_path / f"{number}.png"
        Image.fromarray(pixels).save(path)
        made.append(str(path))
    return made


def test_frames_are_read_by_their_columns(paths: list[str]) -> None:
    frame = pandas.DataFrame(
        {"image": paths, "label": ["a", "b", None, "a"], "group": [1.0, 1.0, 2.0, np.nan]},
        index=[5, 5, 5, 5],
    )
    task = open_task(frame)
    assert task.examples.targets.tolist() == [0, 1, -1, 0]
    assert task.examples.groups.tolist() == ["1", "1", "2", ""]
    assert "pandas" in task.why
    renamed = frame.rename(columns={"label": "what", "image": 0})
    task = open_task(renamed, columns={"image": "0", "label": "what"})
    assert task.classes == ("a", "b")
    with pytest.raises(DataError, match="no column named image"):
        open_task(renamed)


def test_frames_may_hold_the_pictures(paths: list[str]) -> None:
    pictures = [Image.fromarray(pixels) for pixels in PIXELS]
    task = open_task(pandas.DataFrame({"image": pictures, "target": [0.5, 1.5, np.nan, 2]}))
    assert task.kind == "regression"
    assert np.array_equal(np.asarray(load("image", task.examples.inputs["image"][3])), PIXELS[3])


def test_frames_of_texts_keep_groups_domains_splits_and_weights() -> None:
    frame = pandas.DataFrame(
        {
            "text": ["good film", "bad film", None, "  ", "fine"],
            "stars": [4.5, 1.0, 2.5, 3.0, np.nan],
            "writer": ["ann", "bob", "ann", "bob", None],
            "shop": ["oslo", "rome", "oslo", "rome", "oslo"],
            "split": ["train", "dev", "test", "train", None],
            "weight": [1, 2, 1, 1, 3],
        },
        index=list("vwxyz"),
    )
    columns = {"label": "stars", "group": "writer", "domain": "shop"}
    task = open_task(frame, columns=columns)
    examples = task.examples
    assert (task.kind, task.classes) == ("regression", ("stars",))
    assert examples.inputs["text"] == ["good film", "bad film", "fine"]
    assert examples.names == ("row 0", "row 1", "row 4")
    assert examples.targets[:2].tolist() == [4.5, 1.0]
    assert np.isnan(examples.targets[2])
    assert examples.groups.tolist() == ["ann", "bob", ""]
    assert examples.domains.tolist() == ["oslo", "rome", "oslo"]
    assert examples.splits.tolist() == ["train", "val", ""]
    assert examples.weights.tolist() == [1.0, 2.0, 3.0]
    assert [(p.kind, p.where) for p in task.problems] == [("unreadable", ("row 2", "row 3"))]


def test_frames_of_pairs_are_read_by_usual_and_by_named_columns() -> None:
    frame = pandas.DataFrame(
        {"premise": ["a b", "c", "d"], "hypothesis": ["e", None, "f g"], "label": ["x", "y", "y"]}
    )
    task = open_task(frame)
    assert task.examples.inputs["text"] == [("a b", "e"), ("d", "f g")]
    assert task.examples.targets.tolist() == [0, 1]
    assert task.problems[0].where == ("row 1",)
    named = frame.rename(columns={"premise": "one", "hypothesis": "other"})
    again = open_task(named, columns={"text": "one", "text_b": "other"})
    assert again.examples.ids.tolist() == task.examples.ids.tolist()
    turned = open_task(named, columns={"text": "other", "text_b": "one"})
    assert not set(turned.examples.ids) & set(task.examples.ids)


def test_a_repeated_column_is_not_guessed(paths: list[str]) -> None:
    frame = pandas.DataFrame([[paths[0], "a", "b"]], columns=["image", "label", "label"])
    with pytest.raises(DataError, match="Two columns are named 'label'"):
        open_task(frame)


def test_datasets_keep_names_of_classes_and_decode_nothing_early(
    paths: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=["zebra", "ant"])}
    )
    data = datasets.Dataset.from_dict({"image": paths, "label": [0, 1, -1, 0]}, features=features)
    task = open_task(data)
    assert task.classes == ("ant", "zebra")
    assert task.examples.targets.tolist() == [1, 0, -1, 1]
    assert task.examples.ids.tolist() == open_task(paths).examples.ids.tolist()
    assert np.array_equal(np.asarray(load("image", task.examples.inputs["image"][2])), PIXELS[2])
    both = open_task(datasets.DatasetDict(train=data, test=data))
    assert both.examples.splits.tolist() == ["train"] * 4 + ["test"] * 4
    assert len(both) == 8


def test_datasets_with_lists_of_labels_are_multilabel(paths: list[str]) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "labels": datasets.Sequence(datasets.ClassLabel(names=["x", "y"])),
        }
    )
    data = datasets.Dataset.from_dict(
        {"image": paths, "labels": [[0], [0, 1], [], [1]]}, features=features
    )
    task = open_task(data)
    assert (task.kind, task.classes) == ("multilabel", ("x", "y"))
    assert task.examples.targets.tolist() == [[1, 0], [1, 1], [0, 0], [0, 1]]


TOKENS = [["Anna", "ran"], ["to", "Rome", "again"], ["so", "it", "is", "."]]
TAGS = [[1, 0], [0, 3, -1], [0, 0, -1, 0]]
NAMES = ["O", "B-who", "I-who", "B-where"]
TAGGED = [((0, 4, "who"),), ((3, 7, "where"),), ()]


def test_datasets_with_lists_of_named_tags_are_tagging() -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {
            "tokens": datasets.Sequence(datasets.Value("string")),
            "ner_tags": datasets.Sequence(datasets.ClassLabel(names=NAMES)),
        }
    )
    data = datasets.Dataset.from_dict({"tokens": TOKENS, "ner_tags": TAGS}, features=features)
    task = open_task(data)
    assert (task.kind, task.classes) == ("tagging", ("where", "who"))
    assert list(task.examples.targets) == TAGGED
    assert task.problems == ()


def test_what_looks_like_a_dataset_with_named_tags_is_read_like_one() -> None:
    class Feature:
        """A list of `ClassLabel`, or one itself, as `datasets` has them."""

        def __init__(self, feature: object = None, names: list[str] | None = None) -> None:
            self.feature = feature
            if names:
                self.names = names

    class Data:
        column_names = ("tokens", "ner_tags")
        features = MappingProxyType(
            {"tokens": Feature(Feature()), "ner_tags": Feature(Feature(names=NAMES))}
        )

        def __len__(self) -> int:
            return len(TOKENS)

        def __getitem__(self, column: str) -> object:
            return {"tokens": TOKENS, "ner_tags": TAGS}[column]

    task = open_task(Data())
    assert (task.kind, task.classes) == ("tagging", ("where", "who"))
    assert list(task.examples.targets) == TAGGED


def test_datasets_that_cannot_be_read_say_so(paths: list[str]) -> None:
    datasets = pytest.importorskip("datasets")
    data = datasets.Dataset.from_dict({"image": paths})
    with pytest.raises(DataError, match="Load it without streaming"):
        open_task(data.to_iterable_dataset())
    with pytest.raises(DataError, match="no column named image"):
        open_task(data.rename_column("image", "picture_of"))
    labelled = data.add_column("label", list("abab"))
    with pytest.raises(DataError, match="not in every split"):
        open_task(datasets.DatasetDict(train=labelled, test=data))
