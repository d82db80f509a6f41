"""Text that came from files, made safe to show."""

import unicodedata

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
