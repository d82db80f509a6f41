"""How a training is run, and what is trained: settings, without the loop behind them."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Training:
    """How a training is run; the base of every tuning's settings. `None` means: by the task.

    Attributes:
        epochs: passes over the examples, at most.
        lr: peak learning rate of the trained weights of the encoder; "auto" finds it by a range
            test (Smith 2017, Cyclical Learning Rates for Training Neural Networks).
        head_lr: of the head; `None` for ten times `lr`.
        batch: examples a step of the optimiser.
        micro_batch: examples that go through the model at once, whose gradients are accumulated to
            a batch's; `None` for all of it. Halved where memory is too small.
        weight_decay: of AdamW (Loshchilov and Hutter 2019); norms and biases are spared.
        warmup: share of the steps over which the learning rate rises, before it falls by a cosine.
        patience: epochs without a better validation loss before training stops.
        label_smoothing: share of the target given to all classes alike.
        class_weight: "balanced" weighs classes equally.
        mixup: alpha of mixup (Zhang et al. 2018), 0 for none.
        cutmix: alpha of cutmix (Yun et al. 2019), 0 for none; for inputs with a grid of places.
        augment: strength of the encoder's augmentation, 0 to 1.
        clip: largest norm of the gradient.
        average: decay of the exponential average of weights (0 for none), which is then kept.
        sharpness: radius of sharpness-aware minimisation (Foret et al. 2021), 0 for none.
        stay_near: strength of L2-SP, the pull towards the start (Li et al. 2018), 0 for none.
        recompute: recompute activations in the backward pass, to save memory.
        precision: "auto" is bf16 where hardware makes that quicker, else float32: GPUs, and
            CPUs with AMX for models without convolutions in groups.
        views: augmented views cached of each example where the first layers are frozen; 0 for no
            cache.
        batch_statistics: whether batch norms that are trained normalise by the statistics of
            batches, and learn them; `None`: only where weights start from random ones. Those of
            pretrained weights are better than a small batch's.
    """

    epochs: int | None = None
    lr: float | Literal["auto"] | None = None
    head_lr: float | None = None
    batch: int = 32
    micro_batch: int | None = None
    weight_decay: float = 0.05
    warmup: float = 0.1
    patience: int | None = None
    label_smoothing: float = 0.0
    class_weight: Literal["balanced"] | None = None
    mixup: float = 0.0
    cutmix: float = 0.0
    augment: float | None = None
    clip: float = 1.0
    average: float = 0.0
    sharpness: float = 0.0
    stay_near: float = 0.0
    recompute: bool = False
    precision: Literal["auto", "float32", "bf16"] = "auto"
    views: int | None = None
    batch_statistics: bool | None = None

    @property
    def at_once(self) -> int:
        """How many examples go through the model at once, where memory allows."""
        return min(self.batch, self.micro_batch or self.batch)


@dataclass(frozen=True)
class Part:
    """Parameters of a trainee that are trained alike: everything that is in no part is frozen.

    Attributes:
        names: in `Trainee.named_parameters()`.
        factor: of the learning rate.
        from_epoch: the first epoch that trains them (gradual unfreezing), counted from 1.
    """

    names: tuple[str, ...]
    factor: float = 1.0
    from_epoch: int = 1
