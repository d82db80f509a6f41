"""Targets: from what people wrote to arrays, and the rule that says what kind they are."""

import math
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np

from retarget.core.errors import DataError
from retarget.core.text import count, printable
from retarget.core.types import FloatArray, IntArray, Kind
from retarget.tasks.task import Problem
from retarget.tasks.words import Span

MANY_VALUES = 20
MOSTLY = 0.95
SEPARATOR = "|"
# Features and weights are float32: beyond this their products overflow.
LARGEST = 1e24


@dataclass(frozen=True)
class Targets:
    """Targets as `Examples` holds them, and how they came about.

    `bad` are the rows whose target could not be understood; they count as unlabelled.
    """

    kind: Kind
    classes: tuple[str, ...]
    values: IntArray | FloatArray
    why: str
    bad: tuple[int, ...] = ()


def read_targets(raw: Sequence[Any], kind: Kind | None = None, target: str = "target") -> Targets:
    """Return the targets of n examples from what was written.

    Args:
        raw: n values: text, numbers, lists of labels, or None, "" and NaN where unlabelled.
        kind: what they are; told by `kind_of` otherwise.
        target: the name of the target, which is the one "class" of a regression.
    """
    values = [None if is_missing(value) else value for value in raw]
    if kind is None:
        kind, why = kind_of([value for value in values if value is not None])
    else:
        shown = "spans of text" if kind == "tagging" else kind
        why = f"the targets are {shown}, as asked"
    if kind == "classification":
        return _classification(values, why)
    if kind == "multilabel":
        return _multilabel(values, why)
    if kind == "regression":
        return _regression(values, why, target)
    if kind == "tagging":
        return _tagging(values, why)
    raise DataError(
        f"There is no kind of target {kind!r}. Choose {', '.join(get_args(Kind)[:-1])} or"
        f" {get_args(Kind)[-1]}."
    )


def kind_of(values: Sequence[Any]) -> tuple[Kind, str]:
    """Return what kind of target these values are, and the rule that said so.

    Lists of (start, end, label): tagging. Other lists, or `a|b` anywhere: multilabel.
    Numbers, where any has a fraction or there are more than
    20 different ones: regression, unless they are class numbers (0 to K − 1 without a gap, five
    or more of each; or written with leading zeros). Up to 5% that are no numbers don't change
    that, they are bad targets. Everything else: classification.
    """
    if not values:
        return "classification", "nothing is labelled"
    if any(_is_list(value) and len(value) and as_spans(value) is not None for value in values):
        return "tagging", "the targets are spans of text, because some are (start, end, label)"
    if any(_is_list(value) for value in values):
        return "multilabel", "the targets are multilabel, because some are lists"
    if any(isinstance(value, str) and SEPARATOR in value for value in values):
        return "multilabel", f"the targets are multilabel, because some hold {SEPARATOR!r}"
    numbers = [number for value in values if (number := as_number(value)) is not None]
    if len(numbers) < MOSTLY * len(values) or any(_zero_padded(value) for value in values):
        return "classification", "the targets are classes, because they are names"
    if any(not number.is_integer() for number in numbers):
        return "regression", "the targets are numbers, because some have a fraction"
    if len(numbers) < len(values):
        return "classification", "the targets are classes, because some are not numbers"
    counts = Counter(numbers)
    if len(counts) <= MANY_VALUES:
        shown = count(len(counts), "different whole number")
        return "classification", f"the targets are classes, because they are {shown}"
    if _class_numbers(counts):
        return "classification", (
            f"the targets are classes, because every number from 0 to {len(counts) - 1} occurs"
            " five times or more"
        )
    return "regression", (
        f"the targets are numbers, because there are {len(counts):,} different ones"
        f" (more than {MANY_VALUES})"
    )


def is_missing(value: Any) -> bool:
    """Whether a value means that the example is unlabelled: None, NaN, NaT, blank, `nan`."""
    if value is None:
        return True
    if isinstance(value, str):
        return value.strip() in ("", "nan", "NaN")
    if isinstance(value, (float, np.floating)):
        return math.isnan(value)
    return type(value).__name__ in ("NAType", "NaTType")


def as_number(value: Any) -> float | None:
    """Return the number that a value is or spells, else None.

    Truth values are none, nor is what is infinite or beyond 1e24 either way.
    """
    if isinstance(value, (bool, np.bool_)) or _is_list(value):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    # float() takes "1_000" for 1000, which people don't.
    if isinstance(value, str) and "_" in value:
        return None
    return number if abs(number) <= LARGEST else None


def class_name(value: Any) -> str:
    """Return a class's name as written: without space around it, in Unicode's composed form.

    Whole numbers lose a `.0`, which a column with gaps has added to them.
    """
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        value = int(value)
    if isinstance(value, bytes):
        value = value.decode("utf-8", "backslashreplace")
    text = str(value).encode("utf-8", "backslashreplace").decode()
    return unicodedata.normalize("NFC", text.strip())


def similar_classes(classes: Sequence[str]) -> tuple[Problem, ...]:
    """Return a problem for every set of classes that differ only by case or white space."""
    alike: dict[str, list[str]] = {}
    for name in classes:
        alike.setdefault(" ".join(name.casefold().split()), []).append(name)
    return tuple(
        Problem(
            "similar-classes",
            tuple(names),
            "The classes "
            + " and ".join(repr(printable(name)) for name in names)
            + " differ only by case or white space. They were kept apart; rename them if they"
            " are one.",
        )
        for names in alike.values()
        if len(names) > 1
    )


def _classification(values: Sequence[Any], why: str) -> Targets:
    bad = tuple(i for i, value in enumerate(values) if _is_list(value))
    names = ["" if value is None or _is_list(value) else class_name(value) for value in values]
    classes = _sorted_names({name for name in names if name})
    index = {name: i for i, name in enumerate(classes)}
    encoded = np.array([index.get(name, -1) for name in names], dtype=np.int64)
    return Targets("classification", classes, encoded, why, bad)


def _multilabel(values: Sequence[Any], why: str) -> Targets:
    sets = [None if value is None else _labels(value) for value in values]
    classes = _sorted_names({name for names in sets if names for name in names})
    index = {name: i for i, name in enumerate(classes)}
    encoded = np.zeros((len(values), len(classes)), dtype=np.float32)
    for row, names in enumerate(sets):
        if names is None:
            encoded[row] = np.nan
            continue
        for name in names:
            encoded[row, index[name]] = 1
    return Targets("multilabel", classes, encoded, why)


def _regression(values: Sequence[Any], why: str, target: str) -> Targets:
    numbers = [None if value is None else as_number(value) for value in values]
    bad = tuple(
        i
        for i, (value, number) in enumerate(zip(values, numbers, strict=True))
        if value is not None and number is None
    )
    encoded = np.array([np.nan if x is None else x for x in numbers], dtype=np.float64)
    return Targets("regression", (class_name(target) or "target",), encoded, why, bad)


def _labels(value: Any) -> set[str]:
    if isinstance(value, str):
        value = value.split(SEPARATOR)
    elif not _is_list(value):
        value = [value]
    return {name for item in value if not is_missing(item) and (name := class_name(item))}


def _tagging(values: Sequence[Any], why: str) -> Targets:
    read = [None if value is None else as_spans(value) for value in values]
    bad = tuple(
        i
        for i, (value, spans) in enumerate(zip(values, read, strict=True))
        if value is not None and spans is None
    )
    encoded: Any = np.empty(len(read), dtype=object)
    for i, spans in enumerate(read):
        encoded[i] = spans
    classes = _sorted_names({span.label for spans in read if spans for span in spans})
    return Targets("tagging", classes, encoded, why, bad)


def as_spans(value: Any) -> tuple[Span, ...] | None:
    """Return what is written as (start, end, label) as spans, sorted; `None` if any is not so.

    A span may also be a mapping of `start`, `end` and `label`. Numbers are characters.
    """
    if not isinstance(value, (list, tuple)):
        return None
    spans = []
    for item in value:
        if isinstance(item, Mapping):
            item = (item.get("start"), item.get("end"), item.get("label"))
        if not isinstance(item, (list, tuple)) or len(item) != 3:
            return None
        start, end, label = item
        if (
            not (_is_whole(start) and _is_whole(end))
            or not isinstance(label, str)
            or not class_name(label)
        ):
            return None
        spans.append(Span(int(start), int(end), class_name(label)))
    return tuple(sorted(spans))


def _is_whole(number: Any) -> bool:
    """Whether a number is whole; frames with gaps write whole ones with a fraction of 0."""
    if isinstance(number, (float, np.floating)):
        return float(number).is_integer()
    return isinstance(number, (int, np.integer)) and not isinstance(number, bool)


def _is_list(value: Any) -> bool:
    return isinstance(value, (list, tuple, set, frozenset)) or (
        isinstance(value, np.ndarray) and value.ndim > 0
    )


def _zero_padded(value: Any) -> bool:
    text = value.strip() if isinstance(value, str) else ""
    return len(text) > 1 and text.isdigit() and text[0] == "0"


def _class_numbers(counts: Counter[float]) -> bool:
    return set(counts) == {float(i) for i in range(len(counts))} and min(counts.values()) >= 5


def _sorted_names(names: Iterable[str]) -> tuple[str, ...]:
    """Sort by number where all are whole numbers, so that 2 comes before 10; else as text."""
    names = list(names)
    if all(name.removeprefix("-").isdecimal() for name in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))
