"""The learning rate by a range test: raised step by step, and taken where the loss falls fastest.

Smith 2017, Cyclical Learning Rates for Training Neural Networks.
"""

from retarget.methods.gear import Gear

STEPS = 60
LOWEST, HIGHEST = 1e-6, 1.0
SMOOTHING = 0.9
# A loss so many times the lowest one says that all higher rates are too high.
DIVERGED = 4.0


def find_lr(gear: Gear) -> float:
    """Return a peak learning rate for the encoder; the weights are left as they were."""
    raise NotImplementedError
