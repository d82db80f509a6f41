"""A model is done when a fresh process reads it and predicts the same."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from retarget.core.errors import RetargetError, StoreError
from retarget.core.garbage import collect_rarely
from retarget.core.hashing import hash_bytes, hash_file, versions_of
from retarget.core.paths import cache_dir, written_whole
from retarget.core.types import FloatArray, Modality
from retarget.features.store import FeatureStore
from retarget.sources.own import importable, in_script
from retarget.sources.source import Source
from retarget.tasks.modalities import keep

# Engines differ by about 1e-5 in features; a wrong layer, class order or crop by far more.
TOLERANCE = 1e-3
EXAMPLES = 4
_NEEDED = (
    "retarget.features.passes",
    "retarget.methods.model",
    "retarget.runs.directory",
    "retarget.runs.predict",
    "timm",
)


class FreshProcess:
    """A Python process with an empty cache, for one model to be loaded in.

    Importing PyTorch takes it seconds: started early, it does so beside other work. It ends with
    the block, and by itself when this process is killed.
    """

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(
            prefix="retarget-verify-", ignore_cleanup_errors=True
        )
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> "FreshProcess":
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
        self._folder.cleanup()

    def start(self) -> None:
        """Start it, if it was not started."""
        if self._process is not None:
            return
        cache = str(Path(self._folder.name, "cache"))
        # -P: what lies in the working folder, perhaps a `numpy.py`, must not be imported.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "retarget.runs.verify"],
            env={**os.environ, "RETARGET_CACHE": cache, "HF_HUB_OFFLINE": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def predict(
        self,
        model: Path,
        modality: Modality,
        references: Sequence[Any],
        modules: Sequence[str] = (),
    ) -> FloatArray:
        """Return the predictions of the model folder for a few inputs.

        `modules` are imported first: those in which the user registered sources of their own.
        Raises `StoreError` where it can't be read or can't predict.
        """
        self.start()
        assert self._process is not None
        folder = Path(self._folder.name)
        inputs = [str(keep(modality, r, folder / str(i))) for i, r in enumerate(references)]
        told = folder / "told.json"
        order = {
            "model": str(model.resolve()),
            "inputs": inputs,
            "told": str(told),
            "modules": list(modules),
            "path": sys.path if modules else [],
        }
        _, complaint = self._process.communicate(json.dumps(order) + "\n")
        if self._process.returncode != 0:
            last = (complaint.strip().splitlines() or ["no message"])[-1]
            raise StoreError(f"The saved model can't be read in a fresh process: {last}")
        return np.array(json.loads(told.read_text()))


def verify(
    model: Path,
    modality: Modality,
    references: Sequence[Any],
    expected: FloatArray,
    fresh: FreshProcess,
    sources: Sequence[Source] = (),
) -> str:
    """Load the model folder in a fresh process and compare predictions for a few inputs.

    Everything is read, prepared and extracted anew there. The same bytes, once verified with the
    same versions, are not verified again. Code of the user's own that `sources` need is imported
    there; where it stands in a script or notebook, the folder is loaded anew in this process.

    Returns one sentence. Raises `StoreError` where predictions differ or can't be made.
    """
    mark = cache_dir() / "verified" / _digest(model)
    if mark.is_file():
        return "The same model was reloaded in a fresh process before, with equal predictions."
    modules, where = [m for m in map(importable, sources) if m], "a fresh process"
    if any(map(in_script, sources)):
        where = "this process, since code of yours that it needs stands in a script,"
        with tempfile.TemporaryDirectory(prefix="retarget-verify-") as folder:
            kept = [keep(modality, r, Path(folder) / str(i)) for i, r in enumerate(references)]
            found = predictions_of(model, kept, FeatureStore(Path(folder) / "features"))
    else:
        found = fresh.predict(model, modality, references, modules)
    scale = max(1.0, float(np.abs(expected).max()))
    difference = float(np.abs(found - expected).max()) if found.shape == expected.shape else np.inf
    if not difference <= TOLERANCE * scale:
        raise StoreError(
            f"The saved model does not predict what was measured: loaded in {where} it differs by "
            f"{difference:.2g} on {len(references)} inputs. The run was not kept; please report "
            "this."
        )
    # Without the mark the next fit verifies again; no reason to lose this one.
    with suppress(OSError), written_whole(mark) as part:
        part.write_text("")
    return f"Reloaded in {where}: {len(references)} predictions equal to within {difference:.1g}."


def _digest(model: Path) -> str:
    files = sorted(p for p in model.rglob("*") if p.is_file())
    told = [f"{p.relative_to(model)}={hash_file(p)}" for p in files]
    versions = versions_of(("torch", "timm", "transformers", "numpy", "pillow"))
    libraries = [f"{name}={version}" for name, version in versions.items()]
    return hash_bytes(*(part.encode() for part in [sys.version, *libraries, *told]))


def predictions_of(folder: Path, inputs: Sequence[Path], store: FeatureStore) -> FloatArray:
    """Return what the model in a folder predicts for some files, everything read anew."""
    from retarget.methods.model import load_model
    from retarget.runs.directory import encoder_uris
    from retarget.runs.predict import predict_inputs
    from retarget.sources.registry import resolve

    model = load_model(folder)
    encoders = tuple(map(resolve, encoder_uris(folder, model)))
    parts = predict_inputs(model, encoders, inputs, store=store, engine="eager", device="cpu")
    return np.concatenate([part.values for part in parts])


def main() -> None:
    """Import what predicting needs; then predict as one line of standard input says."""
    collect_rarely()
    for needed in _NEEDED:
        import_module(needed)
    line = sys.stdin.readline()
    if not line:
        return
    order = json.loads(line)
    sys.path.extend(order["path"])
    for module in order["modules"]:
        import_module(module)
    found = predictions_of(Path(order["model"]), [Path(p) for p in order["inputs"]], FeatureStore())
    Path(order["told"]).write_text(json.dumps(found.tolist()))


if __name__ == "__main__":
    try:
        main()
    except RetargetError as error:
        sys.exit(str(error))
