"""A split that leaks doesn't make a verdict better."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import retarget as rt
from retarget.cli.app import run

SAME: dict[str, Any] = {
    "sources": ["pixels:"],
    "layers": ["last"],
    "methods": ["knn"],
    "baselines": ["majority"],
    "learning_curve": False,
    "engine": "eager",
}


@pytest.fixture(scope="module")
def leaking(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures whose labels are drawn by lot; of every test picture a near-copy is in training."""
    folder = tmp_path_factory.mktemp("leaking")
    generator = np.random.default_rng(0)
    for i in range(72):
        split = "test" if i < 32 else "train"
        label = "ab"[int(generator.integers(2))]
        coarse = generator.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        picture = Image.fromarray(coarse).resize((64, 64), Image.Resampling.BICUBIC)
        (folder / split / label).mkdir(parents=True, exist_ok=True)
        picture.save(folder / split / label / f"{i}.png")
        if split == "test":
            (folder / "train" / label).mkdir(parents=True, exist_ok=True)
            picture.save(folder / "train" / label / f"{i}-again.jpg", quality=80)
    return folder


def test_near_copies_of_test_pictures_are_not_learned_from_unless_asked(
    leaking: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    honest = rt.fit(leaking, out=str(tmp_path / "honest"), **SAME)
    flattered = rt.fit(leaking, out=str(tmp_path / "flattered"), keep_leaks=True, **SAME)
    assert honest.record.protocol.choosing == 40
    assert flattered.record.protocol.choosing == 72
    assert honest.record.test.metrics["accuracy"].value < 0.75
    assert flattered.record.test.metrics["accuracy"].value > 0.9
    assert honest.record.verdict.word != "helps"
    for made, said in ((honest, "32 examples left out"), (flattered, "32 examples learned from")):
        sentence = made.record.protocol.leaks
        assert sentence.startswith(said)
        page = (made.folder / "report.html").read_text(encoding="utf-8")
        assert page.index("<h1>") < page.index(said) < page.index("<nav")
    assert run(["inspect", str(leaking)]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "Leaks between training and test data: 32 examples left out" in told


def test_a_fit_says_in_the_terminal_what_leaks(
    tmp_path: Path, draw_pictures: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    data = draw_pictures(tmp_path / "data", "train", each=6, seed=1)
    draw_pictures(data, "test", each=6, seed=2)
    for path in sorted((data / "test" / "dark").iterdir())[:4]:
        shutil.copy(path, data / "train" / "dark" / f"copy-{path.name}")
    words = f"fit {data} --out {tmp_path / 'run'} --source pixels: --method knn --layer last"
    assert run([*words.split(), "--baseline", "none", "--no-learning-curve"]) == 0
    assert "Leaks: 4 copies of judging examples left out." in capsys.readouterr().out
