"""Where a training starts: an encoder with a head that was fitted on its frozen features."""

import numpy as np
import torch
from torch import Tensor

from retarget.core.progress import progress
from retarget.core.types import CLASSES, FloatArray, IntArray
from retarget.features.devices import pick_device
from retarget.features.views import Views
from retarget.methods.base import Labels
from retarget.methods.heads import LinearHead
from retarget.methods.losses import calibrated, example_losses
from retarget.methods.memory import run_in_parts
from retarget.methods.model import log_odds
from retarget.methods.probe import Probe
from retarget.methods.scale import BlockScale
from retarget.methods.trainee import Trainee
from retarget.methods.tuning import Subject
from retarget.methods.units import Course
from retarget.sources.encoder import Encoder
from retarget.tasks.splits import assign_folds

FOLDS = 5
EXAMPLES_AT_ONCE = 32


def headed(encoder: Encoder, subject: Subject, probe: Probe | None) -> Trainee:
    """Return the encoder with a head that reads its `head_layer`.

    Features are scaled as the learning rows want it. The head is a probe of theirs, its strength
    chosen out of fold among them, so that training starts from what frozen features give and the
    first steps don't tear at the encoder (Kumar et al. 2022, Fine-tuning can distort pretrained
    features). Without a `probe` the head starts as `ignorant`.
    """
    labels = subject.labels.take(subject.learning)
    trainee = Trainee(encoder, labels.outputs, pooling=subject.pooling)
    x = features(encoder, subject, subject.learning)
    scale = BlockScale.fit(x, [x.shape[1]])
    head = fitted(probe, scale(x), labels, subject) if probe else ignorant(labels, x.shape[1])
    trainee.start_from(scale, head, spread_of(labels))
    return trainee


def bare(encoder: Encoder, subject: Subject) -> Trainee:
    """Return an encoder that knows nothing yet, with a head that reads its `head_layer` as
    it is."""
    labels = subject.labels.take(subject.learning)
    trainee = Trainee(encoder, labels.outputs, pooling=subject.pooling)
    width = len(trainee.centre)
    ones = BlockScale(np.zeros(width, np.float32), np.ones(width, np.float32))
    trainee.start_from(ones, ignorant(labels, width), spread_of(labels))
    return trainee


def ignorant(labels: Labels, width: int) -> LinearHead:
    """Return the head that looks at no feature: the shares of classes or labels, or the mean."""
    mean = np.average(labels.columns(), axis=0, weights=labels.weights)
    if labels.kind != "regression":
        mean = log_odds(labels.kind, (mean * len(labels) + 0.5) / (len(labels) + 1.0))
    return LinearHead(np.zeros((labels.outputs, width), np.float32), np.asarray(mean))


def spread_of(labels: Labels) -> float:
    """Return the standard deviation of values, 1 where they don't differ or are no numbers."""
    return float(np.std(labels.values)) or 1.0 if labels.kind == "regression" else 1.0


def features(encoder: Encoder, subject: Subject, rows: IntArray) -> FloatArray:
    """Return (n, d) float32 of the encoder's `head_layer` for some of the subject's rows."""
    last = encoder.head_layer(subject.pooling)
    if subject.table is not None:
        return np.asarray(subject.table.layer(last)[rows])
    device = pick_device(subject.device)
    encoder.to(device)
    views = Views(subject.inputs, encoder, seed=subject.seed, strength=0.0, megabytes=0.0)
    examples, found = subject.inputs.examples(rows), []
    course = Course(views, examples, EXAMPLES_AT_ONCE)
    width = encoder.width_of(last, subject.pooling)
    with progress("Features to start from", len(examples), "examples") as meter:

        def read(part: Tensor) -> Tensor:
            return encoder.pooled_of(part.to(device), subject.pooling, (last,))[last]

        for at, batch in enumerate(views.evaluation(course.batches)):
            with torch.inference_mode():
                made = run_in_parts(read, batch)
            found.append(course.rows(made, at))
            meter.advance(len(batch))
    return course.restored(found, width).astype(np.float32)


def fitted(probe: Probe, x: FloatArray, labels: Labels, subject: Subject) -> LinearHead:
    """Return the probe fitted with the strength that did best out of fold."""
    strengths = probe.settings(labels)
    inputs, rows = subject.inputs, subject.learning
    # No fold divides an example, or the same content.
    ids = inputs.ids[rows if inputs.owners is None else inputs.owners[rows]]
    k = min(FOLDS, len(np.unique(ids)))
    if k < 2:
        return probe.fit(x, labels, strengths[0])
    kind = "classification" if labels.kind in CLASSES else labels.kind
    folds = assign_folds(labels.values, ids, ids, k, subject.seed, kind)
    losses = []
    found = probe.cross_fit(x, labels, folds)
    for outputs in found.outputs:
        known = np.isfinite(outputs).all()
        loss = example_losses(labels, calibrated(labels, outputs)[1]).mean() if known else np.inf
        losses.append(loss)
    best = int(np.argmin(losses))
    return probe.fit(x, labels, strengths[best], found.heads[best])
