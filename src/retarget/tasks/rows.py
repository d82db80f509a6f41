"""From what a reader found to a `Task`: identify, leave out what can't be read, understand."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from retarget.core.errors import DataError, UnreadableInput
from retarget.core.hashing import hash_bytes
from retarget.core.progress import progress
from retarget.core.text import count, printable
from retarget.core.types import FloatArray, Modality, StrArray
from retarget.tasks.encodings import name_of
from retarget.tasks.files import Files, taken
from retarget.tasks.ledger import Identified, Trouble, identify_files
from retarget.tasks.modalities import LOADERS, identify, load
from retarget.tasks.pixels import AnyArray
from retarget.tasks.readers import Asked, Rows
from retarget.tasks.tagged import as_tagging
from retarget.tasks.targets import (
    Targets,
    as_number,
    class_name,
    is_missing,
    read_targets,
    similar_classes,
)
from retarget.tasks.task import Examples, Problem, Task

SPLIT_WORDS: Mapping[str, str] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
    "": "",
}
_STRICT_DETAIL = 64
# Sums of weights are float32: beyond this, one side of a comparison would vanish or overflow.
HEAVIEST = 1e6


def build_task(rows: Rows, asked: Asked) -> Task:
    """Return the task that the rows make, with what can't be used left out, counted and named.

    Raises `DataError` where nothing is left, where columns don't have one value an example, and,
    if `asked.strict`, at the first example that can't be read.
    """
    rows = as_tagging(_with_columns_asked_for(rows, asked), asked)
    ids, troubles = _identify(rows)
    if asked.strict:
        _insist(rows, troubles)
    kept = np.array([i for i in range(len(rows.names)) if i not in troubles], dtype=np.int64)
    problems = [*rows.problems, *_left_out(rows, troubles)]
    if not len(kept):
        raise DataError(_nothing_left(rows, problems))
    if asked.encoding and not rows.read_as:
        raise DataError(
            f"The encoding {name_of(asked.encoding)} was stated, but nothing was read from files of"
            " text. Leave --encoding (encoding=…) out."
        )
    labels = [rows.labels[i] for i in kept]
    targets = _understood(labels, rows, asked)
    names = tuple(rows.names[i] for i in kept)
    splits, bad_splits = _splits(_column(rows.splits, kept), names)
    weights, bad_weights = _weights(_column(rows.weights, kept), names)
    problems += [*bad_splits, *bad_weights]
    if targets.bad:
        problems.append(_bad_targets(labels, targets.bad, names, targets.kind))
    if targets.kind != "regression":
        problems += similar_classes(targets.classes)
    examples = Examples(
        ids=np.array([ids[i] for i in kept], dtype=np.str_),
        names=names,
        inputs={name: taken(column, kept) for name, column in rows.inputs.items()},
        targets=targets.values,
        splits=splits,
        groups=_texts(_column(rows.groups, kept)),
        domains=_texts(_column(rows.domains, kept)),
        weights=weights,
    )
    return Task(
        name=asked.name or rows.name,
        inputs=dict(rows.modalities),
        kind=targets.kind,
        classes=targets.classes,
        examples=examples,
        problems=tuple(problems),
        layout=_sentence(rows.layout),
        why=_sentence("; ".join(filter(None, (rows.why, rows.read_as, targets.why)))),
        origin=rows.origin,
    )


def _understood(labels: Sequence[Any], rows: Rows, asked: Asked) -> Targets:
    if asked.kind is not None or rows.kind is None:
        return read_targets(labels, asked.kind, rows.target)
    why = "the targets are spans of text" if rows.kind == "tagging" else ""
    return replace(read_targets(labels, rows.kind, rows.target), why=why)


def _with_columns_asked_for(rows: Rows, asked: Asked) -> Rows:
    """Put columns that the user handed in beside the data over those that came with it."""
    given = {
        "labels": asked.targets,
        "groups": asked.groups,
        "splits": asked.splits,
        "domains": asked.domain_names,
        "weights": asked.weights,
    }
    changes: dict[str, Any] = {}
    for column, values in given.items():
        if values is None:
            continue
        listed = as_list(values)
        if len(listed) != len(rows.names):
            shown = "targets" if column == "labels" else column
            raise DataError(
                f"There are {count(len(listed), 'value')} in {shown} for"
                f" {count(len(rows.names), 'example')}. Give one value an example."
            )
        changes[column] = listed
    return replace(rows, **changes)


def as_list(values: Any) -> list[Any]:
    """Return a list, array, tensor or series as a list of Python values.

    A matrix of 0 and 1 gives the lists of the columns that are 1, `None` for a row with NaN.
    """
    if hasattr(values, "detach"):
        values = values.detach().cpu()
    if hasattr(values, "to_numpy"):
        values = values.to_numpy()
    elif hasattr(values, "numpy"):
        values = values.numpy()
    if not isinstance(values, np.ndarray):
        return list(values)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim == 2 and values.dtype.kind in "biuf" and _zeros_and_ones(values):
        return _indicated(values)
    return list(values.tolist())


def _zeros_and_ones(matrix: AnyArray) -> bool:
    return bool(((matrix == 0) | (matrix == 1) | (matrix != matrix)).all())


def _indicated(matrix: AnyArray) -> list[Any]:
    return [
        None if np.isnan(row).any() else np.flatnonzero(row).tolist()
        for row in matrix.astype(np.float64)
    ]


def _identify(rows: Rows) -> tuple[list[str], dict[int, Trouble]]:
    troubles: dict[int, Trouble] = {}
    columns: list[list[str]] = []
    for name, references in rows.inputs.items():
        identified = identify_column(references, rows.modalities[name])
        columns.append(list(identified.ids))
        for i, trouble in identified.troubles.items():
            troubles.setdefault(i, trouble)
    if len(columns) == 1:
        return columns[0], troubles
    joined = zip(*columns, strict=True)
    return [hash_bytes(*(part.encode() for part in parts)) for parts in joined], troubles


def identify_column(references: Sequence[Any], modality: Modality) -> Identified:
    """Return the content hash of every reference of one input, and which have none and why."""
    remembered = modality not in LOADERS or LOADERS[modality].of_bytes
    if isinstance(references, Files) and remembered:
        return identify_files(references)
    ids = [""] * len(references)
    troubles: dict[int, Trouble] = {}
    files = [i for i, one in enumerate(references) if remembered and isinstance(one, Path)]
    identified = identify_files([references[i] for i in files])
    for position, i in enumerate(files):
        ids[i] = identified.ids[position]
        if position in identified.troubles:
            troubles[i] = identified.troubles[position]
    for i, reference in enumerate(references):
        if remembered and isinstance(reference, Path):
            continue
        try:
            ids[i] = identify(modality, reference)
        except UnreadableInput as reason:
            troubles[i] = Trouble("unreadable", str(reason))
    return Identified(tuple(ids), troubles)


def _insist(rows: Rows, troubles: Mapping[int, Trouble]) -> None:
    """Read every example as far as it takes to know that it can be; raise at the first."""
    with progress("Checking", len(rows.names), "examples") as meter:
        for i, name in enumerate(rows.names):
            if i in troubles:
                raise DataError(_stopped(name, troubles[i].reason))
            for column, references in rows.inputs.items():
                try:
                    load(rows.modalities[column], references[i], _STRICT_DETAIL)
                except UnreadableInput as reason:
                    raise DataError(_stopped(name, str(reason))) from None
            meter.advance()


def _stopped(name: str, reason: str) -> str:
    return (
        f"{printable(name)} {reason}. Fix it or take it out, or leave out --strict (strict=True)"
        " to go on without it."
    )


def _left_out(rows: Rows, troubles: Mapping[int, Trouble]) -> list[Problem]:
    found: list[Problem] = []
    for kind in ("missing", "unreadable"):
        named = [
            (rows.names[i], troubles[i].reason)
            for i in sorted(troubles)
            if troubles[i].kind == kind
        ]
        found += _by_reason(kind, named, _noun(rows))
    return found


def _noun(rows: Rows) -> str:
    """Return what one example is called."""
    column, modality = next(iter(rows.modalities.items()))
    files = all(isinstance(one, Path) for one in rows.inputs[column][:1])
    return "file" if files or modality not in LOADERS else LOADERS[modality].noun


def _by_reason(kind: Any, named: Sequence[tuple[str, str]], noun: str) -> list[Problem]:
    """One problem for every reason, naming all that share it."""
    reasons: dict[str, list[str]] = {}
    for name, reason in named:
        reasons.setdefault(reason, []).append(name)
    return [
        Problem(
            kind,
            tuple(names),
            f"{printable(names[0])} {reason}. It was left out."
            if len(names) == 1
            else f"{count(len(names), noun)} (such as {printable(names[0])}): each {reason}."
            " They were left out.",
            left_out=True,
        )
        for reason, names in reasons.items()
    ]


def _nothing_left(rows: Rows, problems: Sequence[Problem]) -> str:
    where = printable(rows.origin or rows.name)
    if not problems:
        return (
            f"{where} holds no examples: it is empty, or has nothing but a header. Point to a"
            " folder of pictures or texts, or to a table with rows."
        )
    return f"{where} holds no example that can be read. {problems[-1].what}"


def _bad_targets(
    labels: Sequence[Any], bad: Sequence[int], names: Sequence[str], kind: str
) -> Problem:
    shown = printable(repr(labels[bad[0]]), 60)
    others = {"regression": "a number", "tagging": "a list of (start, end, label)"}
    wanted = others.get(kind, "one class")
    return Problem(
        "bad-target",
        tuple(names[i] for i in bad),
        f"{count(len(bad), 'target')} that can't be read as {wanted} (such as {shown}). What they"
        " belong to was kept as unlabelled.",
    )


def _sentence(clause: str) -> str:
    return f"{clause[:1].upper()}{clause[1:]}."


def _column(values: Sequence[Any] | None, kept: Any) -> list[Any]:
    return [None if values is None else values[i] for i in kept]


def _texts(values: Sequence[Any]) -> StrArray:
    return np.array(["" if is_missing(v) else class_name(v) for v in values], dtype=np.str_)


def _splits(values: Sequence[Any], names: Sequence[str]) -> tuple[StrArray, list[Problem]]:
    words = ["" if is_missing(v) else class_name(v) for v in values]
    read = [SPLIT_WORDS.get(word.lower()) for word in words]
    strange = [i for i, word in enumerate(read) if word is None]
    array = np.array([word or "" for word in read], dtype="<U5")
    if not strange:
        return array, []
    common = ", ".join(
        repr(printable(w)) for w, _ in Counter(words[i] for i in strange).most_common(3)
    )
    return array, [
        Problem(
            "bad-row",
            tuple(names[i] for i in strange),
            f"{count(len(strange), 'split')} other than train, val and test ({common}), read as not"
            " decided yet.",
        )
    ]


def _weights(values: Sequence[Any], names: Sequence[str]) -> tuple[FloatArray, list[Problem]]:
    weights = np.ones(len(values), dtype=np.float64)
    strange = []
    for i, value in enumerate(values):
        if is_missing(value):
            continue
        number = as_number(value)
        if number is None or not 1 / HEAVIEST <= number <= HEAVIEST:
            strange.append(i)
        else:
            weights[i] = number
    if not strange:
        return weights, []
    return weights, [
        Problem(
            "bad-row",
            tuple(names[i] for i in strange),
            f"{count(len(strange), 'weight')} not a number from {1 / HEAVIEST:g} to"
            f" {HEAVIEST:g} (such as {printable(repr(values[strange[0]]), 60)}), read as 1.",
        )
    ]
