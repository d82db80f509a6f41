"""`Candidate`: one thing that could be transferred, and the list of all of them."""

from collections.abc import Sequence
from dataclasses import dataclass

from retarget.core.errors import UsageError
from retarget.core.types import Kind
from retarget.features.table import Table
from retarget.methods.base import METHODS, Method, method

# `knn` is there by name; on frozen features it has not paid for its bank of examples.
DEFAULT_METHODS = ("probe", "prototype")


@dataclass(frozen=True)
class Candidate:
    """Layers of one source, given to one method."""

    source: str
    layers: tuple[str, ...]
    method: Method


def methods_for(
    kind: Kind, names: Sequence[str], class_weight: str | None = None
) -> tuple[Method, ...]:
    """Return the methods called `names`, or the usual ones for the kind of target.

    Raises:
        UsageError: an unknown method, or one that can't do this kind of target.
    """
    chosen = []
    for name in names or DEFAULT_METHODS:
        weighs = name == "probe" and kind == "classification"
        made = method(name, **({"class_weight": class_weight} if weighs else {}))
        if kind in made.kinds:
            chosen.append(made)
        elif names:
            able = ", ".join(sorted(n for n, m in METHODS.items() if kind in m.kinds))
            raise UsageError(f"{name} can't do {kind}. Choose from: {able}.")
    return tuple(chosen)


def candidates(
    features: Sequence[Table], methods: Sequence[Method], layers: Sequence[str] = ()
) -> tuple[Candidate, ...]:
    """Return every source × every layer and all layers together × every method.

    Args:
        features: of the sources to choose from.
        methods: to choose from.
        layers: names to choose from instead; `last` is the deepest, `all` all together, and
            names joined by `+` are used together.

    Raises:
        UsageError: a layer that no source has.
    """
    found = [
        Candidate(f.uri, group, m)
        for f in features
        for group in _groups(f.layers, layers)
        for m in methods
    ]
    if not found:
        known = "; ".join(f"{f.uri}: {', '.join(f.layers)}" for f in features)
        raise UsageError(f"No source has a layer called {', '.join(layers)}. There are {known}.")
    return tuple(found)


def _groups(known: tuple[str, ...], wanted: Sequence[str]) -> list[tuple[str, ...]]:
    if not wanted:
        singles: list[tuple[str, ...]] = [(name,) for name in known]
        return [*singles, known] if len(known) > 1 else singles
    groups: list[tuple[str, ...]] = []
    for name in wanted:
        group = {"last": known[-1:], "all": known}.get(name, tuple(name.split("+")))
        if set(group) <= set(known) and group not in groups:
            groups.append(group)
    return groups
