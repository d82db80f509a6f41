"""`Feeding`: what a training is fed with; activations, where the first layers are frozen."""

from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from contextlib import suppress
from itertools import chain

import torch
from torch import Tensor

from retarget.core.errors import SourceError, UsageError
from retarget.core.hashing import hash_bytes, hash_json
from retarget.core.progress import tell
from retarget.core.types import IntArray
from retarget.features.activations import Activations, estimate, pays
from retarget.features.prefix import multiply_adds
from retarget.features.views import Feed, Views
from retarget.methods.decisions import Decisions
from retarget.methods.settings import Training
from retarget.methods.trainee import Trainee
from retarget.methods.tuning import Subject
from retarget.sources.encoder import Encoder, Split

MOST_VIEWS = 4


class Feeding:
    """Batches for a trainee, which is cut while it is fed with activations.

    Where the disk fails while activations are cached, training goes on without them.

    Attributes:
        plain: feeds with inputs.
        cached: feeds with activations, where they are cached.
        notes: why nothing is cached, where something could have been.
    """

    def __init__(self, trainee: Trainee, subject: Subject, decided: Decisions) -> None:
        self.notes: list[str] = []
        self._trainee = trainee
        self.plain = Views(
            subject.inputs, trainee.encoder, seed=subject.seed, strength=decided.augment
        )
        self.cached: Activations | None = None

    @property
    def megabytes(self) -> float:
        """Of activations, on disk."""
        with suppress(OSError):
            return 0.0 if self.cached is None else self.cached.megabytes
        return 0.0

    def training(self, order: Sequence[IntArray], epoch: int) -> Generator[Tensor, None, None]:
        """Yield a batch for each array of rows, changed at random."""
        return self._fed(lambda feed: feed.training(order, epoch))

    def evaluation(self, order: Sequence[IntArray]) -> Generator[Tensor, None, None]:
        """Yield a batch for each array of rows, as at prediction."""
        return self._fed(lambda feed: feed.evaluation(order))

    def _fed(self, take: Callable[[Feed], Iterator[Tensor]]) -> Generator[Tensor, None, None]:
        if self.cached is None:
            yield from take(self.plain)
            return
        try:
            # The disk can fail until the first batch is there, and not later.
            stream = take(self.cached)
            first = next(stream, None)
        except OSError as error:
            self.cached, self._trainee.split = None, None
            self.notes.append(f"Training went on without cached activations: {error}.")
            yield from take(self.plain)
            return
        if first is not None:
            yield from chain([first], stream)


def cut_where_frozen(
    feeding: Feeding,
    trainee: Trainee,
    trained: Collection[str],
    subject: Subject,
    how: Training,
    epochs: int,
) -> None:
    """Cache what the frozen first layers give, and cut the trainee there, if that pays and fits.

    Args:
        feeding: takes the activations, or notes why not.
        trainee: on the device it trains on, its weights as at the start.
        trained: names of its parameters that any epoch trains.
        subject: what is learned from.
        how: whether, and with how many views.
        epochs: that will be run.
    """
    encoder = trainee.encoder
    try:
        layers = frozen_layers(trainee, trained)
        if not layers or how.views == 0 or epochs < 1:
            return
        if how.cutmix:
            feeding.notes.append("Nothing was cached: cutmix pastes inputs, not activations.")
            return
        split = _split(encoder, layers)
    except SourceError as error:
        feeding.notes.append(f"Nothing was cached: {error}")
        return
    if split is None:
        feeding.notes.append("Nothing was cached: this model can't be cut behind a frozen layer.")
        return
    views = 0 if not feeding.plain.strength else _views(how, epochs)
    needed = estimate(subject.inputs, split, views)
    if not needed.fits:
        feeding.notes.append(
            f"Nothing was cached: activations of {split.layer} take {needed.megabytes:,.0f} MB, "
            f"and {max(needed.limit, 0) / 1e6:,.0f} MB are allowed."
        )
        return
    device = next(trainee.parameters()).device
    saves = pays(
        epochs,
        views,
        learning=len(subject.learning),
        validation=len(subject.judging),
        operations=multiply_adds(encoder, split, device),
        row_bytes=needed.row_bytes,
        device=device.type,
    )
    if not saves:
        feeding.notes.append(
            f"Nothing was cached: in {epochs} epochs with {views or 'no'} changed views of each "
            f"example, keeping what {split.layer} gives costs more than it saves."
        )
        return
    tell(
        f"{subject.title}: activations of {split.layer} are kept on disk, at most "
        f"{needed.megabytes:,.0f} MB."
    )
    key = _prefix_key(encoder, trained, subject, split.layer)
    try:
        made = Activations(feeding.plain, split, count=views, key=key, device=device)
    except (OSError, UsageError) as error:
        feeding.notes.append(f"Nothing was cached: {error}.")
        return
    trainee.split, feeding.cached = split, made


def frozen_layers(trainee: Trainee, trained: Collection[str]) -> list[str]:
    """Return the layers up to which nothing is trained, shallow to deep, but for those that the
    head reads and what comes after. Raises `SourceError` for a model that can't be traced."""
    found: list[str] = []
    names = {name.removeprefix("encoder.") for name in trained if name.startswith("encoder.")}
    for group in trainee.encoder.groups():
        if group.layer in trainee.layers or names & set(group.parameters):
            break
        found.append(group.layer)
    return found


def _split(encoder: Encoder, layers: Sequence[str]) -> Split | None:
    """Return the encoder cut behind the deepest of the layers where it can be."""
    for layer in reversed(layers):
        with suppress(SourceError):
            return encoder.split_at(layer)
    return None


def _views(how: Training, epochs: int) -> int:
    return how.views if how.views is not None else max(1, min(MOST_VIEWS, epochs // 4))


def _prefix_key(encoder: Encoder, trained: Collection[str], subject: Subject, layer: str) -> str:
    """Return what names the activations behind a layer: all that decides them but the inputs."""
    frozen = {
        name: tensor
        for name, tensor in encoder.state_dict().items()
        if f"encoder.{name}" not in trained
    }
    digests = {
        name: hash_bytes(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
        for name, tensor in frozen.items()
    }
    return hash_json(
        {
            "source": subject.source.fingerprint,
            "weights": digests,
            "preprocessing": dict(encoder.preprocessing()),
            "layer": layer,
        }
    )
