"""Robustness kept by WiSE-FT against plain fine-tuning, ants and bees.

Every draw is one `retarget fit --method probe,finetune`: what validation chose of the way from the
source to the tuned weights, and 25, 50, 75 and 100% of it, are judged on the same photos, clean and
under 18 corruptions. 100% is plain fine-tuning. Draws differ by the seed, so by the validation
part and the training; differences are means over them with the 95% interval of a paired t-test.

`kept` is the share of the lead over guessing. At equal clean accuracy: a way to average that is no
worse on clean photos than plain fine-tuning, and keeps more.

    python benchmarks/tuning_robustness.py [--draws 5] [--first 0] [--size 128] [--epochs 15]
        [--quick]
"""

import argparse
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from statistics import mean
from typing import Any

from data import real_data
from medical import paired
from speed import ran
from table import table

LITE0 = "bundled:efficientnet-lite0"
BARE = ["--method", "probe,finetune", "--baseline", "none", "--no-learning-curve", "--json"]
PLAIN = "finetune, 100%"


def one_draw(seed: int, size: int, epochs: int) -> dict[str, tuple[float, float]]:
    """Return, by way, clean accuracy and the share kept."""
    data = real_data("ants-bees")
    with tempfile.TemporaryDirectory(prefix="retarget-robust.") as folder:
        command = [sys.executable, "-m", "retarget", "fit", str(data), *BARE]
        command += ["--source", f"{LITE0}?size={size}", "--epochs", str(epochs)]
        command += ["--seed", str(seed), "--out", f"{folder}/run"]
        said = ran(command, Path(folder) / "cache").said
    found = {}
    for method in said["methods"]:
        at = found_at(method)
        found[at] = (method["robustness"]["clean"]["value"], method["robustness"]["kept"]["value"])
        if method["name"] == "finetune" and method["test"]:
            print(f"  draw {seed}: validation chose {method['share']:.0%}", flush=True)
            if method["share"] == 1.0:
                found[PLAIN] = found[at]
    told = ", ".join(f"{way} {clean:.3f} / {kept:.0%}" for way, (clean, kept) in found.items())
    print(f"  draw {seed}, clean / kept: {told}", flush=True)
    return found


def found_at(method: Mapping[str, Any]) -> str:
    """Return what a way is called."""
    if method["test"]:
        return f"{method['name']}, as chosen" if method["name"] == "finetune" else method["name"]
    return f"{method['name']}, {method['share']:.0%}"


def row_of(way: str, draws: list[dict[str, tuple[float, float]]]) -> list[str]:
    """Return means, and differences from plain fine-tuning."""
    row = [way]
    for number in (0, 1):
        row.append(f"{mean(found[way][number] for found in draws):.3f}")
        gain, half = paired([found[way][number] - found[PLAIN][number] for found in draws])
        row.append("" if way == PLAIN else f"{gain:+.3f} ± {half:.3f}")
    return row


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--first", type=int, default=0, help="seed of the first draw")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--quick", action="store_true", help="two draws of two epochs at 64 pixels")
    told = parser.parse_args()
    if told.quick:
        told.draws, told.size, told.epochs = 2, 64, 2
    if real_data("ants-bees") is None:
        sys.exit("There are no photos: set RETARGET_DATA.")
    seeds = range(told.first, told.first + told.draws)
    draws = [one_draw(seed, told.size, told.epochs) for seed in seeds]
    ways = [way for way in draws[0] if all(way in found for found in draws)]
    head = ["ants and bees", "clean", "over plain", "kept", "over plain"]
    print("\n" + table(head, [row_of(way, draws) for way in ways]))


if __name__ == "__main__":
    main()
