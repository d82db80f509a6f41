"""Whole processes against the plain script (`peer.py`): cold, and again with a warm store.

Both learn from the same pictures and are judged on the same others. `retarget fit` first does the
peer's own job: one encoder, its last layer, a probe, nothing to compare with. Then all that it
does when only the encoder is named (all layers, all methods, denominators, the learning curve);
then the peer's job again, as another run on the store of the first. Every cold run has an empty
`RETARGET_CACHE`. CPU seconds are those of a process and its children.

Peer and ours take turns; ratios are medians over `--repeat` rounds. The peer's faster settings are
found on each work first: which ones they are depends on it.

    python benchmarks/speed.py [--works drawings photos ants-bees] [--repeat 1] [--quick]
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data import real_data
from pictures import large_photos, made_pictures, small_drawings
from table import met, table

WORKS = ("drawings", "photos", "ants-bees")
TARGETS = {"drawings": 3.5, "photos": 4.0, "ants-bees": 2.0}
WARM_SHARE = 0.10
ENCODER = ["--source", "bundled:efficientnet-lite0"]
SAME_JOB = ["--layer", "last", "--method", "probe", "--baseline", "none", "--no-learning-curve"]
PEER_SETTINGS = ([], ["--contiguous"], ["--jobs", str(os.cpu_count())])


@dataclass(frozen=True)
class Ran:
    """What a whole process took, and the JSON that it printed."""

    seconds: float
    cpu: float
    said: dict[str, Any]

    @property
    def accuracy(self) -> float:
        """On the held-out pictures."""
        if "accuracy" in self.said:
            return float(self.said["accuracy"])
        return float(self.said["test"]["metrics"]["accuracy"]["value"])


def ran(command: Sequence[str], cache: Path | None = None) -> Ran:
    """Run a whole process that prints JSON. Raises where it fails."""
    environment = dict(os.environ, **({"RETARGET_CACHE": str(cache)} if cache else {}))
    # Installed packages come compiled; a checkout is, after its first process.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    before, start = _children_cpu(), time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    seconds = time.perf_counter() - start
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr}")
    return Ran(seconds, _children_cpu() - before, json.loads(done.stdout))


def _children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def peer(data: Path, settings: Sequence[str]) -> Ran:
    """Run the plain script."""
    return ran([sys.executable, str(Path(__file__).with_name("peer.py")), str(data), *settings])


def retarget(data: Path, scratch: Path, run: str, options: Sequence[str]) -> Ran:
    """Run `retarget fit` on the store in `scratch`, into a run of its own."""
    command = [sys.executable, "-m", "retarget", "fit", str(data), *ENCODER, *options]
    return ran([*command, "--json", "--out", str(scratch / run)], scratch / "cache")


def quickest_peer(data: Path) -> list[str]:
    """Return the peer's settings that took the least time, each tried once on `data`."""
    found = {}
    for settings in PEER_SETTINGS:
        tried = peer(data, settings)
        shown = " ".join(settings) or "channels last, one process for the head"
        print(f"  the peer with {shown}: {tried.seconds:.1f} s", flush=True)
        found[tuple(settings)] = tried.seconds
    return list(min(found, key=lambda settings: found[settings]))


def one_round(data: Path, settings: Sequence[str]) -> dict[str, Ran]:
    """Run everything once."""
    found = {"peer": peer(data, settings)}
    scratch = Path(tempfile.mkdtemp(prefix="retarget-speed."))
    try:
        found["same job"] = retarget(data, scratch, "cold", SAME_JOB)
        found["again, warm"] = retarget(data, scratch, "warm", SAME_JOB)
        shutil.rmtree(scratch / "cache")
        found["all it does"] = retarget(data, scratch, "default", [])
        found["all, warm"] = retarget(data, scratch, "default-warm", [])
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return found


def rows_of(name: str, title: str, rounds: Sequence[dict[str, Ran]]) -> list[list[str]]:
    """Return a row for the peer and each way of ours: medians over rounds."""

    def middle(way: str, over: str | None = None) -> float:
        taken = [r[over].seconds / r[way].seconds if over else r[way].seconds for r in rounds]
        return statistics.median(taken)

    colds = {"again, warm": "same job", "all, warm": "all it does"}
    rows = []
    for way in rounds[0]:
        cpu = statistics.median(r[way].cpu for r in rounds)
        row = [f"{title}: {way}", f"{middle(way):.1f}", f"{cpu:.1f}"]
        row.append(f"{statistics.median(r[way].accuracy for r in rounds):.3f}")
        if way in colds:
            share = 1 / middle(way, colds[way])
            target = met(share, WARM_SHARE, at_most=True) if way == "again, warm" else ""
            row += [f"{share:.1%} of cold", target]
        else:
            ratio = middle(way, "peer")
            row += [f"{ratio:.2f}×", met(ratio, TARGETS[name]) if way == "same job" else ""]
        rows.append(row)
    return rows


def stages(title: str, measured: dict[str, Ran]) -> str:
    """Return where the time of a round went, one line each way, and the share of the peak."""
    lines = [f"  {title}, seconds by stage:"]
    for way, one in measured.items():
        spent = ", ".join(f"{k} {v:.2f}" for k, v in one.said["seconds"].items())
        passes = [c for c in one.said.get("extraction", []) if c["share_of_peak"]]
        peak = ", ".join(
            f"{c['source']} {c['per_second']:.0f}/s on {c['engine']}, {c['share_of_peak']:.0%} of "
            "the matrix-multiply peak"
            for c in passes
        )
        lines.append(f"    {way}: {spent}{'; ' + peak if peak else ''}")
    return "\n".join(lines)


def data_for(name: str, folder: Path, quick: bool) -> tuple[str, Path] | None:
    """Return a work's title and pictures, `None` where the real data it needs is absent."""
    if name == "drawings":
        count = 300 if quick else 2_000
        return f"{count:,} × 256 px", small_drawings(folder, count)
    photos = real_data("ants-bees")
    if photos is None:
        return None
    if name == "ants-bees":
        return "ants and bees", photos
    count = 40 if quick else 500
    return f"{count} × 12 MP", large_photos(folder, photos, count)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--works", nargs="+", choices=WORKS, default=list(WORKS))
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="small versions")
    asked = parser.parse_args()
    found = {name: data_for(name, made_pictures(), asked.quick) for name in asked.works}
    works = {name: data for name, data in found.items() if data}
    rows: list[list[str]] = []
    for name, (title, data) in works.items():
        settings = quickest_peer(data)
        rounds = [one_round(data, settings) for _ in range(asked.repeat)]
        print(stages(title, rounds[-1]), flush=True)
        rows += rows_of(name, title, rounds)
    if rows:
        print("\n" + table(["", "seconds", "CPU s", "accuracy", "faster", "target"], rows))


if __name__ == "__main__":
    main()
