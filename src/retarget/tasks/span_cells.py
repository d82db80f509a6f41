"""Spans that are written out in a cell of a table, as JSON or as Python writes a list."""

import ast
import json
from collections.abc import Sequence
from typing import Any

from retarget.tasks.targets import as_spans, is_missing

_LONGEST = 1_000_000


def spans_in_cells(labels: Sequence[Any]) -> list[Any]:
    """Return labels with `[[0, 5, "PER"]]` in the place of the text that says so.

    They are read so if at least half of those that say anything are lists of spans, and one is not
    empty; what is no such list then stays as it is, which makes it a bad target.
    """
    told = [label for label in labels if not is_missing(label)]
    if not told or not any(isinstance(one, str) and one.lstrip()[:1] == "[" for one in told):
        return list(labels)
    read = [_spans(label) for label in labels]
    found = [spans for spans in read if spans is not None]
    if 2 * len(found) < len(told) or not any(found):
        return list(labels)
    return [label if spans is None else spans for label, spans in zip(labels, read, strict=True)]


def _spans(label: Any) -> list[Any] | None:
    """Return the spans that a cell is or spells, `None` for anything else."""
    if isinstance(label, str) and label.lstrip()[:1] == "[" and len(label) <= _LONGEST:
        label = _read(label.strip())
    spans = as_spans(label)
    return None if spans is None else list(spans)


def _read(cell: str) -> Any:
    try:
        return json.loads(cell)
    except (ValueError, RecursionError):
        pass
    try:
        # A frame that is written as CSV spells lists so. This reads values and runs nothing.
        return ast.literal_eval(cell)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return None
