"""How results look in a notebook: a sentence and a table, with every name escaped."""

from collections.abc import Iterable, Sequence
from html import escape

from retarget.core.text import printable


def shown(sentence: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return HTML of a sentence and a table; texts are taken as they are, never as HTML."""
    head = "".join(f"<th>{_safe(name)}</th>" for name in columns)
    body = "".join(f"<tr>{''.join(f'<td>{_safe(cell)}</td>' for cell in row)}</tr>" for row in rows)
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f"<p><b>{_safe(sentence)}</b></p>{table}"


def interval(value: float, low: float, high: float) -> str:
    """Return a number with its interval."""
    return f"{value:.3g} ({low:.3g} to {high:.3g})"


def _safe(text: object) -> str:
    return escape(printable(str(text), 500))
