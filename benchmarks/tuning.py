"""AUROC on medical pictures with 50 labels by group: what changing weights brings.

Draws are those of `medical.py`: whole groups until there are 50 labels; all other examples judge.
One pool holds what `retarget fit --method probe,prototype,finetune,scratch,small-cnn` tries, on
EfficientNet-Lite0 at 128 pixels. Each kind is judged alone, beside a probe on the last layer at
the source's own 224 pixels, and so is what the fit hands over: by default the plain mean of the
kinds. Choosing sees the draw only. Differences are means over draws with the 95% interval of a
paired t-test.

    python benchmarks/tuning.py [--draws 5] [--first 0] [--labels 50] [--sets NAME …] [--quick]
"""

import argparse
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean

from data import real_data
from medical import SETS, auroc, paired, study_of
from retarget.features.material import Material, gather
from retarget.features.store import FeatureStore
from retarget.features.table import Table
from retarget.methods.tuning import Tuning
from retarget.selection.candidates import candidates, methods_for, tunings_for
from retarget.selection.judge import judge
from retarget.selection.tune import Pool, Workshop
from retarget.sources.registry import resolve
from retarget.tasks.open import open_task
from table import met, table

NATIVE = "bundled:efficientnet-lite0"
SMALL = f"{NATIVE}?size=128"
TUNINGS = ("finetune", "scratch", "small-cnn")
OVER_LAST, OVER_BETTER, NOWHERE_BELOW = 0.04, 0.02, -0.01

Scores = dict[str, float]


def one_draw(
    material: Material, tables: Mapping[str, Table], tunings: Sequence[Tuning], n: int, seed: int
) -> Scores:
    """Return the AUROC of every kind on one draw of n labels, of the last layer and of the fit."""
    study, truth = study_of(material, n, seed)
    probe, default = methods_for("classification", ["probe"]), methods_for("classification", [])
    native = {NATIVE: tables[NATIVE]}
    last = candidates(tuple(native.values()), probe, ["last"])
    workshop = Workshop(material.inputs(), material.read, "mean", seed, "auto")
    own = {SMALL: tables[SMALL]}
    pool = Pool(candidates(tuple(own.values()), default), tunings, workshop)
    judged = judge(study, own, pool)
    return {
        "last": auroc(truth, judge(study, native, Pool(last, average=False)).predictions),
        "fit": auroc(truth, judged.predictions),
        **{name: auroc(truth, values) for name, values in judged.kinds.items()},
    }


def rows_of(
    name: str, folder: Path, tunings: Sequence[Tuning], n: int, seeds: range
) -> Iterator[list[str]]:
    """Yield the row of one set."""
    task = open_task(folder / "manifest.csv")
    material = gather(task, [resolve(NATIVE), resolve(SMALL)], store=FeatureStore())
    tables = material.tables([NATIVE, SMALL])
    found: list[Scores] = []
    for seed in seeds:
        start = time.perf_counter()
        found.append(one_draw(material, tables, tunings, n, seed))
        told = ", ".join(f"{kind} {score:.3f}" for kind, score in found[-1].items())
        print(
            f"  {SETS[name]}, draw {seed}: {told} ({time.perf_counter() - start:.0f} s)", flush=True
        )
    tuned = [s["finetune"] - s["last"] for s in found]
    better = [s["fit"] - max(s["finetune"], s["scratch"]) for s in found]
    over_last, half = paired(tuned)
    over_better, other = paired(better)
    kinds = ("last", "frozen", *(t.name for t in tunings), "fit")
    yield [
        f"{SETS[name]}, {n}",
        f"{over_last:+.3f} ± {half:.3f}",
        met(over_last, OVER_LAST),
        f"{over_better:+.3f} ± {other:.3f}",
        met(over_better, OVER_BETTER),
        *(f"{mean(s[kind] for s in found):.3f}" for kind in kinds),
    ]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--first", type=int, default=0, help="seed of the first draw")
    parser.add_argument("--labels", type=int, default=50)
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--quick", action="store_true", help="one draw, two epochs")
    asked = parser.parse_args()
    if asked.quick:
        asked.draws = 1
    said = {"epochs": 2} if asked.quick else {}
    tunings = tunings_for("classification", TUNINGS, said)
    rows = [
        row
        for name in asked.sets
        if (folder := real_data(f"medical/{name}"))
        for row in rows_of(
            name, folder, tunings, asked.labels, range(asked.first, asked.first + asked.draws)
        )
    ]
    head = ["AUROC", "finetune − last", "target", "fit − better", "target", "last", "frozen"]
    print("\n" + table([*head, *TUNINGS, "fit"], rows))
    print(f"  better: of finetune and scratch; ≥ {OVER_BETTER} on two, nowhere < {NOWHERE_BELOW}")


if __name__ == "__main__":
    main()
