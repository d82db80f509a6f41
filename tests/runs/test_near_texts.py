"""Texts written otherwise are found by a fit: leaks between given splits, never divided by ours."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import retarget as rt
from retarget.core.config import FitConfig
from retarget.features.material import gather
from retarget.features.store import FeatureStore
from retarget.runs.fitting import plan_study
from retarget.tasks.open import open_task

WORDS = (
    "harbour", "lantern", "violet", "meadow", "copper", "thunder", "willow", "granite", "ember",
    "hollow", "saddle",
)  # fmt: skip
CHANGES: dict[str, Callable[[str], str]] = {
    "case": str.upper,
    "space": lambda text: f"\t{text.replace(' ', '  ')}\u00a0",
    "punctuation": lambda text: text.replace(",", " -").replace(".", "?!"),
    "width": lambda text: text.translate({ord("a"): "ａ"}),
}


def _text(i: int) -> str:
    a, b, c = (WORDS[(i * k + i // 11) % 11] for k in (1, 3, 7))
    return f"The {a} of {b}, number {i}, met a {c} x{i * i}."


def _as(kind: str, texts: list[str]) -> tuple[list[Any], list[Any]]:
    """Return the texts, or pairs of them, with targets of a kind."""
    if kind == "tagging":
        return texts, [[(t.index("n"), t.index("n") + 1, "x")] if "n" in t else [] for t in texts]
    labels = ["even" if i % 2 else "odd" for i in range(len(texts))]
    return ([(text, "Is it so?") for text in texts] if kind == "pair" else texts), labels


@pytest.mark.parametrize("kind", ["classification", "pair", "tagging"])
def test_texts_written_otherwise_are_leaks_between_splits(kind: str) -> None:
    originals = [_text(i) for i in range(20)]
    others = [change(originals[i]) for i, change in enumerate(CHANGES.values())]
    assert len({*originals, *others}) == 24
    texts, targets = _as(kind, [*originals, *others])
    splits = ["train"] * 16 + ["test"] * 8
    material = gather(open_task(texts, targets, splits=splits), [], store=FeatureStore())
    pairs = tuple(f"row {i} ≈ row {20 + i}" for i in range(4))
    told = {p.kind: p for p in material.task.problems if p.kind in ("near-duplicate", "leak")}
    assert told["leak"].where == told["near-duplicate"].where == pairs
    assert told["leak"].what.startswith("4 pairs of nearly equal texts in different splits")


@pytest.mark.parametrize("kind", ["classification", "tagging"])
def test_texts_written_otherwise_stay_in_one_fold(kind: str) -> None:
    originals = [_text(i) for i in range(20)]
    others = [change(originals[i]) for i, change in enumerate(CHANGES.values())]
    material = gather(open_task(*_as(kind, [*originals, *others])), [], store=FeatureStore())
    study = plan_study(material, FitConfig(data="", folds=4))
    owners = np.arange(24) if study.owners is None else study.owners
    folds = dict(zip(owners[study.protocol.judging], study.protocol.folds, strict=True))
    assert [folds[i] for i in range(4)] == [folds[20 + i] for i in range(4)]
    assert len(set(folds.values())) == 4


def test_a_fit_tells_of_them_in_its_record_and_report(
    quick: dict[str, Any], tmp_path: Path
) -> None:
    texts = [_text(i) for i in range(24)]
    texts[20] = f"  {texts[3].lower()}"
    labels = ["even" if i % 2 else "odd" for i in range(24)]
    run = rt.fit(
        rt.open_task(texts, labels, splits=["train"] * 16 + ["test"] * 8),
        out=str(tmp_path / "run"),
        **quick,
    )
    told = {p.kind: p for p in rt.load_run(run.folder).record.task.problems}
    assert told["leak"].where == ("row 3 ≈ row 20",)
    assert told["label-conflict"].where == ("row 3 ≈ row 20",)
    assert "row 3 ≈ row 20" in run.report().read_text(encoding="utf-8")
