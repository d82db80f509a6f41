"""`own:NAME`: a user's own `nn.Module` with its own weights, registered by `@own_source`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from retarget.core.errors import SourceError, UsageError
from retarget.core.text import printable
from retarget.sources.blueprint import NAME, Blueprint
from retarget.sources.file_source import SavedSource
from retarget.sources.model_source import ModelSource
from retarget.sources.randomised import RandomSource
from retarget.sources.recipe import Recipe
from retarget.sources.registry import register
from retarget.sources.sized import SizedSource
from retarget.sources.source import Facts, Source
from retarget.sources.tuned import TunedSource

if TYPE_CHECKING:
    from torch import Tensor, nn

Builder = TypeVar("Builder", bound="Callable[[], nn.Module]")

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Own:
    """A registered function.

    Attributes:
        builder: returns the module with its weights.
        recipe: how pictures enter it; `None` where it returns an `Encoder`, which says so itself.
        arguments: what is written into files beside the name.
    """

    name: str
    builder: "Callable[[], nn.Module]"
    recipe: Recipe | None
    facts: Facts
    arguments: Mapping[str, Any]


_REGISTERED: dict[str, Own] = {}


def own_source(
    name: str,
    *,
    size: int | None = None,
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
    recipe: Recipe | None = None,
    title: str = "",
    trained_on: str = "",
    licence: str = "",
    edition: int = 1,
) -> Callable[[Builder], Builder]:
    """Make the function below it known as the source `own:NAME`.

    The function takes nothing and returns a `torch.nn.Module` with its weights loaded. The
    module maps pictures (b, 3, h, w) to vectors (b, d), or to a map or tokens, whose mean is taken;
    its layers are found by its structure. Or it is an `Encoder`, which says all that itself.

    Args:
        name: letters, digits, `_`, `.` and `-`.
        size: pixels of a side; pictures are resized and cut in the middle to fill the square.
        mean: of the normalisation, (3,) of 0 to 1; with `std`, those of ImageNet if not given.
        std: of the normalisation, (3,) above zero.
        recipe: the whole preprocessing, instead of `size`, `mean` and `std`.
        title: for people, such as "My network".
        trained_on: for people.
        licence: for people.
        edition: count it up when the module's code changes and its weights don't, so that features
            of the old code aren't taken for those of the new one.

    Raises `UsageError` for a name or numbers that can't be.
    """
    if not NAME.fullmatch(name):
        raise UsageError(f"{printable(name)!r} is no name of a source, such as my-net.")
    own_recipe = recipe if recipe is not None or size is None else _recipe(size, mean, std)
    facts = Facts("image", title or name, trained_on, licence)

    def keep(builder: Builder) -> Builder:
        _REGISTERED[name] = Own(name, builder, own_recipe, facts, {"edition": edition})
        return builder

    return keep


def _recipe(size: int, mean: Sequence[float], std: Sequence[float]) -> Recipe:
    record = {
        "size": [size, size],
        "resize": {"how": "shorter", "to": [size, size]},
        "crop": {"offset": "round", "fill": [0, 0, 0]},
        "interpolation": "bilinear",
        "mean": list(mean),
        "std": list(std),
    }
    try:
        return Recipe.from_record(record)
    except SourceError as error:
        raise UsageError(f"@own_source: {error}") from error


def registered(name: str) -> Own:
    """Return what is registered under a name. Nothing is imported to find it. `SourceError`."""
    if name not in _REGISTERED:
        raise SourceError(
            f"own:{name} is not known in this process. Import the module whose function stands "
            f'under @own_source("{name}") first: its code is not kept with the weights.'
        )
    return _REGISTERED[name]


class OwnSource(ModelSource):
    """A registered function's module."""

    def __init__(self, own: Own) -> None:
        self.own = own
        self.uri = f"own:{own.name}"

    @property
    def facts(self) -> Facts:
        """What was said of it."""
        return self.own.facts

    @cached_property
    def blueprint(self) -> Blueprint:
        """The function's name and the recipe."""
        return Blueprint("own", self.own.name, self.own.arguments, self.own.recipe)

    @cached_property
    def _tensors(self) -> "dict[str, Tensor]":
        from retarget.sources.own_encoder import own_tensors

        return own_tensors(self.own)

    def weights_digest(self) -> str:
        """Return the digest of the tensors. Runs the user's function, once."""
        from retarget.sources.own_encoder import digest

        return digest(self._tensors)

    def weights(self) -> "Mapping[str, Tensor]":
        """Return the tensors that the user's function loaded."""
        return self._tensors


def importable(source: Source) -> str | None:
    """Return the module whose import registers what a source needs, `None` where it needs none or
    was defined in a script or notebook."""
    module = _module_of(source)
    return None if module == "__main__" else module


def in_script(source: Source) -> bool:
    """Return whether a source needs what was registered in a script or notebook."""
    return _module_of(source) == "__main__"


def _module_of(source: Source) -> str | None:
    while isinstance(source, (SizedSource, RandomSource, TunedSource)):
        source = source.origin if isinstance(source, TunedSource) else source.inner
    if not isinstance(source, (OwnSource, SavedSource)) or source.blueprint.library != "own":
        return None
    own = _REGISTERED.get(source.blueprint.architecture)
    module = getattr(own and own.builder, "__module__", None)
    return None if module is None else str(module)


@register("own")
def own_registered(name: str) -> Source:
    """Return `own:NAME`."""
    if name not in _REGISTERED:
        known = ", ".join(f"own:{known}" for known in sorted(_REGISTERED)) or "none yet"
        raise UsageError(
            f"There is no source own:{printable(name)} (known: {known}). Import the module whose "
            f'function stands under @own_source("{printable(name)}") first.'
        )
    return OwnSource(_REGISTERED[name])
