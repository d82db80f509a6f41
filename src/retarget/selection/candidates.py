"""`Candidate`: one thing that could be transferred, and the list of all of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from retarget.core.errors import UsageError
from retarget.core.types import Kind
from retarget.features.table import Table
from retarget.methods.base import METHODS, Method, method
from retarget.methods.tuning import TUNINGS, Tuning

# A method by its name, or with settings: {"name": "finetune", "epochs": 5}.
Asked = str | Mapping[str, Any]

# `knn` is there by name; on frozen features it has not paid for its bank of examples.
DEFAULT_METHODS = ("probe", "prototype", "crf")


@dataclass(frozen=True)
class Candidate:
    """Layers of one source, given to one method, or a source to change the weights of."""

    source: str
    layers: tuple[str, ...]
    method: Method | Tuning


def methods_for(
    kind: Kind, asked: Sequence[Asked], class_weight: str | None = None
) -> tuple[Method, ...]:
    """Return those methods asked for that work on frozen features, or the usual ones.

    Raises:
        UsageError: an unknown method or setting, or a method that can't do this kind of target.
    """
    chosen: list[Method] = []
    for one in asked or DEFAULT_METHODS:
        name = name_of(one)
        if name in TUNINGS:
            continue
        weighs = name == "probe" and kind != "regression"
        usual = {"class_weight": class_weight} if weighs else {}
        # What was read from JSON or YAML has lists, and methods are compared and counted.
        own = {k: tuple(v) if isinstance(v, list) else v for k, v in _own(METHODS[name], one)}
        made = method(name, **{**usual, **own})
        if kind in made.kinds:
            if made not in chosen:
                chosen.append(made)
        elif asked:
            able = ", ".join(sorted(n for n, m in METHODS.items() if kind in m.kinds))
            raise UsageError(f"{name} can't do {kind}. Choose from: {able}.")
    return tuple(chosen)


def _own(cls: type[Method] | type[Tuning], asked: Asked) -> list[tuple[str, Any]]:
    """Return the settings that a method was asked for with. Raises `UsageError` for others."""
    own = [] if isinstance(asked, str) else [(k, v) for k, v in asked.items() if k != "name"]
    known = {f.name for f in fields(cls)}  # type: ignore[arg-type]  # methods are dataclasses
    if strange := sorted({name for name, _ in own} - known):
        raise UsageError(
            f"{cls.name} has no setting {', '.join(strange)}. It has {', '.join(sorted(known))}."
        )
    return own


def tunings_for(
    kind: Kind, asked: Sequence[Asked], settings: Mapping[str, Any]
) -> tuple[Tuning, ...]:
    """Return those methods asked for that change weights.

    Args:
        kind: of the target.
        asked: methods by name, or with settings of their own.
        settings: for all that know them, under what each has of its own.

    Raises:
        UsageError: a setting that a method doesn't have, a kind of target it can't do, or one
            method with two sets of settings.
    """
    made: list[Tuning] = []
    for one in asked:
        cls = TUNINGS.get(name_of(one))
        if cls is None:
            continue
        known = {f.name for f in fields(cls)}  # type: ignore[arg-type]  # tunings are dataclasses
        own = dict(_own(cls, one))
        if kind not in cls.kinds:
            raise UsageError(f"{cls.name} can't do {kind}.")
        tuning = cls(**{k: v for k, v in {**settings, **own}.items() if k in known})
        if any(before.name == tuning.name and before != tuning for before in made):
            raise UsageError(
                f"{tuning.name} is asked for twice with different settings. Give each a run of its "
                "own and compare them: retarget compare RUN RUN."
            )
        if tuning not in made:
            made.append(tuning)
    return tuple(made)


def name_of(asked: Asked) -> str:
    """Return the name of a method that was asked for. Raises `UsageError` where it has none."""
    name = asked if isinstance(asked, str) else asked.get("name")
    if not isinstance(name, str):
        raise UsageError("A method with settings needs its name: {'name': 'finetune', …}.")
    if name not in METHODS and name not in TUNINGS:
        known = ", ".join(sorted({*METHODS, *TUNINGS}))
        raise UsageError(f"There is no method {name!r}. Choose from: {known}.")
    return name


def described(method: Method | Tuning) -> dict[str, Any]:
    """Return what `methods_for` or `tunings_for` makes the same method of: its name and what is
    not as usual."""
    told = {
        f.name: getattr(method, f.name)
        for f in fields(method)  # type: ignore[arg-type]  # methods are dataclasses
        if getattr(method, f.name) != f.default
    }
    return {"name": method.name, **told}


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
