"""Where the real data is."""

import os
from pathlib import Path


def real_data(name: str) -> Path | None:
    """Return a folder of the real data: in `RETARGET_DATA`, else in `../shared/data`.

    `None`, and a line that says so, where it is absent.
    """
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("RETARGET_DATA", beside)) / name
    if folder.is_dir():
        return folder
    print(f"  {name}: left out, there is no {folder}; set RETARGET_DATA", flush=True)
    return None
