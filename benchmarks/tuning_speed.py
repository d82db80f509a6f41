"""Epochs of fine-tuning against the plain PyTorch loop, at every depth; adapters against all.

Both train EfficientNet-Lite0 on the same pictures with the same batch size, random crops and
flips. The plain loop is what a practitioner writes: frozen layers without gradients and in
evaluation mode, one call of AdamW for all tensors, a `DataLoader` whose workers stay. Workers,
layout, and batch norms in either mode are tried first; the quickest is what is compared.

Epochs of both take turns in one process; each is the quickest of its steady ones. Filling the cache
is what our first epoch takes longer. It pays after as many epochs as ours, filling included, are
behind: with one view of each picture, and with four, which are filled as they are drawn.

`--cpu` counts CPU time of one thread instead, loading included, for a machine that is busy with
other things as well; the plain loop then loads without workers.

`--what adapters` compares `lora` with `finetune` on ants and bees, each in processes of its own.
Scores are those of the last epoch, so that the pictures that judge choose nothing.

    python benchmarks/tuning_speed.py [--what depths adapters] [--examples 243] [--size 224]
        [--epochs 4] [--seeds 3] [--adapter-epochs 8] [--cpu] [--quick]
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import timm
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from data import real_data
from pictures import made_pictures, small_drawings
from retarget.features.activations import passes
from retarget.features.views import Inputs
from retarget.methods.base import Labels
from retarget.methods.callbacks import Callback
from retarget.methods.finetune import FineTune, parts, trained_groups
from retarget.methods.lora import Lora
from retarget.methods.settings import Training
from retarget.methods.start import bare
from retarget.methods.training import train
from retarget.methods.tuning import Epoch, Subject
from retarget.sources.registry import resolve
from table import met, table

LITE0 = "bundled:efficientnet-lite0"
BATCH, LR, WEIGHT_DECAY = 32, 5e-4, 0.05
CPU = "--cpu" in sys.argv
WORKERS = 0 if CPU else os.cpu_count() or 1
TARGETS = {1: 4.0, 2: 1.8}
MOST_OVER = 0.05
MOST_TRAINED, MOST_LOST = 0.05, 0.01
TRIED_ON, MOST_EPOCHS = 64, 1000
VIEWS = (1, 4)
clock = time.process_time if CPU else time.perf_counter
ADAPTERS = {"finetune": FineTune(mix=False), "lora": Lora()}


@dataclass(frozen=True)
class Pictures(Dataset[tuple[Any, int]]):
    """Picture files and their classes."""

    files: tuple[Path, ...]
    classes: tuple[int, ...]
    transform: Callable[[Image.Image], Any] | None = None

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, row: int) -> tuple[Any, int]:
        """Return one, opened and transformed as timm advises, and its class."""
        with Image.open(self.files[row]) as opened:
            picture = opened.convert("RGB")
        return (self.transform(picture) if self.transform else picture), self.classes[row]

    def first(self, count: int) -> "Pictures":
        """Return some, in an order that mixes the classes."""
        rows = np.random.default_rng(0).permutation(len(self))[:count].tolist()
        return replace(
            self,
            files=tuple(self.files[i] for i in rows),
            classes=tuple(self.classes[i] for i in rows),
        )

    def subject(self, source: str, judging: int = 0, seed: int = 0) -> Subject:
        """Return what a training is given, of which the last `judging` pictures judge."""
        ids = np.array([f"{row:032x}" for row in range(len(self))])
        values = np.array(self.classes, dtype=np.int64)
        labels = Labels("classification", values, max(self.classes) + 1, np.ones(len(self)))
        validation = np.arange(len(self)) >= len(self) - judging
        inputs = Inputs("image", self.files, ids)
        return Subject(resolve(source), inputs, labels, validation, "accuracy", seed=seed)


def pictures_in(folder: Path) -> Pictures:
    """Return those in FOLDER/CLASS."""
    files = sorted(p for p in folder.glob("*/*") if p.suffix in (".jpg", ".png"))
    names = sorted({p.parent.name for p in files})
    return Pictures(tuple(files), tuple(names.index(p.parent.name) for p in files))


@dataclass(frozen=True)
class Plain:
    """Settings of the plain loop that are worth trying."""

    workers: int = WORKERS
    channels_last: bool = True
    batch_statistics: bool = True

    def __str__(self) -> str:
        layout = "channels last" if self.channels_last else "channels first"
        norms = "training" if self.batch_statistics else "evaluation"
        return f"{self.workers} workers, {layout}, batch norms in {norms} mode"


class PlainLoop:
    """The plain loop; the parameters called `frozen` don't train."""

    def __init__(self, pictures: Pictures, frozen: frozenset[str], size: int, how: Plain) -> None:
        self._how = how
        self._format = torch.channels_last if how.channels_last else torch.contiguous_format
        model = timm.create_model("tf_efficientnet_lite0", num_classes=max(pictures.classes) + 1)
        self._model = model.to(memory_format=self._format)
        self._still = [module for module in model.modules() if self._keeps(module)]
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name not in frozen)
            if name in frozen:
                self._still.append(model.get_submodule(name.rpartition(".")[0]))
        trained = [p for p in model.parameters() if p.requires_grad]
        self._optimiser = torch.optim.AdamW(trained, lr=LR, weight_decay=WEIGHT_DECAY, fused=True)
        config = timm.data.resolve_model_data_config(model, {"input_size": (3, size, size)})
        transform = timm.data.create_transform(**config, is_training=True, color_jitter=None)
        self._batches = DataLoader(
            replace(pictures, transform=transform),
            BATCH,
            shuffle=True,
            num_workers=how.workers,
            persistent_workers=how.workers > 0,
        )

    def epoch(self) -> float:
        """Train for one epoch; return its seconds."""
        began = clock()
        self._model.train()
        for module in self._still:
            module.eval()
        for images, targets in self._batches:
            outputs: Tensor = self._model(images.contiguous(memory_format=self._format))
            loss = nn.functional.cross_entropy(outputs, targets)
            self._optimiser.zero_grad()
            loss.backward()
            self._optimiser.step()
        return clock() - began

    def _keeps(self, module: nn.Module) -> bool:
        return isinstance(module, nn.BatchNorm2d) and not self._how.batch_statistics


def quickest_plain(pictures: Pictures, size: int) -> Plain:
    """Return the settings of the plain loop that took the least time with all layers training."""
    tried = [Plain(), Plain(batch_statistics=False), Plain(channels_last=False)]
    if WORKERS > 1:
        tried.append(Plain(workers=WORKERS - 1))
    loops = [PlainLoop(pictures.first(TRIED_ON), frozenset(), size, how) for how in tried]
    rounds = [[loop.epoch() for loop in loops] for _ in range(3)]
    found = dict(zip(tried, map(min, zip(*rounds[1:], strict=True)), strict=True))
    for how, seconds in found.items():
        print(f"  plain, {how}: {TRIED_ON / seconds:.1f} pictures a second", flush=True)
    return min(found, key=lambda how: found[how])


class Turns(Callback):
    """Notes the seconds of our epochs, and has the other take its turn after each."""

    def __init__(self, other: Callable[[], float]) -> None:
        self._other = other
        self._since = 0.0
        self.ours: list[float] = []
        self.others: list[float] = []

    def on_train_begin(self, *_: object) -> None:
        """Start the clock."""
        self._since = clock()

    def on_epoch_end(self, epoch: Epoch) -> None:
        """Note the epoch, and the other's."""
        self.ours.append(clock() - self._since)
        self.others.append(self._other())
        self._since = clock()


@dataclass(frozen=True)
class Depth:
    """Seconds of epochs with the last so many groups of layers training.

    Attributes:
        name: of the shallowest layer that trains; `groups`, how many do.
        plain, ours: the quickest epoch.
        filling: the cache, one view of each picture; 0 where nothing is cached.
    """

    name: str
    groups: int
    plain: float
    ours: float
    filling: float

    @property
    def ratio(self) -> float:
        """How many times faster ours are."""
        return self.plain / self.ours

    def pays_after(self, views: int) -> int | None:
        """Return after how many epochs ours are ahead, with so many views."""
        for epochs in range(1, MOST_EPOCHS):
            filled, _ = passes(epochs, views)
            if filled * self.filling + epochs * self.ours <= epochs * self.plain:
                return epochs
        return None


def measured(pictures: Pictures, size: int, groups: int, epochs: int, how: Plain) -> Depth:
    """Have our epochs and the plain loop's take turns, the last so many groups training."""
    subject = pictures.subject(f"{LITE0}?size={size}")
    encoder = subject.source.load()
    everything = trained_groups(encoder.groups(), "all")
    chosen = trained_groups(encoder.groups(), groups)
    wanted = frozenset(name for group in chosen for name in group.parameters)
    frozen = {name for name, _ in encoder.named_parameters()} - wanted
    plain = PlainLoop(pictures, frozenset(n.removeprefix("model.") for n in frozen), size, how)
    plain.epoch()
    turns = Turns(plain.epoch)
    settings = Training(epochs=epochs, views=1, lr=LR, weight_decay=WEIGHT_DECAY)
    with own_cache():
        train(
            bare(encoder, subject),
            parts(FineTune(epochs=epochs), chosen, wanted),
            replace(subject, callbacks=(turns,)),
            settings,
            key=f"speed-{groups}",
        )
    ours = min(turns.ours[1:])
    filling = turns.ours[0] - ours if len(chosen) < len(everything) else 0.0
    return Depth(chosen[0].layer, groups, min(turns.others), ours, max(0.0, filling))


@contextmanager
def own_cache() -> Iterator[None]:
    """Keep what is cached inside the block in an empty folder."""
    before = os.environ.get("RETARGET_CACHE")
    with tempfile.TemporaryDirectory(prefix="retarget-tuning.") as folder:
        os.environ["RETARGET_CACHE"] = folder
        try:
            yield
        finally:
            if before is None:
                del os.environ["RETARGET_CACHE"]
            else:
                os.environ["RETARGET_CACHE"] = before


def depth_row(depth: Depth) -> list[str]:
    """Return the row of a depth."""
    if not depth.filling:
        over = depth.ours / depth.plain - 1
        target = f"{met(over, MOST_OVER, at_most=True)}, {over:+.1%}"
        pays = ["", "", ""]
    else:
        target = met(depth.ratio, TARGETS.get(depth.groups))
        after = [depth.pays_after(views) for views in VIEWS]
        pays = [f"{depth.filling:.1f}", *("never" if n is None else str(n) for n in after)]
    name = f"from {depth.name}, {depth.groups}"
    seconds = [f"{depth.plain:.2f}", f"{depth.ours:.2f}"]
    return [name, *seconds, f"{depth.ratio:.2f}×", target, *pays]


def depths(pictures: Pictures, size: int, epochs: int, groups: Sequence[int]) -> None:
    """Print the table of depths."""
    how = quickest_plain(pictures, size)
    print(f"  compared with: {how}; {len(pictures)} pictures of {size} px", flush=True)
    rows = []
    for number in groups:
        rows.append(depth_row(measured(pictures, size, number, epochs, how)))
        print(f"  {', '.join(rows[-1])} (load {os.getloadavg()[0]:.1f})", flush=True)
    head = ["trained", "plain s", "ours s", "faster", "target", "filling s"]
    print("\n" + table([*head, *(f"pays, {v} views" for v in VIEWS)], rows), flush=True)


def one_adapter(name: str, size: int, epochs: int, seed: int) -> dict[str, float]:
    """Train by one method in this process; return what it took and the last epoch's score."""
    photos = real_data("ants-bees")
    assert photos is not None
    learning, judging = (pictures_in(photos / part) for part in ("train", "val"))
    both = Pictures(learning.files + judging.files, learning.classes + judging.classes)
    subject = both.subject(f"{LITE0}?size={size}", len(judging), seed)
    how = replace(ADAPTERS[name], epochs=epochs, patience=epochs, refit=False)
    with own_cache():
        tuned = how.fit(subject)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "share": tuned.cost.trainable / tuned.cost.parameters,
        "step": tuned.cost.step_seconds,
        "peak": tuned.cost.peak_megabytes,
        "resident": most / (1e6 if sys.platform == "darwin" else 1e3),
        "accuracy": tuned.epochs[-1].score,
    }


def adapters(size: int, epochs: int, seeds: int) -> None:
    """Print the table of adapters, the two in turn."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in ADAPTERS}
    for seed in range(seeds):
        for name, results in found.items():
            options = ["--one", name, "--size", str(size), "--first", str(seed)]
            command = [sys.executable, __file__, *options, "--adapter-epochs", str(epochs)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            results.append(json.loads(done.stdout.splitlines()[-1]))
            told = ", ".join(f"{key} {value:.3f}" for key, value in results[-1].items())
            print(f"  {name}, seed {seed}: {told}", flush=True)
    full, small = found["finetune"], found["lora"]
    lost = mean(r["accuracy"] for r in full) - mean(r["accuracy"] for r in small)
    rows = []
    for name, results in found.items():
        share = results[0]["share"]
        peak, resident = (min(r[key] for r in results) for key in ("peak", "resident"))
        row = [name, f"{share:.1%}", f"{peak:.0f}", f"{resident:.0f}"]
        row.append(f"{min(r['step'] for r in results):.2f}")
        row.append(f"{mean(r['accuracy'] for r in results):.3f}")
        if name == "lora":
            row.append(f"trained {met(share, MOST_TRAINED, at_most=True)}")
            row.append(f"lost {lost:+.3f} {met(lost, MOST_LOST, at_most=True)}")
        rows.append([*row, *[""] * (8 - len(row))])
    head = ["", "trained", "peak MB", "resident MB", "step s", "accuracy", "target", "target"]
    print("\n" + table(head, rows), flush=True)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    choices = ("depths", "adapters")
    parser.add_argument("--what", nargs="+", choices=choices, default=list(choices))
    parser.add_argument("--examples", type=int, default=243)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--epochs", type=int, default=4, help="of each depth; at least 2")
    parser.add_argument("--groups", type=int, nargs="+", default=[1, 2, 3, 4, 5, 6])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--adapter-epochs", type=int, default=8)
    parser.add_argument("--one", choices=tuple(ADAPTERS), help="one adapter here, as JSON")
    parser.add_argument("--quick", action="store_true", help="few pictures of 96 pixels")
    parser.add_argument("--cpu", action="store_true", help="CPU time of one thread")
    asked = parser.parse_args()
    if asked.cpu:
        torch.set_num_threads(1)
    if asked.one:
        found = one_adapter(asked.one, asked.size, asked.adapter_epochs, asked.first)
        print(json.dumps(found))
        return
    if asked.quick:
        asked.examples, asked.size, asked.groups = 64, 96, [1, 2, 6]
        asked.epochs, asked.seeds, asked.adapter_epochs = 2, 1, 1
    photos = real_data("ants-bees")
    if "depths" in asked.what:
        folder = photos / "train" if photos else small_drawings(made_pictures(), 300) / "train"
        chosen = pictures_in(folder).first(asked.examples)
        depths(chosen, asked.size, asked.epochs, asked.groups)
    if "adapters" in asked.what and photos:
        adapters(asked.size, asked.adapter_epochs, asked.seeds)


if __name__ == "__main__":
    main()
