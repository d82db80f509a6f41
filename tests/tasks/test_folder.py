import os
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from retarget.core.errors import DataError
from retarget.tasks.open import open_task
from retarget.tasks.task import Task

Save = Callable[..., Path]


def labels(task: Task) -> dict[str, str | None]:
    """Name → class."""
    return {
        name: None if target < 0 else task.classes[target]
        for name, target in zip(task.examples.names, task.examples.targets.tolist(), strict=True)
    }


def problems(task: Task) -> dict[str, tuple[str, ...]]:
    return {problem.kind: problem.where for problem in task.problems}


def test_folders_are_classes(two_classes: Path) -> None:
    task = open_task(two_classes)
    assert task.classes == ("cats", "dogs")
    assert labels(task) == {f"cats/{x}.png": "cats" for x in "abc"} | {
        f"dogs/{x}.png": "dogs" for x in "def"
    }
    assert task.inputs == {"image": "image"}
    assert task.origin == str(two_classes)
    assert not task.problems
    assert "CLASS/picture" in task.layout
    assert task.why[0].isupper()


def test_order_and_names_of_files_do_not_show_in_ids(two_classes: Path) -> None:
    before = open_task(two_classes)
    (two_classes / "cats/a.png").rename(two_classes / "cats/z.png")
    after = open_task(two_classes)
    assert sorted(before.examples.ids) == sorted(after.examples.ids)
    assert list(after.examples.names) == sorted(after.examples.names)


@pytest.mark.parametrize("words", [("train", "test"), ("Train", "valid"), ("train", "validation")])
def test_split_folders_are_splits(words: tuple[str, str], save_image: Save, tmp_path: Path) -> None:
    for number, word in enumerate(words):
        save_image(f"{word}/cats/a.png", seed=number)
        save_image(f"{word}/dogs/deep/er/b.png", seed=10 + number)
    task = open_task(tmp_path)
    assert task.classes == ("cats", "dogs")
    other = "test" if words[1] == "test" else "val"
    assert sorted(task.examples.splits) == sorted(["train", "train", other, other])
    assert "named" in task.why


def test_classes_may_be_named_like_one_split(save_image: Save, tmp_path: Path) -> None:
    for number, name in enumerate(("test", "cat", "dog")):
        save_image(f"{name}/a.png", seed=number)
    task = open_task(tmp_path)
    assert task.classes == ("cat", "dog", "test")
    assert set(task.examples.splits) == {""}


def test_pictures_beside_the_splits_are_left_out_and_named(
    save_image: Save, tmp_path: Path
) -> None:
    for number, name in enumerate(("train/a/1", "test/a/2", "docs/3", "4", "unlabelled/5")):
        save_image(f"{name}.png", seed=number)
    task = open_task(tmp_path)
    assert task.examples.names == ("test/a/2.png", "train/a/1.png", "unlabelled/5.png")
    assert problems(task)["ignored"] == ("4.png", "docs/3.png")


def test_test_pictures_without_classes_are_unlabelled_test_examples(
    save_image: Save, tmp_path: Path
) -> None:
    for number, name in enumerate(("train/a/1", "train/b/2", "test/3", "train/unlabeled/x/4")):
        save_image(f"{name}.png", seed=number)
    task = open_task(tmp_path)
    assert labels(task) == {
        "test/3.png": None,
        "train/a/1.png": "a",
        "train/b/2.png": "b",
        "train/unlabeled/x/4.png": None,
    }
    assert dict(zip(task.examples.names, task.examples.splits.tolist(), strict=True)) == {
        "test/3.png": "test",
        "train/a/1.png": "train",
        "train/b/2.png": "train",
        "train/unlabeled/x/4.png": "train",
    }


def test_domains_come_first_when_said(save_image: Save, tmp_path: Path) -> None:
    number = 0
    for domain in ("clinic", "home"):
        for name in ("ill", "well"):
            save_image(f"{domain}/{name}/a.png", seed=(number := number + 1))
    task = open_task(tmp_path, domains=True)
    assert task.classes == ("ill", "well")
    assert task.examples.domains.tolist() == ["clinic", "clinic", "home", "home"]
    plain = open_task(tmp_path)
    assert plain.classes == ("clinic", "home")
    assert "domains=True" in plain.why


def test_domains_may_hold_splits(save_image: Save, tmp_path: Path) -> None:
    save_image("x/train/a/1.png", seed=1)
    save_image("x/test/b/2.png", seed=2)
    save_image("y/train/b/3.png", seed=3)
    save_image("y/unlabelled/4.png", seed=4)
    task = open_task(tmp_path, domains=True)
    assert task.examples.splits.tolist() == ["test", "train", "train", ""]
    assert task.examples.domains.tolist() == ["x", "x", "y", "y"]
    assert labels(task)["y/unlabelled/4.png"] is None


def test_a_flat_folder_is_unlabelled(save_image: Save, tmp_path: Path) -> None:
    for number in range(3):
        save_image(f"{number}.png", seed=number)
    task = open_task(tmp_path)
    assert not task.labelled.any()
    assert "unlabelled" in task.layout


def test_one_folder_around_everything_is_looked_through(save_image: Save, tmp_path: Path) -> None:
    for number, name in enumerate(("train/a/1", "train/b/2", "test/a/3")):
        save_image(f"archive/set/{name}.png", seed=number)
    task = open_task(tmp_path)
    assert task.classes == ("a", "b")
    assert sorted(task.examples.splits) == ["test", "train", "train"]
    assert "archive/set" in task.why


@pytest.mark.parametrize(("folder", "labelled"), [("images", False), ("cats", True)])
def test_a_single_flat_folder_is_a_class_unless_named_like_none(
    folder: str, labelled: bool, save_image: Save, tmp_path: Path
) -> None:
    save_image(f"{folder}/a.png")
    assert open_task(tmp_path).labelled.tolist() == [labelled]


def test_litter_is_passed_over_and_other_files_are_counted(two_classes: Path) -> None:
    for name in (
        ".DS_Store",
        "cats/Thumbs.db",
        ".git/a.png",
        "__MACOSX/cats/a.png",
        "cats/._a.png",
    ):
        path = two_classes / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_bytes(b"x")
    (two_classes / "cats/notes.txt").write_text("hello")
    (two_classes / "model.pkl").write_bytes(b"\x80\x04.")
    task = open_task(two_classes)
    assert len(task) == 6
    assert problems(task) == {"ignored": ("cats/notes.txt", "model.pkl")}
    assert task.problems[0].left_out


def test_empty_files_are_left_out_with_the_reason(two_classes: Path) -> None:
    (two_classes / "cats/empty.jpg").touch()
    task = open_task(two_classes)
    assert len(task) == 6
    (problem,) = task.problems
    assert problem.kind == "unreadable"
    assert problem.where == ("cats/empty.jpg",)
    assert "empty (0 bytes)" in problem.what
    with pytest.raises(DataError, match=r"cats/empty\.jpg is empty"):
        open_task(two_classes, strict=True)


def test_strict_stops_at_a_truncated_picture(two_classes: Path) -> None:
    whole = (two_classes / "cats/a.png").read_bytes()
    (two_classes / "dogs/half.png").write_bytes(whole[: len(whole) // 2])
    assert len(open_task(two_classes)) == 7
    with pytest.raises(DataError, match=r"dogs/half\.png"):
        open_task(two_classes, strict=True)


def test_odd_names_are_read_and_can_be_written_as_text(save_image: Save, tmp_path: Path) -> None:
    names = ["a b.PNG", 'it\'s "quoted".png', "new\nline.png", "кошка 猫.jpeg", "\x1b[31mred.png"]
    for number, name in enumerate(names):
        save_image(f"кошки/{name}", seed=number)
    save_image("<b>dogs/=1+1.png", seed=9)
    try:
        (tmp_path / os.fsdecode(b"caf\xe9")).mkdir()
        path = tmp_path / os.fsdecode(b"caf\xe9/\xff.png")
        path.write_bytes(save_image("x.png", seed=11).read_bytes())
        (tmp_path / "x.png").unlink()
        odd = 1
    except OSError:
        odd = 0
    task = open_task(tmp_path)
    assert len(task) == 6 + odd
    assert {"<b>dogs", "кошки"} <= set(task.classes)
    for text in (*task.examples.names, *task.classes, task.layout, task.why):
        text.encode()
    assert all("\n" not in problem.what and "\x1b" not in problem.what for problem in task.problems)


def test_names_of_classes_are_composed(save_image: Save, tmp_path: Path) -> None:
    import unicodedata

    save_image(unicodedata.normalize("NFD", "Zoë/a.png"), seed=1)
    save_image("bob/a.png", seed=2)
    assert open_task(tmp_path).classes == (unicodedata.normalize("NFC", "Zoë"), "bob")


def test_links_out_of_the_folder_are_refused_unless_allowed(
    two_classes: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("outside")
    Image.new("RGB", (5, 5), "blue").save(outside / "secret.png")
    (two_classes / "cats/link.png").symlink_to(outside / "secret.png")
    (two_classes / "birds").symlink_to(outside)
    (two_classes / "cats/inside.png").symlink_to(two_classes / "dogs/d.png")
    task = open_task(two_classes)
    assert len(task) == 7
    assert problems(task) == {"refused": ("birds", "cats/link.png")}
    followed = open_task(two_classes, follow_links=True)
    assert len(followed) == 9
    assert followed.classes == ("birds", "cats", "dogs")


def test_circles_of_links_end(two_classes: Path) -> None:
    (two_classes / "cats/up").symlink_to(two_classes)
    (two_classes / "dogs/cats").symlink_to(two_classes / "cats")
    (two_classes / "self").symlink_to("self")
    for follow in (False, True):
        task = open_task(two_classes, follow_links=follow)
        assert len(task) == 6
        assert len(set(task.examples.ids)) == 6
    assert [p.where for p in task.problems if p.kind == "ignored"] == [
        ("cats/up", "dogs/cats"),
        ("self",),
    ]


def test_broken_links_are_missing(two_classes: Path) -> None:
    (two_classes / "cats/gone.png").symlink_to(two_classes / "nowhere.png")
    task = open_task(two_classes)
    assert problems(task) == {"missing": ("cats/gone.png",)}
    with pytest.raises(DataError, match="is not there"):
        open_task(two_classes, strict=True)


def test_a_read_only_folder_is_read(two_classes: Path) -> None:
    for path in [two_classes, *two_classes.rglob("*")]:
        path.chmod(stat.S_IRUSR | (stat.S_IXUSR if path.is_dir() else 0))
    try:
        before = sorted(two_classes.rglob("*"))
        assert len(open_task(two_classes)) == 6
        assert sorted(two_classes.rglob("*")) == before
    finally:
        for path in [two_classes, *two_classes.rglob("*")]:
            path.chmod(stat.S_IRWXU)


def test_a_folder_that_may_not_be_opened_is_named(
    two_classes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.scandir

    def refuse(path: Path) -> object:
        if str(path).endswith("dogs"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", refuse)
    task = open_task(two_classes)
    assert len(task) == 3
    assert problems(task) == {"unreadable": ("dogs",)}
    monkeypatch.setattr(os, "scandir", lambda path: refuse(Path("dogs")))
    with pytest.raises(DataError, match="permissions"):
        open_task(two_classes)


def test_folders_without_pictures_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"is empty\. Point"):
        open_task(tmp_path)
    (tmp_path / "notes.md").write_text("x")
    with pytest.raises(DataError, match=r"1 file and no picture .*notes\.md"):
        open_task(tmp_path)
    (tmp_path / "a.png").touch()
    with pytest.raises(DataError, match="0 bytes"):
        open_task(tmp_path)


LITTER = {"__macosx", "thumbs.db", "desktop.ini", "ehthumbs.db", "@eadir"}
_NAME = st.text(
    st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=8
)


@settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.dictionaries(
        st.lists(_NAME, max_size=3).map(tuple), st.integers(1, 3), min_size=1, max_size=4
    )
)
def test_every_picture_is_an_example_or_named(
    tmp_path_factory: pytest.TempPathFactory, tree: dict[tuple[str, ...], int]
) -> None:
    root = tmp_path_factory.mktemp("data")
    made = 0
    for folders, number in tree.items():
        folder = root.joinpath(*folders)
        if any(part.startswith(".") or part.lower() in LITTER for part in folders):
            continue
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        for _ in range(number):
            made += 1
            Image.fromarray(np.full((2, 2, 3), made, dtype=np.uint8)).save(folder / f"{made}.png")
    if not made:
        return
    task = open_task(root)
    told = sum(len(problem.where) for problem in task.problems if problem.left_out)
    assert len(task) + told == made


def test_real_folders_are_read(shared_data: Path) -> None:
    photos = open_task(shared_data / "ants-bees")
    assert (len(photos), photos.classes) == (396, ("ants", "bees"))
    assert set(photos.examples.splits) == {"train", "val"}
    styles = open_task(shared_data / "drawn-styles", domains=True)
    assert (len(styles), len(styles.classes)) == (742, 12)
    assert set(styles.examples.domains) == {"google", "twitter"}
