"""Schemes of source URIs: who resolves them, what is here, what could be fetched."""

import difflib
import warnings
from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points

from retarget.core.errors import UsageError
from retarget.core.text import printable
from retarget.core.types import Modality
from retarget.sources.sized import SIZED, sized
from retarget.sources.source import Source

Resolver = Callable[[str], Source]
Lister = Callable[[], list[Source]]

GROUP = "retarget.sources"
_OWN = (
    "bundled", "pixels", "timm_source", "hf_source", "file_source", "randomised", "small", "own",
)  # fmt: skip

RESOLVERS: dict[str, Resolver] = {}
LISTERS: list[Lister] = []
PLAIN: dict[Modality, str] = {}
# What is taken where nothing is named and one source has to do.
USUAL: dict[Modality, str] = {"image": "bundled:efficientnet-lite0", "text": "bundled:minilm"}


def register(scheme: str) -> Callable[[Resolver], Resolver]:
    """Make a resolver of `scheme:REST` known: it is given REST and returns a `Source`.

    Example: `@register("zoo")` on `def zoo(rest: str) -> Source`. Packages name the module that
    does so in an entry point of the group `retarget.sources`.
    """

    def keep(resolver: Resolver) -> Resolver:
        RESOLVERS[scheme] = resolver
        return resolver

    return keep


def lists(lister: Lister) -> Lister:
    """Make a function known that returns sources worth offering, here or not."""
    LISTERS.append(lister)
    return lister


def plain(modality: Modality) -> Source | None:
    """Return the source that shows inputs as they are, without any learning, where there is one.

    It is the denominator that no model needs, and its first layer tells near-duplicates.
    """
    load_schemes()
    return resolve(PLAIN[modality]) if modality in PLAIN else None


@cache
def load_schemes() -> None:
    """Import our own schemes and those of entry points, once. A broken one is warned of."""
    for module in _OWN:
        import_module(f"retarget.sources.{module}")
    for point in entry_points(group=GROUP):
        try:
            point.load()
        except Exception as error:  # whatever another package does must not stop us
            warnings.warn(
                f"The source plug-in {point.name!r} ({point.value}) could not be loaded and is "
                f"left out: {type(error).__name__}: {error}",
                stacklevel=2,
            )


def schemes() -> list[str]:
    """Return the known schemes, sorted."""
    load_schemes()
    return sorted(RESOLVERS)


def resolve(uri: str) -> Source:
    """Return the source that `uri` names, as in `bundled:efficientnet-lite0`, without loading it.

    At the end `?size=N` gives any source of pictures another input size, in pixels.
    Raises `UsageError` for a scheme or a name that isn't known, naming those that are.
    """
    load_schemes()
    scheme, colon, rest = uri.partition(":")
    if colon and scheme in RESOLVERS and (match := SIZED.fullmatch(uri)):
        return sized(resolve(match[1]), match[2])
    if colon and scheme in RESOLVERS:
        return RESOLVERS[scheme](rest)
    known = ", ".join(f"{name}:" for name in schemes())
    raise UsageError(
        f"{printable(uri)!r} names no source.{_hint(uri)} A source is written SCHEME:NAME, with "
        f"one of the schemes {known}. `retarget sources` lists what there is."
    )


def _hint(uri: str) -> str:
    known = [source.uri for source in _listed()]
    close = difflib.get_close_matches(uri, known, n=1, cutoff=0.5)
    if not close and ":" not in uri:
        close = [name for name in known if uri and name.endswith(f":{uri}")][:1]
    return f" Did you mean {close[0]}?" if close else ""


def _listed() -> list[Source]:
    load_schemes()
    return [source for lister in LISTERS for source in lister()]


def available(modality: Modality = "image") -> list[Source]:
    """Return the pretrained sources for `modality` that are on this machine, cheapest first."""
    here = [s for s in _listed() if s.facts.here and s.facts.modality == modality]
    return sorted(here, key=_cost)


def fetchable(modality: Modality = "image") -> list[Source]:
    """Return well-known sources for `modality` that could be fetched, cheapest first."""
    away = [s for s in _listed() if not s.facts.here and s.facts.modality == modality]
    return sorted(away, key=_cost)


def _cost(source: Source) -> tuple[float, str]:
    return (source.facts.megabytes or float("inf"), source.uri)
