"""`Lora`: small adapters are trained beside frozen weights, and merged into them at the end."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from retarget.core.errors import UsageError
from retarget.methods.finetune import trained_groups
from retarget.methods.probe import Probe
from retarget.methods.settings import Part
from retarget.methods.tuning import Subject, register_tuning
from retarget.methods.tunings import HEAD, GradientTuning, Ready

if TYPE_CHECKING:
    from pathlib import Path

    from retarget.sources.encoder import Encoder

Adapter = Literal["lora", "dora", "ia3"]

# Peak learning rates with and without attention in the encoder: of matrices that start at zero,
# and of factors that start at one.
RATES: dict[Adapter, tuple[float, float]] = {
    "lora": (1e-3, 5e-3),
    "dora": (1e-3, 5e-3),
    "ia3": (1e-2, 1e-2),
}
HEAD_LR = 1e-2
# Ranks by the number of labels, and what share of all parameters may be trained by default.
RANKS = ((200, 4), (2_000, 8))
LARGEST_RANK = 16
MOST_TRAINED = 0.05


@register_tuning
@dataclass(frozen=True, kw_only=True)
class Lora(GradientTuning):
    """Low-rank adapters: a layer x ↦ Wx becomes Wx + (alpha / rank) B A x, where only A and B
    are trained. Hu et al. 2022, LoRA: low-rank adaptation of large language models.

    They are put at every linear layer and every convolution that isn't divided into groups, found
    by their types: in CNNs those are above all the pointwise ones. Needs the package `peft`.

    Attributes:
        kind: "lora"; "dora", with a length for each output (Liu et al. 2024, DoRA); "ia3", a
            factor for each output and nothing else (Liu et al. 2022, Few-shot parameter-efficient
            fine-tuning is better and cheaper than in-context learning).
        rank: of LoRA and DoRA; `None` for 4, 8 or 16 by the number of labels, less where more
            than 5% of all parameters would be trained.
        alpha: strength of what is added; `None` for twice the rank.
        dropout: of what goes into the adapters, 0 to 1.
        from_layer: first layer that gets adapters, as in `FineTune`; `None` for all.
        probe_first: as in `FineTune`.
    """

    kind: Adapter = "lora"
    rank: int | None = None
    alpha: float | None = None
    dropout: float = 0.0
    from_layer: str | int | None = None
    probe_first: bool = True
    name: ClassVar[str] = "lora"

    def __post_init__(self) -> None:
        if self.rank is not None and self.rank < 1:
            raise UsageError(f"The rank of an adapter is at least 1, not {self.rank}.")
        if not 0.0 <= self.dropout < 1.0:
            raise UsageError(f"Dropout is from 0 to below 1, not {self.dropout}.")

    def settled(self, encoder: "Encoder", subject: Subject) -> Self:
        """Return the settings with nothing left open that depends on the method."""
        from retarget.methods.modes import has_attention

        attention, others = RATES[self.kind]
        usual = attention if has_attention(encoder) else others
        rank = self.rank
        if rank is None and self.kind != "ia3":
            from retarget.methods.adapters import largest_rank

            labels = len(subject.inputs)
            wanted = next((r for most, r in RANKS if labels <= most), LARGEST_RANK)
            rank = largest_rank(encoder, self, wanted, subject.labels.outputs, MOST_TRAINED)
        return replace(
            self,
            rank=rank,
            alpha=2.0 * rank if self.alpha is None and rank is not None else self.alpha,
            lr=usual if self.lr is None else self.lr,
            head_lr=HEAD_LR if self.head_lr is None else self.head_lr,
            from_layer="all" if self.from_layer is None else self.from_layer,
        )

    def begin(self, encoder: "Encoder", subject: Subject) -> Ready:
        """Return the encoder with adapters in it, and its head as it starts."""
        from retarget.methods.adapters import put_in
        from retarget.methods.start import headed

        probe = Probe(class_weight=self.class_weight) if self.probe_first else None
        trainee = headed(encoder, subject, probe)
        groups = trained_groups(encoder.groups(), self.from_layer)
        adapters, names = put_in(encoder, self, groups, subject.seed)
        inside = tuple(f"encoder.{name}" for name in names)
        return Ready(trainee, (Part(HEAD), Part(inside)), adapters=adapters)

    def end(self, ready: Ready, folder: "Path | None") -> str:
        """Write the adapters in PEFT's format, then merge them into the encoder."""
        from retarget.methods.adapters import save

        written = "" if folder is None else save(ready.adapters, folder / "adapter")
        ready.adapters.merge_and_unload()
        return written


@register_tuning
@dataclass(frozen=True, kw_only=True)
class Dora(Lora):
    """LoRA with a trained length for each output: Liu et al. 2024, DoRA: weight-decomposed
    low-rank adaptation."""

    kind: Adapter = "dora"
    name: ClassVar[str] = "dora"


@register_tuning
@dataclass(frozen=True, kw_only=True)
class Ia3(Lora):
    """A factor for each output: Liu et al. 2022, (IA)³."""

    kind: Adapter = "ia3"
    name: ClassVar[str] = "ia3"
