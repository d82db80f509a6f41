import csv
import io
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retarget.core.errors import DataError
from retarget.tasks.open import open_task
from retarget.tasks.task import Task

Save = Callable[..., Path]
ROWS = [("img/a.png", "cat"), ("img/b.png", "dog"), ("img/c.png", "")]


@pytest.fixture
def pictures(save_image: Save, tmp_path: Path) -> Path:
    for number, name in enumerate("abc"):
        save_image(f"img/{name}.png", seed=number)
    return tmp_path


def write(folder: Path, text: str, name: str = "manifest.csv", encoding: str = "utf-8") -> Path:
    path = folder / name
    path.write_text(text, encoding=encoding, newline="")
    return path


def kinds(task: Task) -> dict[str, tuple[str, ...]]:
    return {problem.kind: problem.where for problem in task.problems}


def test_every_format_gives_the_same_task(pictures: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    rows = [("image", "label", "group", "weight"), ("img/a.png", "cat", "p1", "2")]
    rows += [("img/b.png", "dog", "p2", "1"), ("img/c.png", "", "p2", "")]
    for suffix, delimiter in (("csv", ","), ("csv", ";"), ("tsv", "\t")):
        stream = io.StringIO()
        csv.writer(stream, delimiter=delimiter).writerows(rows)
        name = f"{'semi' if delimiter == ';' else 'plain'}.{suffix}"
        write(pictures, stream.getvalue(), name)
    records = [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]
    write(pictures, "\n".join(map(json.dumps, records)), "lines.jsonl")
    table = pyarrow.Table.from_pylist(records)
    pyarrow.parquet.write_table(table, pictures / "table.parquet")
    for name in ("plain.csv", "semi.csv", "plain.tsv", "lines.jsonl", "table.parquet"):
        task = open_task(pictures / name)
        assert task.examples.names == ("img/a.png", "img/b.png", "img/c.png")
        assert task.classes == ("cat", "dog")
        assert task.examples.targets.tolist() == [0, 1, -1]
        assert task.examples.groups.tolist() == ["p1", "p2", "p2"]
        assert task.examples.weights.tolist() == [2, 1, 1]
        assert name in task.layout


def test_a_folder_opens_through_its_manifest(pictures: Path, save_image: Save) -> None:
    write(pictures, "image,label,split\nimg/a.png,x,train\nimg/b.png,y,dev\n")
    task = open_task(pictures)
    assert task.examples.splits.tolist() == ["train", "val"]
    assert "manifest.csv" in task.why
    assert kinds(task) == {"ignored": ("img/c.png",)}


def test_a_folder_opens_through_its_only_table_of_images(pictures: Path) -> None:
    write(pictures, "image,label\nimg/a.png,x\n", "mine.csv")
    write(pictures, "age,name\n3,x\n", "people.csv")
    write(pictures, "\x00\x01", "broken.tsv")
    assert "mine.csv" in open_task(pictures).why
    write(pictures, '{"image": "img/b.png"}\n', "other.jsonl")
    assert "folder" in open_task(pictures).layout


def test_columns_can_be_named(pictures: Path) -> None:
    write(pictures, "path,age,diagnosis\nimg/a.png,3,ill\nimg/b.png,5.5,well\n", "x.csv")
    task = open_task(pictures / "x.csv", columns={"label": "diagnosis"})
    assert task.classes == ("ill", "well")
    assert "diagnosis (as label)" in task.why
    task = open_task(pictures / "x.csv", columns={"label": "age"})
    assert (task.kind, task.classes) == ("regression", ("age",))
    with pytest.raises(DataError, match=r"no column 'sex' for label.*path, age, diagnosis"):
        open_task(pictures / "x.csv", columns={"label": "sex"})
    with pytest.raises(DataError, match="no role 'lable'"):
        open_task(pictures / "x.csv", columns={"lable": "age"})


def test_a_table_without_images_says_which_columns_it_has(pictures: Path) -> None:
    path = write(pictures, "name,age\nx,3\n", "x.csv")
    with pytest.raises(DataError, match=r"image or text\. The columns are name"):
        open_task(path)


def test_paths_out_of_the_folder_are_refused_unless_allowed(
    pictures: Path, save_image: Save
) -> None:
    inner = pictures / "inner"
    inner.mkdir()
    save_image("inner/good.png", seed=8)
    save_image("secret.png", seed=9)
    (inner / "link.png").symlink_to(pictures / "secret.png")
    (inner / "door").symlink_to(pictures)
    (inner / "fine.png").symlink_to(inner / "good.png")
    escapes = ["../secret.png", "x/../../secret.png", "link.png", "door/secret.png"]
    escapes += [str(pictures / "secret.png"), "/etc/passwd"]
    inside = ["good.png", "./good.png", "x/../good.png", str(inner / "good.png"), "fine.png"]
    path = write(inner, "image\n" + "\n".join(escapes + inside) + "\n")
    task = open_task(path)
    assert len(task) == len(inside)
    assert kinds(task)["refused"] == tuple(
        f"line {line}: {escape}" for line, escape in enumerate(escapes, start=2)
    )
    followed = open_task(path, follow_links=True)
    assert len(followed) == len(escapes) + len(inside)
    assert not {p.kind for p in followed.problems} & {"refused"}


def test_a_manifest_that_is_a_link_out_of_the_folder_is_not_opened_by_it(
    pictures: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("outside")
    write(outside, "image\nimg/a.png\n")
    (pictures / "manifest.csv").symlink_to(outside / "manifest.csv")
    assert "folder" in open_task(pictures).layout


def test_missing_files_are_named(pictures: Path) -> None:
    path = write(pictures, "image,label\nimg/a.png,x\nimg/zz.png,y\nimg/yy.png,y\n")
    task = open_task(path)
    assert kinds(task) == {"missing": ("img/zz.png", "img/yy.png")}
    assert task.classes == ("x",)
    with pytest.raises(DataError, match=r"img/zz\.png is not there"):
        open_task(path, strict=True)


def test_rows_without_a_picture_are_named(pictures: Path) -> None:
    path = write(pictures, "image,label\nimg/a.png,x\n,y\n  ,y\nimg/\0b.png,y\n" + "# " * 999)
    task = open_task(path)
    assert len(task) == 1
    assert {p.kind for p in task.problems} == {"bad-row"}


def test_ragged_rows_are_left_out_and_named(pictures: Path) -> None:
    text = "image,label\nimg/a.png,x\n\nimg/b.png\nimg/b.png,y,z\nimg/c.png,y,,\n"
    task = open_task(write(pictures, text))
    assert task.examples.names == ("img/a.png", "img/c.png")
    assert kinds(task) == {"bad-row": ("line 4", "line 5")}


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-8", "cp1252"])
def test_encodings(encoding: str, pictures: Path) -> None:
    path = write(pictures, "image,label\nimg/a.png,Mädchen\n", encoding=encoding)
    task = open_task(path)
    assert task.classes == ("Mädchen",)
    assert (kinds(task) == {"encoding": ("line 2",)}) is (encoding == "cp1252")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("\n\n", "is empty"),
        ("image,label,label\nimg/a.png,x,y\n", "Two columns are named 'label'"),
        ("image,label\n", "no example"),
        ("\0\0\0\0", "NUL bytes"),
        ('image,label\n"img/a.png,' + "x" * 5_000_000, "too long, .* begins at line 2"),
    ],
)
def test_tables_that_cannot_be_used_say_so(text: str, said: str, pictures: Path) -> None:
    with pytest.raises(DataError, match=said):
        open_task(write(pictures, text))


def test_a_repeated_column_that_is_not_used_does_no_harm(pictures: Path) -> None:
    task = open_task(write(pictures, "image,note,note,label\nimg/a.png,1,2,x\n"))
    assert task.classes == ("x",)


def test_json_lines_that_are_no_objects_are_named(pictures: Path) -> None:
    lines = ['{"image": "img/a.png", "label": ["x", "y"]}', "[1]", "{", "[" * 100_000]
    lines += ['{"image": 3}', '{"image": "img/b.png", "label": null}', '{"image": "img/c.png"}']
    task = open_task(write(pictures, "\n".join(lines), "x.jsonl"))
    assert task.kind == "multilabel"
    assert task.labelled.tolist() == [True, False, False]
    told = [where for problem in task.problems for where in problem.where]
    assert told == ["line 2", "line 3", "line 4", "line 5"]


def test_parquet_may_hold_the_pictures_themselves(pictures: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    rows = [
        {"image": {"bytes": (pictures / "img/a.png").read_bytes(), "path": None}, "label": 0},
        {"image": {"bytes": None, "path": "img/b.png"}, "label": 1},
    ]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), pictures / "x.parquet")
    task = open_task(pictures / "x.parquet")
    assert task.examples.names == ("row 0", "img/b.png")
    assert task.examples.ids[0] == open_task([pictures / "img/a.png"]).examples.ids[0]
    (pictures / "y.parquet").write_bytes(b"PAR1 not really PAR1")
    with pytest.raises(DataError, match="as Parquet"):
        open_task(pictures / "y.parquet")


def test_odd_splits_and_weights_are_read_as_nothing_and_named(pictures: Path) -> None:
    text = "image,split,weight\nimg/a.png,TEST,2\nimg/b.png,fold3,-1\nimg/c.png,,heavy\n"
    task = open_task(write(pictures, text))
    assert task.examples.splits.tolist() == ["test", "", ""]
    assert task.examples.weights.tolist() == [2, 1, 1]
    assert [problem.where for problem in task.problems] == [
        ("img/b.png",),
        ("img/b.png", "img/c.png"),
    ]
    assert not any(problem.left_out for problem in task.problems)


@pytest.mark.parametrize("weight", ["0", "-1", "1e300", "1e-300", "inf"])
def test_a_weight_that_would_drown_the_others_is_read_as_one_and_named(
    pictures: Path, weight: str
) -> None:
    text = f"image,weight\nimg/a.png,{weight}\nimg/b.png,2\n"
    (pictures / "m.csv").write_text(text)
    task = open_task(pictures / "m.csv")
    assert task.examples.weights.tolist() == [1, 2]
    assert any(weight in problem.what for problem in task.problems)


def test_windows_paths_are_understood(pictures: Path) -> None:
    task = open_task(write(pictures, "image\nimg\\a.png\n"))
    assert task.examples.names == ("img/a.png",)


@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    data=st.one_of(st.binary(max_size=80), st.text(max_size=80).map(str.encode)),
    header=st.booleans(),
)
@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "parquet"])
def test_any_bytes_are_a_task_or_one_sentence(
    suffix: str, data: bytes, header: bool, pictures: Path
) -> None:
    path = pictures / f"x.{suffix}"
    path.write_bytes((b"image,label\nimg/a.png,x\n" if header else b"") + data)
    try:
        task = open_task(path)
    except DataError as error:
        assert len(str(error)) > 20
    else:
        assert len(task) >= 1


def test_medical_manifests_are_read(shared_data: Path) -> None:
    sizes = {
        "breast-ultrasound": (780, 3),
        "cxr-covid-sites": (421, 3),
        "cxr-nih-pneumonia": (1000, 2),
        "wbc-labs": (735, 4),
    }
    for name, (examples, classes) in sizes.items():
        by_folder = open_task(shared_data / "medical" / name)
        by_file = open_task(shared_data / "medical" / name / "manifest.csv")
        assert (len(by_folder), len(by_folder.classes)) == (examples, classes)
        assert by_folder.examples.ids.tolist() == by_file.examples.ids.tolist()
        assert not by_folder.problems
        assert all(by_folder.examples.groups)
    assert os.fspath(shared_data / "medical" / name) == by_folder.origin
