"""Text that came from files, made safe to show."""

import unicodedata
from collections.abc import Sequence

_UNSAFE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def printable(text: str, limit: int = 200) -> str:
    """Return `text` without control, direction or surrogate characters, at most `limit` long.

    Such characters are shown as their escape (`\\x1b`), so a file name can't drive a terminal.
    """
    shown = "".join(
        c.encode("unicode_escape", "backslashreplace").decode()
        if unicodedata.category(c) in _UNSAFE
        else c
        for c in text
    )
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def count(number: int, noun: str, plural: str | None = None) -> str:
    """Return `1 image`, `2 images`, `1,234 images`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def listed_lines(numbers: Sequence[int]) -> str:
    """Return `line 2, lines 4 to 9`, of numbers in order; not all of more than three runs."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1][1:] = [number]
        else:
            runs.append([number])
    ends = [" to ".join(f"{number:,}" for number in run) for run in runs]
    return listed([f"lines {told}" if " " in told else f"line {told}" for told in ends], 3)


def listed(names: Sequence[str], most: int = 12, limit: int = 60) -> str:
    """Return names for people, each at most `limit` long, and not all of more than `most`."""
    shown = [printable(name, limit) for name in names[:most]]
    return ", ".join(shown) + (", …" if len(names) > most else "") if shown else "none"
