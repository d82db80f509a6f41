"""`FineTune`: the encoder's own weights are trained, all or some, each depth at its own pace."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from retarget.core.errors import UsageError
from retarget.methods.probe import Probe
from retarget.methods.schedule import epochs_for
from retarget.methods.settings import Part
from retarget.methods.tuning import Subject, register_tuning
from retarget.methods.tunings import HEAD, GradientTuning, Ready

if TYPE_CHECKING:
    from retarget.sources.encoder import Encoder, Group

Which = Literal["all", "biases", "norms"]

# Peak learning rate where little is trained, which then has far to go. All else: the loop's.
FEW_WEIGHTS_LR = 2e-3
# What part of the deepest layer's learning rate the shallowest one has. Measured on two tasks:
# better than one rate for all, where the source is near and where it is far.
SHALLOWEST = 0.1
# A step on an example takes about so many passes of an extraction, whose time was measured. Where
# less than so many epochs of everything fit the time given, the last depths are trained, before
# which all is computed once.
STEP_PASSES, ENOUGH_EPOCHS, LAST_DEPTHS = 8.0, 10, 2
# Under gradual unfreezing the last group joins after this share of the epochs.
UNFROZEN_BY = 0.5


@register_tuning
@dataclass(frozen=True, kw_only=True)
class FineTune(GradientTuning):
    """Fine-tuning. `None` means: by the number of labels and the kind of encoder.

    Attributes:
        from_layer: name of the first layer that is trained, or how many of the last ones, or
            "all". What lies before it stays as it is, and is computed once where that pays. If
            not said all, or the last two depths where a limit of time is too short for ten epochs
            of all.
        gradual: unfreeze from the top, one depth after another, over the first half of the epochs
            (Howard and Ruder 2018, Universal language model fine-tuning).
        layer_decay: what the learning rate is multiplied by from one depth to the one below it
            (Clark et al. 2020, ELECTRA); 1 for none. `None` leaves the shallowest a tenth.
        probe_first: the head starts as a probe of the frozen features (Kumar et al. 2022,
            Fine-tuning can distort pretrained features); otherwise it starts at zero.
        mix: mix the tuned weights with those at the start, head included, by the share that has
            the lowest validation loss (Wortsman et al. 2022, Robust fine-tuning of zero-shot
            models).
        keep_mixes: keep the encoders of the shares 0.25, 0.5, 0.75 and 1 as well.
        train: all parameters, biases (Ben Zaken et al. 2022, BitFit), or those of norms.
    """

    from_layer: str | int | None = None
    gradual: bool = False
    layer_decay: float | None = None
    probe_first: bool = True
    mix: bool = True
    keep_mixes: bool = False
    train: Which = "all"
    name: ClassVar[str] = "finetune"

    def __post_init__(self) -> None:
        if self.layer_decay is not None and not 0 < self.layer_decay <= 1:
            raise UsageError(f"layer_decay is above 0 and at most 1, not {self.layer_decay}.")

    def settled(self, encoder: "Encoder", subject: Subject) -> Self:
        """Return the settings with nothing left open that depends on the method."""
        everything, decay = self.train == "all", self.layer_decay
        if decay is None:
            depths = len(trained_groups(encoder.groups(), "all"))
            decay = SHALLOWEST ** (1.0 / max(depths - 1, 1)) if everything else 1.0
        return replace(
            self,
            epochs=epochs_for(len(subject.inputs)) if self.epochs is None else self.epochs,
            lr=FEW_WEIGHTS_LR if self.lr is None and not everything else self.lr,
            from_layer=self._first_layer(subject),
            layer_decay=decay,
        )

    def _first_layer(self, subject: Subject) -> str | int:
        """Return what was asked for; else all, or the last depths where the time is short."""
        if self.from_layer is not None:
            return self.from_layer
        table, limit = subject.table, subject.seconds
        if table is None or limit is None or self.train != "all":
            return "all"
        epoch = STEP_PASSES * table.seconds_per_example * len(subject.labels)
        return "all" if limit >= ENOUGH_EPOCHS * epoch else LAST_DEPTHS

    def begin(self, encoder: "Encoder", subject: Subject) -> Ready:
        """Return the encoder with its head as it starts."""
        from retarget.methods.start import headed

        probe = Probe(class_weight=self.class_weight) if self.probe_first else None
        chosen = trained_groups(encoder.groups(), self.from_layer)
        wanted = parameters_of(encoder, self.train)
        return Ready(headed(encoder, subject, probe), parts(self, chosen, wanted))

    @property
    def mixes(self) -> bool:
        """Whether the tuned weights are mixed with those at the start."""
        return self.mix

    @property
    def kept_shares(self) -> tuple[float, ...]:
        """Shares of the tuned weights whose encoders are kept as well."""
        return (0.25, 0.5, 0.75, 1.0) if self.mix and self.keep_mixes else ()


@register_tuning
@dataclass(frozen=True, kw_only=True)
class BitFit(FineTune):
    """Only biases are trained: Ben Zaken et al. 2022, BitFit."""

    train: Which = "biases"
    name: ClassVar[str] = "bitfit"


@register_tuning
@dataclass(frozen=True, kw_only=True)
class NormTuning(FineTune):
    """Only scales and shifts of norms are trained."""

    train: Which = "norms"
    name: ClassVar[str] = "norms"


def trained_groups(groups: "Sequence[Group]", from_layer: str | int | None) -> "tuple[Group, ...]":
    """Return the groups that are trained, those with parameters, shallow to deep.

    Raises:
        UsageError: no such layer.
    """
    held = tuple(g for g in groups if g.parameters)
    if from_layer in (None, "all"):
        return held
    if isinstance(from_layer, int):
        if not 0 <= from_layer <= len(held):
            raise UsageError(
                f"The last {from_layer} layers can't be trained: {len(held)} have weights."
            )
        return held[len(held) - from_layer :]
    names = [g.layer for g in groups]
    if from_layer not in names:
        raise UsageError(
            f"The encoder has no layer called {from_layer!r}. Choose from: {', '.join(names)}."
        )
    return tuple(g for g in groups[names.index(from_layer) :] if g.parameters)


def parts(how: FineTune, groups: "Sequence[Group]", wanted: frozenset[str]) -> tuple[Part, ...]:
    """Return the head and the groups from the top, each with its learning rate and its epoch."""
    found = [Part(HEAD)]
    decay, epochs = how.layer_decay or 1.0, how.epochs or 1
    for depth, group in enumerate(reversed(groups)):
        names = tuple(f"encoder.{name}" for name in group.parameters if name in wanted)
        later = int(depth * epochs * UNFROZEN_BY / len(groups)) if how.gradual else 0
        if names:
            found.append(Part(names, decay**depth, 1 + later))
    return tuple(found)


def parameters_of(encoder: "Encoder", which: Which) -> frozenset[str]:
    """Return the names of the parameters of that sort. Raises `UsageError` where there are none."""
    found = {
        f"{path}.{name}".lstrip(".")
        for path, module in encoder.named_modules()
        for name, _ in module.named_parameters(recurse=False)
        if which == "all"
        or (which == "biases" and name.endswith("bias"))
        or (which == "norms" and "norm" in type(module).__name__.lower())
    }
    if not found:
        raise UsageError(f"The encoder has no {which} that could be trained.")
    return frozenset(found)
