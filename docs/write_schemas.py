"""Write the JSON schemas of what crosses the disk and the command line into docs/schemas/."""

import json
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from retarget.core.config import FitConfig
from retarget.evaluation.results import Evaluation
from retarget.runs.compare import Comparison
from retarget.runs.inspection import InspectionRecord
from retarget.runs.schema import RunRecord
from retarget.runs.sources import SourceList

FOLDER = Path(__file__).parent / "schemas"
DOCUMENTS: dict[str, Any] = {
    "run": RunRecord,
    "inspect": InspectionRecord,
    "sources": SourceList,
    "evaluate": Evaluation,
    "compare": Comparison,
    "config": FitConfig,
}


def schemas() -> dict[str, str]:
    """Return file name → schema text."""
    return {
        f"{name}.schema.json": json.dumps(TypeAdapter(kind).json_schema(), indent=1) + "\n"
        for name, kind in DOCUMENTS.items()
    }


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, text in schemas().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
