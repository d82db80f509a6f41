"""How the command line speaks: tables for people, one JSON document for machines."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console


def console() -> "Console":
    """Return the console for people: standard output."""
    from rich.console import Console

    return Console(highlight=False, markup=False, emoji=False)


@contextmanager
def shown_progress() -> Iterator[None]:
    """Show the progress of what happens inside on standard error, where that is a terminal."""
    from rich.console import Console

    from retarget.core.progress import listening
    from retarget.reports.terminal import TerminalProgress

    with listening(TerminalProgress(Console(stderr=True))):
        yield


def say(text: str) -> None:
    """Print one line for people, safe for any terminal."""
    from retarget.core.text import printable

    print(printable(text, 2_000))


def say_json(value: Any) -> None:
    """Print one JSON document on standard output."""
    print(json.dumps(value, ensure_ascii=False, allow_nan=False))


def fail(text: str, code: int, as_json: bool) -> int:
    """Say what went wrong on standard error, and as JSON where that was asked for."""
    from retarget.core.text import printable

    print(f"retarget: {printable(text, 2_000)}", file=sys.stderr)
    if as_json:
        say_json({"error": text})
    return code


def interrupted() -> int:
    """Say that the work was stopped, and what was kept."""
    print(
        "\nretarget: stopped. Features extracted so far are kept; the same command goes on from "
        "them.",
        file=sys.stderr,
    )
    return 130
