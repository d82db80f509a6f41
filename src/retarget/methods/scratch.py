"""`Scratch`: the same architecture without what it knew: what transfer has to beat."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Self

from retarget.core.types import Modality
from retarget.methods.settings import Part
from retarget.methods.tuning import Subject, register_tuning
from retarget.methods.tunings import HEAD, GradientTuning, Ready
from retarget.sources.registry import resolve
from retarget.sources.source import Source

if TYPE_CHECKING:
    from retarget.sources.encoder import Encoder

# Random weights have far to go, and no direction to begin with.
LR, ATTENTION_LR, WARMUP = 1e-3, 5e-4, 0.2
SMALL = "small:"


@register_tuning
@dataclass(frozen=True, kw_only=True)
class Scratch(GradientTuning):
    """The source's architecture trained from random weights, all of it, with the budget that
    fine-tuning has: as many epochs, as much time, the same augmentation.

    Its schedule is its own, for the comparison to be fair: a higher learning rate, a longer
    warm-up, and batch norms that learn their statistics.
    """

    warmup: float = WARMUP
    name: ClassVar[str] = "scratch"
    from_random: ClassVar[bool] = True

    def start(self, subject: Subject) -> Source:
        """Return the source's architecture with random weights of the subject's seed."""
        return subject.source.random(subject.seed)

    def settled(self, encoder: "Encoder", subject: Subject) -> Self:
        """Return the settings with nothing left open that depends on the method."""
        from retarget.methods.modes import has_attention

        usual = ATTENTION_LR if has_attention(encoder) else LR
        lr = usual if self.lr is None else self.lr
        return replace(
            self,
            lr=lr,
            # The head reads features as they are, so its weights are like those below it.
            head_lr=(usual if lr == "auto" else lr) if self.head_lr is None else self.head_lr,
            batch_statistics=True if self.batch_statistics is None else self.batch_statistics,
        )

    def begin(self, encoder: "Encoder", subject: Subject) -> Ready:
        """Return the encoder with a head that knows nothing either."""
        from retarget.methods.start import bare

        names = tuple(f"encoder.{name}" for name, _ in encoder.named_parameters())
        return Ready(bare(encoder, subject), (Part(HEAD), Part(names)))


@register_tuning
@dataclass(frozen=True, kw_only=True)
class SmallCnn(Scratch):
    """Four convolutions at 64 pixels from random weights: what a task tells by itself, to a model
    of its size."""

    name: ClassVar[str] = "small-cnn"

    @classmethod
    def suits(cls, modality: Modality) -> bool:
        """Return whether the small network reads inputs of a modality."""
        return resolve(SMALL).facts.modality == modality

    def start(self, subject: Subject) -> Source:
        """Return the small network with random weights of the subject's seed."""
        return resolve(SMALL).random(subject.seed)
