"""Growth of a process that extracts many small pictures over one that extracts few.

Each count runs in a process of its own, with a small encoder and pictures made as they are asked
for, so that what is measured is Retarget's own memory. Prints one table:

    python benchmarks/memory.py [FEW [MANY]]
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import numpy as np

from retarget.core.hashing import hash_bytes
from retarget.features.extract import extract
from retarget.features.store import FeatureStore
from retarget.sources.source import Facts, Source
from retarget.tasks.task import Examples, Task

FEW, MANY = 2_000, 200_000
SIDE = 32
ALLOWED_MB = 300


class Drawn(Sequence[Any]):
    """`count` different pictures (32, 32, 3), made when asked for."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Any]: ...
    def __getitem__(self, index: Any) -> Any:
        """Return a picture that tells its number."""
        pixels = np.full((SIDE, SIDE, 3), index % 256, np.uint8)
        pixels[0, 0] = (index >> 16, (index >> 8) % 256, index % 256)
        return pixels


class Small(Source):
    """Two convolutions, layers of 64, 256 and 256 numbers."""

    uri = "small:"

    @property
    def facts(self) -> Facts:
        """Say that it reads pictures."""
        return Facts("image", "two convolutions")

    @cached_property
    def fingerprint(self) -> str:
        """Name it."""
        return hash_bytes(b"benchmarks/memory.py")

    def load(self) -> Any:
        """Make the encoder."""
        import torch
        from torch import Tensor, nn

        from retarget.sources.encoder import Encoder, Layer

        class Network(Encoder):
            def __init__(self) -> None:
                super().__init__()
                self.first = nn.Conv2d(3, 64, 3, stride=4, padding=1)
                self.second = nn.Conv2d(64, 256, 3, stride=4, padding=1)
                self.layers = (Layer("first", 64), Layer("second", 256), Layer("pooled", 256))
                self.detail = SIDE
                self.input_shape = (3, SIDE, SIDE)

            def prepare(self, raw: Any) -> Tensor:
                pixels = np.asarray(raw, np.float32) / 255
                return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()

            def forward(self, batch: Tensor) -> dict[str, Tensor]:
                first = torch.relu(self.first(batch))
                second = torch.relu(self.second(first)).flatten(2).transpose(1, 2)
                return {
                    "first": first.flatten(2).transpose(1, 2),
                    "second": second,
                    "pooled": second.mean(1, keepdim=True),
                }

        torch.manual_seed(0)
        return Network()

    def random(self, seed: int = 0) -> Source:
        """Not needed here."""
        raise NotImplementedError

    def describe(self) -> Mapping[str, Any]:
        """Not needed here."""
        raise NotImplementedError

    def save(self, folder: Path) -> None:
        """Not needed here."""
        raise NotImplementedError


def task_of(count: int) -> Task:
    """Return a task of `count` pictures without labels."""
    nothing = np.full(count, "")
    examples = Examples(
        ids=np.array([f"{i:032x}" for i in range(count)]),
        names=tuple(f"row {i}" for i in range(count)),
        inputs={"image": Drawn(count)},
        targets=np.full(count, -1, np.int64),
        splits=nothing,
        groups=nothing,
        domains=nothing,
        weights=np.ones(count),
    )
    return Task("drawn", {"image": "image"}, "classification", ("a",), examples)


def peak_mb() -> float:
    """Return the most memory this process has held, in MB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def measure(count: int) -> None:
    """Extract `count` pictures, cold and warm, and print what it took as JSON."""
    with tempfile.TemporaryDirectory() as folder:
        store = FeatureStore(Path(folder))
        start = time.perf_counter()
        cold = extract(task_of(count), [Small()], store=store, engine="eager", device="cpu")
        middle = time.perf_counter()
        cold_mb = peak_mb()
        warm = extract(task_of(count), [Small()], store=store, engine="eager", device="cpu")
        end = time.perf_counter()
        assert cold.costs[0].extracted == warm.costs[0].reused == count
        found = {
            "cold_mb": cold_mb,
            "warm_mb": peak_mb(),
            "cold": middle - start,
            "warm": end - middle,
            "stored_mb": store.info().bytes / 1e6,
        }
    print(json.dumps(found))


def main(few: int = FEW, many: int = MANY) -> None:
    """Measure both counts in fresh processes and print the table."""
    found = {}
    for count in (few, many):
        command = [sys.executable, __file__, "--measure", str(count)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        found[count] = json.loads(done.stdout)
    print(
        f"{'pictures':>9} {'stored MB':>10} {'peak MB':>8} {'and warm':>9} {'s':>7} {'warm s':>7}"
    )
    for count, row in found.items():
        print(
            f"{count:>9,} {row['stored_mb']:>10.0f} {row['cold_mb']:>8.0f} {row['warm_mb']:>9.0f} "
            f"{row['cold']:>7.1f} {row['warm']:>7.2f}"
        )
    grown = found[many]["warm_mb"] - found[few]["warm_mb"]
    print(f"growth {grown:.0f} MB of at most {ALLOWED_MB} MB")
    if grown > ALLOWED_MB:
        sys.exit(1)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        measure(int(sys.argv[2]))
    else:
        main(*(int(argument) for argument in sys.argv[1:]))
