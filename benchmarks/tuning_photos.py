"""Accuracy on photos and drawings: the fit against a probe, a practitioner's fine-tuning, scratch.

Whole processes, cold, of the same wall time, one after another on the same pictures:

- fit: `retarget fit --method probe,finetune`, what it hands over: usually the mean of both;
- probe: `retarget fit --method probe`, which needs no such time;
- peer: `tuning_peer.py` with the seconds that the fit took, its process included;
- scratch: `retarget fit --method scratch`, the same architecture from random weights, with the time
  for training that the fit had.

All use EfficientNet-Lite0 at the same size. Ants and bees are split as they come, so draws differ
by the seed of training only. Of drawings each draw takes others to learn from, at most three
quarters of a class; the rest judges. For 100 labels a class both styles are taken, in which the
same things are drawn: a thing is learned from or judges, in both. Gains are means over draws with
the 95% interval of a paired t-test.

    python benchmarks/tuning_photos.py [--works ants-bees drawings-5 drawings-20 drawings-100]
        [--draws 5] [--first 0] [--size 128] [--time 60] [--from LAYER] [--peer-python PATH]
        [--quick]
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import numpy as np
from PIL import Image

from data import real_data
from medical import paired
from speed import Ran, ran
from table import met, table

LITE0 = "bundled:efficientnet-lite0"
WORKS = {"ants-bees": 0, "drawings-5": 5, "drawings-20": 20, "drawings-100": 100}
STYLES = {"drawings-100": ("google", "twitter")}
MOST_SHARE = 0.75
BARE = ["--baseline", "none", "--no-learning-curve", "--no-robustness", "--json"]


@dataclass(frozen=True)
class Asked:
    """How everything is run.

    Attributes:
        size: pixels.
        seconds: for training, of the fit and of scratch.
        from_layer: the first that the fit trains, as `--from` takes it; "" for what is usual.
        peer_python: the interpreter for the peer.
    """

    size: int
    seconds: float
    from_layer: str
    peer_python: str


def retarget(data: Path, asked: Asked, seed: int, options: Sequence[str]) -> Ran:
    """Run `retarget fit` with an empty cache."""
    source = f"{LITE0}?size={asked.size}"
    with tempfile.TemporaryDirectory(prefix="retarget-photos.") as scratch:
        out = ["--out", f"{scratch}/run", "--seed", str(seed)]
        command = [sys.executable, "-m", "retarget", "fit", str(data), "--source", source]
        return ran([*command, *BARE, *out, *options], Path(scratch) / "cache")


def peer(data: Path, asked: Asked, seed: int, seconds: float) -> Ran:
    """Run the practitioner's script for so many seconds."""
    script = Path(__file__).with_name("tuning_peer.py")
    options = ["--seconds", f"{seconds:.1f}", "--size", str(asked.size), "--seed", str(seed)]
    return ran([asked.peer_python, str(script), str(data), *options])


def one_draw(data: Path, asked: Asked, seed: int) -> dict[str, Ran]:
    """Run everything once."""
    time = ["--time", str(asked.seconds)]
    first = ["--from", asked.from_layer] if asked.from_layer else []
    fit = retarget(data, asked, seed, ["--method", "probe,finetune", *time, *first])
    return {
        "fit": fit,
        "probe": retarget(data, asked, seed, ["--method", "probe"]),
        "peer": peer(data, asked, seed, fit.seconds),
        "scratch": retarget(data, asked, seed, ["--method", "scratch", *time]),
    }


def drawn(sources: Sequence[Path], folder: Path, labels: int, seed: int) -> Path:
    """Divide STYLE/CLASS into FOLDER/train/CLASS, so many of each class, and FOLDER/test/CLASS.

    Pictures are laid on white: what other programs make of transparency isn't what is compared.
    """
    for place in sorted(p for p in sources[0].iterdir() if p.is_dir()):
        things = sorted(path.name for path in place.glob("*.png"))
        taken = min(labels // len(sources), int(MOST_SHARE * len(things)))
        order = np.random.default_rng([seed, labels]).permutation(len(things))
        for number, at in enumerate(order.tolist()):
            target = folder / ("train" if number < taken else "test") / place.name
            target.mkdir(parents=True, exist_ok=True)
            for source in sources:
                with Image.open(source / place.name / things[at]) as opened:
                    picture = opened.convert("RGBA")
                white = Image.new("RGBA", picture.size, "white")
                white.alpha_composite(picture)
                white.convert("RGB").save(target / f"{source.name}-{things[at]}")
    return folder


def draws(work: str, asked: Asked, seeds: range) -> Iterator[dict[str, Ran]]:
    """Yield the results of every draw, telling them."""
    styles = [f"drawn-styles/{style}" for style in STYLES.get(work, ("google",))]
    sources = [p for p in map(real_data, styles if WORKS[work] else [work]) if p]
    for seed in seeds if sources else ():
        with tempfile.TemporaryDirectory(prefix="retarget-drawn.") as place:
            data = drawn(sources, Path(place), WORKS[work], seed) if WORKS[work] else sources[0]
            found = one_draw(data, asked, seed)
        told = ", ".join(f"{way} {r.accuracy:.3f} in {r.seconds:.0f} s" for way, r in found.items())
        what = found["peer"].said
        print(
            f"  {work}, draw {seed}: {told} ({what['what']}, {what['epochs']} epochs)", flush=True
        )
        yield found


def row_of(work: str, found: Sequence[dict[str, Ran]]) -> list[str]:
    """Return the row of a work: gains of the fit, means of all."""
    row = [work]
    for other in ("probe", "peer", "scratch"):
        gain, half = paired([r["fit"].accuracy - r[other].accuracy for r in found])
        gain = round(gain, 6) + 0.0  # what cancels out is 0, not almost
        row += [f"{gain:+.3f} ± {half:.3f}", met(gain, 0.0)]
    for way in ("fit", "probe", "peer", "scratch"):
        accuracy, seconds = (
            mean(getattr(r[way], a) for r in found) for a in ("accuracy", "seconds")
        )
        row.append(f"{accuracy:.3f}, {seconds:.0f} s")
    return row


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--works", nargs="+", choices=tuple(WORKS), default=list(WORKS))
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--first", type=int, default=0, help="seed of the first draw")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--time", type=float, default=60.0, help="seconds for training")
    parser.add_argument("--from", dest="from_layer", default="", help="first layer to train")
    parser.add_argument("--peer-python", default=sys.executable, help="one that has fastai")
    parser.add_argument("--quick", action="store_true", help="one draw of few drawings, 5 seconds")
    told = parser.parse_args()
    if told.quick:
        told.works, told.draws, told.size, told.time = ["drawings-5"], 1, 64, 5.0
    asked = Asked(told.size, told.time, told.from_layer, told.peer_python)
    seeds = range(told.first, told.first + told.draws)
    rows = [
        row_of(work, found) for work in told.works if (found := list(draws(work, asked, seeds)))
    ]
    head = ["accuracy", "fit − probe", "aim", "fit − peer", "aim", "fit − scratch", "aim"]
    print("\n" + table([*head, "fit", "probe", "peer", "scratch"], rows))


if __name__ == "__main__":
    main()
