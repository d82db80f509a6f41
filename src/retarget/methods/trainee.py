"""`Trainee`: an encoder with a head on it, as one module that gradients go through."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from retarget.core.types import Pooling
from retarget.methods.heads import LinearHead
from retarget.methods.model import Member
from retarget.methods.scale import BlockScale
from retarget.sources.encoder import Encoder, Split


class Trainee(nn.Module):
    """Maps inputs (b, …), or activations behind a cut, to outputs (b, K).

    Features are scaled by constants before the head reads them, as those of frozen encoders are,
    so that a head that was fitted on frozen features is a valid start, and what was trained is
    saved as any other member. Values of regression are learned in units of their spread, which
    the learning rates are made for.

    Attributes:
        encoder: trained, or frozen in part; its mode is managed here: what is frozen stays in
            evaluation mode, so that statistics of batches don't creep into it.
        layers: that the head reads; if not said the encoder's `head_layer`.
        split: where the encoder is cut; `None` where it is run whole.
    """

    centre: Tensor
    factor: Tensor
    spread: Tensor

    def __init__(
        self, encoder: Encoder, outputs: int, layers: Sequence[str] = (), pooling: Pooling = "mean"
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.layers = tuple(layers) or (encoder.head_layer(pooling),)
        self.pooling: Pooling = pooling
        self.split: Split | None = None
        width = sum(encoder.width_of(name, pooling) for name in self.layers)
        self.register_buffer("centre", torch.zeros(width))
        self.register_buffer("factor", torch.ones(width))
        self.register_buffer("spread", torch.ones(()))
        self.linear = nn.Linear(width, outputs)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def start_from(
        self, scale: BlockScale, head: LinearHead | None = None, spread: float = 1.0
    ) -> None:
        """Take over a scale, and a head, that were fitted on the encoder's frozen features, and
        the spread of what is predicted: 1 but for regression."""
        self.centre.copy_(torch.from_numpy(np.asarray(scale.centre, dtype=np.float32)))
        self.factor.copy_(torch.from_numpy(np.asarray(scale.factor, dtype=np.float32)))
        self.spread.fill_(spread)
        if head is None:
            return
        with torch.no_grad():
            self.linear.weight.copy_(torch.from_numpy(head.weight / spread))
            self.linear.bias.copy_(torch.from_numpy(head.bias / spread))

    def features(self, batch: Tensor) -> Tensor:
        """Map prepared inputs, or activations where there is a cut, to what the head reads, before
        it is scaled: (b, d), of words (b, T, d)."""
        if self.split is None:
            found = self.encoder.pooled_of(batch, self.pooling, self.layers)
        else:
            found = self.split.suffix(batch, self.pooling)
        return torch.cat([found[name] for name in self.layers], dim=-1)

    def forward(self, batch: Tensor) -> Tensor:
        """Map prepared inputs, or activations where there is a cut, to outputs (b, K), of words
        (b, T, K)."""
        x = self.features(batch)
        outputs: Tensor = self.linear((x - self.centre) * self.factor) * self.spread
        return outputs

    def member(self, method: str, temperature: float, source: int = 0) -> Member:
        """Return the head as it is now, as a member of a model."""
        scale = BlockScale(self.centre.numpy(force=True), self.factor.numpy(force=True))
        weight = (self.linear.weight * self.spread).numpy(force=True)
        bias = (self.linear.bias * self.spread).numpy(force=True).astype(np.float64)
        return Member(self.layers, method, scale, LinearHead(weight, bias), temperature, source)
