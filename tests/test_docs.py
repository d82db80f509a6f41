"""What the documents say is true."""

import json
import re
import runpy
from pathlib import Path

import pytest

from retarget.api import asked
from retarget.core.config import FitConfig

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_schemas_are_those_of_the_code() -> None:
    made = runpy.run_path(str(ROOT / "docs" / "write_schemas.py"))["schemas"]()
    for name, text in made.items():
        kept = (ROOT / "docs" / "schemas" / name).read_text(encoding="utf-8")
        assert json.loads(kept) == json.loads(text), f"run python docs/write_schemas.py: {name}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: p.name)
def test_links_and_files_named_exist(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    links = [m for m in re.findall(r"\]\(([^)#\s]+)\)", text) if "://" not in m]
    named = re.findall(r"`((?:docs|examples|benchmarks|src|tests)/[\w./-]+)`", text)
    for link in links:
        assert (document.parent / link).exists(), link
    for name in named:
        assert (ROOT / name).exists(), name


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: p.name)
def test_rows_of_tables_have_as_many_cells_as_their_header(document: Path) -> None:
    text = re.sub(r"```.*?```", "", document.read_text(encoding="utf-8"), flags=re.DOTALL)
    for table in re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE):
        cells = [len(re.findall(r"(?<!\\)\|", row)) for row in table.splitlines()]
        assert len(set(cells)) == 1, table


def test_every_command_the_readme_shows_exists(capsys: pytest.CaptureFixture[str]) -> None:
    from retarget.cli.app import run

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = set(re.findall(r"^\$ retarget (\w+)", text, flags=re.MULTILINE))
    assert shown >= {"fit", "inspect", "evaluate", "predict", "compare", "export", "report"}
    for command in shown:
        assert run([command, "--help"]) == 0
        for option in re.findall(rf"retarget {command}[^\n]*?(--[\w-]+)", text):
            assert run([command, "--help"]) == 0
            assert option in capsys.readouterr().out, f"{command} {option}"


def test_the_readme_makes_targets_that_exist() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert set(re.findall(r"^\$ make (\w+)", text, flags=re.MULTILINE)) <= targets


def test_the_python_of_the_readme_runs(
    small_run: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import retarget as rt

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    opened: list[object] = []
    fitted: list[FitConfig] = []

    def fit(data: object, **options: object) -> rt.Run:
        fitted.append(asked(str(data), None, options))
        return rt.Run(small_run)

    monkeypatch.setattr(rt, "open_task", lambda data: opened.append(data) or "task", raising=False)
    monkeypatch.setattr(rt, "fit", fit, raising=False)
    picture = next((pictures / "test" / "dark").iterdir())
    names = {"rt": rt}
    for block in blocks:
        code = block.replace("new.jpg", str(picture)).replace("out/", str(tmp_path / "out"))
        exec(compile(code, "README.md", "exec"), names)
    assert opened == ["photos/"]
    assert (tmp_path / "out" / "report.html").is_file()
    assert fitted[-1].methods == ({"name": "finetune", "from_layer": "blocks.4", "lr": "auto"},)
    assert fitted[-1].time == 600
