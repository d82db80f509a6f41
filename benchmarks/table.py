"""The one table that a benchmark prints."""

from collections.abc import Sequence


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return columns two spaces apart: the first to the left, all others to the right."""
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]

    def line(row: Sequence[str]) -> str:
        first, *others = zip(row, widths, strict=True)
        cells = [first[0].ljust(first[1]), *(text.rjust(width) for text, width in others)]
        return "  " + "  ".join(cells).rstrip()

    return "\n".join([line(head), *(line(row) for row in rows)])


def met(value: float, target: float | None, *, at_most: bool = False) -> str:
    """Return the target with whether it is met: `≥ 3.5 ok`, `< 0.4 MISSED`; "" without one."""
    if target is None:
        return ""
    good = value < target if at_most else value >= target
    return f"{'<' if at_most else '≥'} {target:g} {'ok' if good else 'MISSED'}"
