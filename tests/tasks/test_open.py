"""The contract of readers, over every one that is registered; and what `open_task` refuses."""

import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from retarget.core.errors import DataError, UsageError
from retarget.tasks.modalities import identify, load
from retarget.tasks.open import open_task, reader_for
from retarget.tasks.readers import READERS, Asked

PIXELS = np.random.default_rng(3).integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
TEXTS = ["good, good", "bad\tas can be", "gut – ja", "schlecht 🙁", 'né "bon"', "no label"]
LABELS = ["a", "b", "a", "b", "a", ""]


def _folder(root: Path) -> Any:
    for pixels, label in zip(PIXELS, LABELS, strict=True):
        folder = root / (label or "unlabelled")
        folder.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{pixels[0, 0, 0]}.png")
    return root


def _manifest(root: Path) -> Any:
    lines = ["image,label"]
    for number, (pixels, label) in enumerate(zip(PIXELS, LABELS, strict=True)):
        Image.fromarray(pixels).save(root / f"{number}.png")
        lines.append(f"{number}.png,{label}")
    (root / "manifest.csv").write_text("\n".join(lines))
    return root


def _frame(root: Path) -> Any:
    import pandas

    pictures = [Image.fromarray(pixels) for pixels in PIXELS]
    return pandas.DataFrame({"image": pictures, "label": LABELS})


def _dataset(root: Path) -> Any:
    datasets = pytest.importorskip("datasets")
    pictures = [Image.fromarray(pixels) for pixels in PIXELS]
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("string")})
    return datasets.Dataset.from_dict({"image": pictures, "label": LABELS}, features=features)


def _table(root: Path) -> Any:
    path = root / "texts.jsonl"
    rows = [{"text": t, "label": label} for t, label in zip(TEXTS, LABELS, strict=True)]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def _text_frame(root: Path) -> Any:
    import pandas

    return pandas.DataFrame({"text": TEXTS, "label": LABELS})


def _text_dataset(root: Path) -> Any:
    datasets = pytest.importorskip("datasets")
    return datasets.Dataset.from_dict({"text": TEXTS, "label": LABELS})


def _text_folder(root: Path) -> Any:
    for number, (text, label) in enumerate(zip(TEXTS, LABELS, strict=True)):
        folder = root / (label or "unlabelled")
        folder.mkdir(exist_ok=True)
        (folder / f"{number}.txt").write_text(text, encoding="utf-8")
    return root


def _conll(root: Path) -> Any:
    path = root / "sentences.conll"
    blocks = [
        "\n".join(
            [f"{number}\tB-{label}" if label else f"{number}\tO", *(f"{w}\tO" for w in "xyz")]
        )
        for number, label in enumerate(LABELS)
    ]
    path.write_text("\n\n".join(blocks))
    return path


def _spans(root: Path) -> Any:
    path = root / "sentences.jsonl"
    records = [
        {"text": f"{number} x y z", "spans": [[0, 1, label]] if label else []}
        for number, label in enumerate(LABELS)
    ]
    path.write_text("\n".join(map(json.dumps, records)))
    return path


def _label_studio(root: Path) -> Any:
    path = root / "project.json"
    tasks = []
    for number, label in enumerate(LABELS):
        value = {"start": 0, "end": 1, "text": str(number), "labels": [label]}
        result = [{"type": "labels", "value": value}] if label else []
        tasks.append({"data": {"text": f"{number} x y z"}, "annotations": [{"result": result}]})
    path.write_text(json.dumps(tasks))
    return path


# Samples of the same six pictures or texts for every reader; a new reader adds its own here.
SAMPLES: dict[str, Callable[[Path], Any]] = {
    "folder": _folder,
    "manifest": _manifest,
    "array": lambda root: PIXELS,
    "list": lambda root: list(PIXELS),
    "list of texts": lambda root: list(TEXTS),
    "frame": _frame,
    "frame of texts": _text_frame,
    "dataset": _dataset,
    "dataset of texts": _text_dataset,
    "text-table": _table,
    "text-folder": _text_folder,
    "conll": _conll,
    "spans": _spans,
    "label-studio": _label_studio,
}
TAGGING = ("conll", "spans", "label-studio")


def _row_of(pixels: Any) -> int:
    return next(i for i in range(6) if np.array_equal(pixels, PIXELS[i]))


@pytest.fixture(params=SAMPLES)
def sample(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def reader(sample: str) -> str:
    """The reader that a sample is for."""
    return sample.removesuffix(" of texts")


def test_every_reader_has_a_sample_and_of_texts_where_it_reads_both() -> None:
    with pytest.raises(DataError):
        reader_for(3, Asked())
    assert {name.removesuffix(" of texts") for name in SAMPLES} == set(READERS)
    both = {name for name in READERS if f"{name} of texts" in SAMPLES}
    assert both == {"list", "frame", "dataset"}


def test_every_reader_recognises_its_own_data_and_says_why(
    sample: str, reader: str, tmp_path: Path
) -> None:
    data = SAMPLES[sample](tmp_path)
    assert reader_for(data, Asked()).name == reader
    assert READERS[reader].recognises(data, Asked())
    for other in (None, 3, Path("/nowhere"), {"a": 1}):
        assert READERS[reader].recognises(other, Asked()) is None


def test_every_reader_gives_a_task_whose_columns_fit(
    sample: str, reader: str, tmp_path: Path
) -> None:
    targets = LABELS if reader in ("array", "list") else None
    task = open_task(SAMPLES[sample](tmp_path), targets)
    examples = task.examples
    assert len(task) == 6
    assert task.classes == ("a", "b")
    if reader not in TAGGING:
        assert sorted(examples.targets.tolist()) == [-1, 0, 0, 0, 1, 1]
    for column in (examples.ids, examples.splits, examples.groups, examples.domains):
        assert column.shape == (6,)
        assert column.dtype.kind == "U"
    assert all(len(identity) == 32 for identity in examples.ids)
    assert len(set(examples.ids)) == 6
    assert examples.weights.tolist() == [1.0] * 6
    assert set(task.inputs) == set(examples.inputs)
    assert task.layout.endswith(".")
    assert task.why.endswith(".")
    assert not task.problems
    ((name, modality),) = task.inputs.items()
    for reference, identity, target in zip(
        examples.inputs[name], examples.ids, examples.targets, strict=True
    ):
        loaded = load(modality, reference)
        if reader in TAGGING:
            row = int(loaded.text[0])
            assert target == (((0, 1, LABELS[row]),) if LABELS[row] else ())
            assert loaded.text[slice(*loaded.words[1])] == "x"
            assert identify(modality, reference) == identity
            continue
        row = TEXTS.index(loaded) if modality == "text" else _row_of(np.asarray(loaded))
        assert ["", "a", "b"].index(LABELS[row]) - 1 == target
        assert identify(modality, reference) == identity


def test_every_reader_gives_the_same_task_twice(sample: str, tmp_path: Path) -> None:
    data = SAMPLES[sample](tmp_path)
    first, second = open_task(data), open_task(data)
    assert first.examples.names == second.examples.names
    assert first.examples.ids.tolist() == second.examples.ids.tolist()


def test_every_readers_references_cross_to_other_processes(sample: str, tmp_path: Path) -> None:
    task = open_task(SAMPLES[sample](tmp_path))
    ((name, modality),) = task.inputs.items()
    reference = task.examples.inputs[name][0]
    assert identify(modality, pickle.loads(pickle.dumps(reference))) == task.examples.ids[0]


def test_every_reader_respects_strict(sample: str, tmp_path: Path) -> None:
    assert len(open_task(SAMPLES[sample](tmp_path), strict=True)) == 6


class _Bomb:
    def __reduce__(self) -> Any:
        return (exit, ("a pickle was opened",))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("model.pkl", "never is"),
        ("data.h5", "never is"),
        ("net.keras", "never is"),
        ("weights.PT", "never is"),
        ("photos.zip", "Unpack it"),
        ("x.npy", "holds arrays"),
        ("notes.txt", "holds a NUL character"),
        ("notes.doc", "is not data that can be read"),
    ],
)
def test_files_that_could_run_code_are_refused_unopened(
    name: str, said: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(pickle.dumps(_Bomb()))
    with pytest.raises(DataError, match=said):
        open_task(path)


def test_a_pickle_with_a_pictures_name_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(pickle.dumps(_Bomb()))
    with pytest.raises(DataError, match="pickle"):
        open_task(path, strict=True)


def test_what_is_no_data_says_what_is() -> None:
    with pytest.raises(DataError, match="nothing at /no/where"):
        open_task("/no/where")
    with pytest.raises(DataError, match="type int"):
        open_task(3)
    with pytest.raises(DataError, match="type dict"):
        open_task({"a": [1]})


def test_a_home_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    _folder(tmp_path)
    assert len(open_task("~")) == 6


def test_a_modality_without_loader_is_named() -> None:
    with pytest.raises(UsageError, match=r"'audio' can't be read yet\. Readable: image"):
        load("audio", "x")


def test_opening_imports_nothing_heavy(tmp_path: Path) -> None:
    _folder(tmp_path)
    code = (
        "import sys; from retarget.tasks.open import open_task; open_task(sys.argv[1]);"
        "heavy = {'torch', 'pandas', 'pyarrow', 'datasets', 'sklearn', 'scipy', 'pydantic'};"
        "print(heavy & set(sys.modules))"
    )
    told = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert told.stdout.strip() == "set()"


def test_reader_modules_are_found_by_being_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import retarget.tasks as room

    (tmp_path / "lines.py").write_text(
        "from retarget.tasks.readers import Reader, Rows, register_reader\n"
        "@register_reader\n"
        "class LinesReader(Reader):\n"
        "    name, rank = 'lines', 1\n"
        "    def recognises(self, data, asked):\n"
        "        return 'it is lines' if data == 'LINES' or str(data) == 'LINES' else None\n"
        "    def read(self, data, asked):\n"
        "        return Rows('l', ['x'], {'image': [b'x']}, {'image': 'image'}, ['a'])\n"
    )
    monkeypatch.setattr(room, "__path__", [*room.__path__, str(tmp_path)])
    try:
        assert open_task("LINES").classes == ("a",)
    finally:
        READERS.pop("lines", None)
        sys.modules.pop("retarget.tasks.lines", None)
