"""`Contrastive`: few-shot tuning of an encoder on pairs, then a head on its features."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from retarget.core.errors import UsageError
from retarget.core.types import Kind
from retarget.methods.finetune import trained_groups
from retarget.methods.probe import Probe
from retarget.methods.settings import Part
from retarget.methods.tuning import Subject, register_tuning
from retarget.methods.tunings import HEAD, GradientTuning, Ready

if TYPE_CHECKING:
    from retarget.sources.encoder import Encoder

# On MiniLM with 8 labels a class, 4 steps, one draw each of sst2's train split and two sites of
# review sentences: accuracy 0.700 at 1e-4 and 0.697 at 3e-4, frozen 0.673; a supervised contrastive
# loss (Khosla et al. 2020) 0.698 and 0.682. Three draws tell none of the tuned ones apart. The rate
# for convolutions and the numbers of examples seen below are not measured.
CONVOLUTION_LR, ATTENTION_LR = 5e-4, 1e-4
# Examples seen by default: each so many times, within these bounds.
SEEN_EACH, FEWEST_SEEN, MOST_SEEN = 4, 64, 16_000


@register_tuning
@dataclass(frozen=True, kw_only=True)
class Contrastive(GradientTuning):
    """Few-shot tuning on pairs: examples of one class are drawn together, others apart; then a
    probe is fitted to what they became.

    The recipe of Tunstall et al. 2022, Efficient few-shot learning without prompts (SetFit). There
    every pair is two passes through the encoder; here all pairs of a batch are learned from at
    once, so that b passes bring b (b − 1) / 2 pairs, and memory grows with the examples, not with
    their pairs. Batches are drawn on the fly, with as many examples of every class.

    Pairs are those of examples that go through the encoder together: where memory makes a batch go
    in parts, or processes share it, each part has pairs of its own only. A part has two examples
    at least. So, unlike for other tunings, several processes don't come to the numbers of one.

    The head is fitted again after every epoch, to the examples that are learned from, its strength
    chosen out of fold among them; the validation rows judge it. It isn't trained by gradients, so
    `head_lr` changes nothing. The training loss told is that of pairs, not of classes.

    Attributes:
        steps: of the optimiser in an epoch. `None`: so many that each example is seen four times,
            but 64 examples at least and 16,000 at most.
        from_layer: as for `FineTune`.
    """

    weight_decay: float = 0.01
    steps: int | None = None
    from_layer: str | int | None = None
    name: ClassVar[str] = "contrastive"
    kinds: ClassVar[frozenset[Kind]] = frozenset({"classification"})

    def __post_init__(self) -> None:
        if self.mixup or self.cutmix or self.label_smoothing:
            raise UsageError(
                "contrastive compares whole examples: it takes no mixup, cutmix or label_smoothing."
            )
        if self.batch < 2:
            raise UsageError(f"Pairs need a batch of at least 2 examples, not {self.batch}.")
        if self.steps is not None and self.steps < 1:
            raise UsageError(f"An epoch has at least 1 step, not {self.steps}.")

    def settled(self, encoder: "Encoder", subject: Subject) -> Self:
        """Return the settings with nothing left open that depends on the method."""
        from retarget.methods.modes import has_attention

        usual = ATTENTION_LR if has_attention(encoder) else CONVOLUTION_LR
        return replace(
            self,
            epochs=1 if self.epochs is None else self.epochs,
            lr=usual if self.lr is None else self.lr,
            steps=steps_for(len(subject.labels), self.batch) if self.steps is None else self.steps,
            from_layer="all" if self.from_layer is None else self.from_layer,
        )

    def begin(self, encoder: "Encoder", subject: Subject) -> Ready:
        """Return the encoder with a probe of its frozen features."""
        from retarget.methods.pairs import PairLesson
        from retarget.methods.start import headed

        probe = Probe(class_weight=self.class_weight)
        groups = trained_groups(encoder.groups(), self.from_layer)
        names = tuple(f"encoder.{name}" for group in groups for name in group.parameters)
        # The head is no parameter that gradients reach, but a training keeps it as if it were.
        parts = (Part(HEAD), *([Part(names)] if names else []))
        lesson = PairLesson(self.steps or steps_for(len(subject.labels), self.batch), probe)
        return Ready(headed(encoder, subject, probe), parts, lesson=lesson)


def steps_for(examples: int, batch: int) -> int:
    """Return how many steps of a batch suit a number of examples."""
    seen = int(np.clip(SEEN_EACH * examples, FEWEST_SEEN, MOST_SEEN))
    return max(1, round(seen / min(batch, max(examples, 2))))
