"""All benchmarks, one after another, each in a process of its own. `make bench` runs this.

Those that need the real data (`RETARGET_DATA`) say so where it is absent and do the rest.

    python benchmarks/run.py [--quick] [NAME …]
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

# Name → what it shows, options of the whole and of the quick version.
BENCHMARKS: dict[str, tuple[str, list[str], list[str]]] = {
    "startup": ("CPU time of coming in", [], ["--repeat", "2"]),
    "heads": (
        "Heads alone against LogisticRegressionCV",
        [],
        ["--repeat", "1", "--examples", "200"],
    ),
    "layers": ("All layers against the last alone", [], ["--quick"]),
    "speed": ("Whole processes against the plain script", [], ["--quick"]),
    "medical": ("AUROC on medical pictures", [], ["--quick"]),
    "choice": ("Rules for choosing on frozen features", [], ["--quick"]),
    "kinds": ("Rules for weighing kinds of method", [], ["--quick"]),
    "tuning": ("Medical pictures, with weights changed", [], ["--quick"]),
    "tuning_speed": ("Epochs of fine-tuning against the plain loop", [], ["--quick"]),
    "tuning_photos": ("Photos and drawings against a practitioner", [], ["--quick"]),
    "tuning_robustness": ("Robustness of averages towards the source", [], ["--quick"]),
    "language": ("Texts, sites, entities", [], ["--quick"]),
    "contrastive": ("Few texts, tuned on pairs", [], ["--labels", "8", "--draws", "1"]),
    "memory": ("Memory with very many pictures", [], ["200", "2000"]),
    "store_formats": ("Where to keep features", [], ["2000", "1"]),
    "coverage": ("How often intervals hold the truth", [], ["--quick"]),
}


def main() -> None:
    """Run them; exit with 1 where one failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("--quick", action="store_true", help="small versions, a few minutes")
    asked = parser.parse_args()
    if unknown := set(asked.names) - set(BENCHMARKS):
        parser.error(f"unknown: {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    failed = []
    for name in asked.names or BENCHMARKS:
        title, whole, quick = BENCHMARKS[name]
        print(f"\n{name}: {title} (load {os.getloadavg()[0]:.1f})", flush=True)
        start = time.perf_counter()
        script = Path(__file__).with_name(f"{name}.py")
        options = quick if asked.quick else whole
        if subprocess.run([sys.executable, str(script), *options]).returncode:
            failed.append(name)
        print(f"  ({time.perf_counter() - start:.0f} s)", flush=True)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
