"""Trainings of a run: their curves, the epoch that was taken, and what was decided."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from retarget.core.text import count
from retarget.evaluation.results import Gain
from retarget.methods.tuning import Epoch
from retarget.reports import numbers, svg, trials
from retarget.reports.plots import NARROW, left_margin, y_axis
from retarget.runs.schema import RunRecord, TrainingRecord

MOST_DOTS = 40
LONGEST = 120
_NAMES = {
    "lr": "learning rate",
    "head_lr": "learning rate of the head",
    "share": "share of trained weights",
    "cached_behind": "activations cached behind",
    "stay_near": "pull to the source",
}


@dataclass(frozen=True)
class ShownTraining:
    """A training, what it is called, and what was decided, in words."""

    method: str
    source: str
    training: TrainingRecord
    settings: tuple[tuple[str, str], ...]


def shown(record: RunRecord) -> tuple[ShownTraining, ...]:
    """Return the trainings, least validation loss first."""
    found = {
        (t.method, t.source): ShownTraining(
            t.method, t.source, t.training, settings(t.training.settings)
        )
        for t in (*trials.ranked(record)[::-1], *record.chosen.members)
        if t.training
    }
    order = {(t.method, t.source): i for i, t in enumerate(trials.ranked(record))}
    return tuple(found[k] for k in sorted(found, key=lambda k: order.get(k, len(order))))


def settings(told: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Return what was decided, in words; what is off or empty is left out."""
    return tuple(
        (_NAMES.get(name, name.replace("_", " ")), _in_words(value))
        for name, value in told.items()
        if value not in (None, False, 0, "", [], {}, ())
    )


def _in_words(value: Any) -> str:
    if value is True:
        return "yes"
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, list | tuple) and all(isinstance(one, str) for one in value):
        value = ", ".join(value)
    words = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return words if len(words) <= LONGEST else words[: LONGEST - 1] + "…"


def gap_sentence(training: TrainingRecord) -> str:
    """Say how much larger the loss is on what was not learned from, and what that means."""
    value, low, high = training.gap
    if not math.isfinite(value):
        return ""
    gap = numbers.gain(Gain(value, low, high, 0.0))
    if low > 0:
        meaning = "some of what it learned holds for those only"
    elif low <= 0 <= high:
        meaning = "no overfitting can be told"
    elif high < 0:
        meaning = "there is no sign of overfitting"
    else:
        meaning = "there are too few examples for an interval"
    return (
        f"The gap there, validation loss less loss on the examples it learned from, is {gap}: "
        f"{meaning}."
    )


def curves_plot(training: TrainingRecord) -> Markup:
    """Draw the losses of training and validation over epochs, and mark the epoch taken."""
    epochs = sorted(training.epochs, key=lambda e: e.number)
    losses = [v for e in epochs for v in (e.loss, e.validation_loss) if math.isfinite(v)]
    if not losses:
        return Markup("")
    low, high = svg.bounds(losses)
    left = left_margin(low, high)
    x = svg.Scale(epochs[0].number, max(e.number for e in epochs), left + 10, NARROW - 12)
    y = svg.Scale(low, high, 216, 30)
    parts: list[str] = [*y_axis(y, left, NARROW - 2), svg.label(0, 13, "loss", "muted")]
    parts += _taken(epochs, training.taken, x, y)
    parts.append(_line(epochs, "training", x, y))
    parts.append(_line(epochs, "validation", x, y))
    parts += _numbers(x, left)
    title = f"Loss of training and of validation over {count(epochs[-1].number, 'epoch')}"
    return svg.picture(f"{title}; epoch {training.taken} was taken", NARROW, 258, *parts)


def _of(epoch: Epoch, which: str) -> float:
    return epoch.loss if which == "training" else epoch.validation_loss


def _line(epochs: list[Epoch], which: str, x: svg.Scale, y: svg.Scale) -> Markup:
    css, shape = ("c1", "square") if which == "training" else ("c0", "circle")
    at = [(x(e.number), y(_of(e, which)), e) for e in epochs if math.isfinite(_of(e, which))]
    shapes = [svg.polyline([(a, b) for a, b, _ in at], "stroke")]
    for a, b, epoch in at[:: max(1, math.ceil(len(at) / MOST_DOTS))]:
        said = f"epoch {epoch.number}, {which} loss {numbers.score(_of(epoch, which))}"
        if which == "validation" and math.isfinite(epoch.score):
            said += f", score {numbers.score(epoch.score)}"
        shapes.append(svg.group(svg.hint(said), svg.mark(shape, a, b, 3.2, "fill")))
    return svg.group(*shapes, css=css)


def _taken(epochs: list[Epoch], taken: int, x: svg.Scale, y: svg.Scale) -> list[Markup]:
    here = next((e for e in epochs if e.number == taken), None)
    if here is None:
        return []
    words = f"epoch {taken} taken"
    half = svg.text_width(words) / 2
    at = min(max(x(taken), 44 + half), NARROW - half)
    parts = [
        svg.label(at, 13, words, "strong", anchor="middle"),
        svg.line(x(taken), 20, x(taken), 216, "diagonal"),
    ]
    if math.isfinite(here.validation_loss):
        ring = svg.mark("circle", x(taken), y(here.validation_loss), 8, "stroke ring")
        parts.append(svg.group(ring, css="c0"))
    return parts


def _numbers(x: svg.Scale, left: float) -> list[Markup]:
    """Write the numbers of epochs under the plot, whole ones only."""
    places = [p for p in numbers.ticks(x.low, x.high, 6) if p == round(p)]
    shown_places = places or [x.low]
    parts = [svg.label(x(p), 233, f"{p:,.0f}", "tick", anchor="middle") for p in shown_places]
    parts.append(svg.label(NARROW - 2, 251, "epoch", "muted", anchor="end"))
    parts.append(svg.line(left, 216, NARROW - 2, 216, "grid"))
    return parts
