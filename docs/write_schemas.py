"""Write the JSON schemas of what crosses the disk and the command line into docs/schemas/."""

import json
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from retarget.cli.documents import DOCUMENTS
from retarget.cli.output import Failed
from retarget.core.config import FitConfig
from retarget.runs.schema import RunRecord

FOLDER = Path(__file__).parent / "schemas"
WRITTEN: dict[str, Any] = {
    **{command.replace(" ", "-"): kind for command, kind in DOCUMENTS.items()},
    "error": Failed,
    "run": RunRecord,
    "config": FitConfig,
}


def schemas() -> dict[str, str]:
    """Return file name → schema text."""
    return {
        f"{name}.schema.json": json.dumps(TypeAdapter(kind).json_schema(), indent=1) + "\n"
        for name, kind in WRITTEN.items()
    }


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, text in schemas().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
