"""A model is done when a fresh process reads it and predicts the same."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from retarget.core.errors import RetargetError, StoreError
from retarget.core.hashing import hash_bytes, hash_file
from retarget.core.paths import cache_dir, written_whole
from retarget.core.types import FloatArray, Modality
from retarget.tasks.modalities import keep

# Engines differ by about 1e-5 in features; a wrong layer, class order or crop by far more.
TOLERANCE = 1e-3
EXAMPLES = 4


def verify(model: Path, modality: Modality, references: Sequence[Any], expected: FloatArray) -> str:
    """Load the model folder in a fresh process and compare predictions for a few inputs.

    The process has an empty cache, so everything is read, prepared and extracted anew. The same
    bytes, once verified with the same versions, are not verified again.

    Returns one sentence. Raises `StoreError` where predictions differ or can't be made.
    """
    mark = cache_dir() / "verified" / _digest(model)
    if mark.is_file():
        return "The same model was reloaded in a fresh process before, with equal predictions."
    with tempfile.TemporaryDirectory(prefix="retarget-verify-") as folder:
        inputs = [str(keep(modality, r, Path(folder, str(i)))) for i, r in enumerate(references)]
        found = _predict_afresh(model, inputs, Path(folder))
    scale = max(1.0, float(np.abs(expected).max()))
    difference = float(np.abs(found - expected).max()) if found.shape == expected.shape else np.inf
    if not difference <= TOLERANCE * scale:
        raise StoreError(
            f"The saved model does not predict what was measured: a fresh process differs by "
            f"{difference:.2g} on {len(inputs)} inputs. The run was not kept; please report this."
        )
    # Without the mark the next fit verifies again; no reason to lose this one.
    with suppress(OSError), written_whole(mark) as part:
        part.write_text("")
    return (
        f"Reloaded in a fresh process: {len(inputs)} predictions equal to within {difference:.1g}."
    )


def _digest(model: Path) -> str:
    files = sorted(p for p in model.rglob("*") if p.is_file())
    told = [f"{p.relative_to(model)}={hash_file(p)}" for p in files]
    libraries = [f"{name}={version(name)}" for name in ("torch", "timm", "numpy", "pillow")]
    return hash_bytes(*(part.encode() for part in [sys.version, *libraries, *told]))


def _predict_afresh(model: Path, inputs: list[str], folder: Path) -> FloatArray:
    asked = folder / "asked.json"
    asked.write_text(json.dumps({"model": str(model.resolve()), "inputs": inputs}))
    told = folder / "told.json"
    done = subprocess.run(
        [sys.executable, "-m", "retarget.runs.verify", str(asked), str(told)],
        env={**os.environ, "RETARGET_CACHE": str(folder / "cache"), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise StoreError(f"The saved model can't be read in a fresh process: {last}")
    return np.array(json.loads(told.read_text()))


def main(asked: str, told: str) -> None:
    """Predict with the model and inputs named in the file `asked`; write them to `told`."""
    from retarget.features.store import FeatureStore
    from retarget.methods.model import load_model
    from retarget.runs.directory import encoder_uri
    from retarget.runs.predict import predict_task
    from retarget.sources.registry import resolve
    from retarget.tasks.open import open_task

    order = json.loads(Path(asked).read_text())
    folder = Path(order["model"])
    task = open_task([Path(p) for p in order["inputs"]])
    made = predict_task(
        load_model(folder),
        resolve(encoder_uri(folder)),
        task,
        store=FeatureStore(),
        engine="eager",
        device="cpu",
    )
    Path(told).write_text(json.dumps(made.values.tolist()))


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except RetargetError as error:
        sys.exit(str(error))
