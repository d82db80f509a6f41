"""What choices are made by: the loss of each example, at the temperature that suits all."""

import numpy as np

from retarget.core.types import CLASSES, FloatArray
from retarget.evaluation.calibration import fit_temperature
from retarget.methods.base import Labels
from retarget.methods.model import to_probabilities

TINY = 1e-12


def example_losses(labels: Labels, predictions: FloatArray) -> FloatArray:
    """Return (n,) weighted log-loss of probabilities, or squared error of values."""
    weights = labels.weights / labels.weights.mean()
    if labels.kind == "regression":
        return np.asarray(weights * (predictions[:, 0] - labels.values) ** 2)
    if labels.kind in CLASSES:
        own = predictions[np.arange(len(labels)), labels.values.astype(np.int64)]
        return np.asarray(-weights * np.log(np.maximum(own, TINY)))
    hit = np.where(labels.values > 0.5, predictions, 1.0 - predictions)
    return np.asarray(-weights * np.log(np.maximum(hit, TINY)).mean(axis=1))


def calibrated(labels: Labels, outputs: FloatArray) -> tuple[float, FloatArray]:
    """Return the temperature that suits out-of-fold outputs, and the predictions at it."""
    if labels.kind == "regression":
        return 1.0, outputs
    temperature = fit_temperature(outputs, labels.values, labels.weights, labels.kind)
    return temperature, to_probabilities(labels.kind, outputs / temperature)
