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
    try:
        split = _cut(trainee, trained, how, epochs)
        if split is not None:
            cached = _cached(feeding, trainee, split, trained, subject, how, epochs)
            trainee.split, feeding.cached = split, cached
    except (_NotCached, SourceError, UsageError, OSError) as why:
        feeding.notes.append(f"Nothing was cached: {str(why).removesuffix('.')}.")


class _NotCached(Exception):  # noqa: N818 - a fact about a training
    """Nothing is to be cached. Its text is the reason."""


def _cut(trainee: Trainee, trained: Collection[str], how: Training, epochs: int) -> Split | None:
    """Return where the trainee could be cut, `None` where nothing asks for it."""
    layers = frozen_layers(trainee, trained)
    if not layers or how.views == 0 or epochs < 1:
        return None
    if how.cutmix:
        raise _NotCached("cutmix pastes inputs, not activations")
    split = _split(trainee.encoder, layers)
    if split is None:
        raise _NotCached("this model can't be cut behind a frozen layer")
    return split


def _cached(
    feeding: Feeding,
    trainee: Trainee,
    split: Split,
    trained: Collection[str],
    subject: Subject,
    how: Training,
    epochs: int,
) -> Activations:
    """Return the activations behind a cut, after telling what they take, if that fits and pays."""
    encoder, device = trainee.encoder, next(trainee.parameters()).device
    views = 0 if not feeding.plain.strength else _views(how, epochs)
    needed = estimate(subject.inputs, split, views)
    if not needed.fits:
        raise _NotCached(
            f"activations of {split.layer} take {needed.megabytes:,.0f} MB, and "
            f"{max(needed.limit, 0) / 1e6:,.0f} MB are allowed"
        )
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
        raise _NotCached(
            f"in {epochs} epochs with {views or 'no'} changed views of each example, keeping what "
            f"{split.layer} gives costs more than it saves"
        )
    tell(
        f"{subject.title}: activations of {split.layer} are kept on disk, at most "
        f"{needed.megabytes:,.0f} MB."
    )
    key = _prefix_key(encoder, trained, subject, split.layer)
    return Activations(feeding.plain, split, count=views, key=key, device=device)


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
