"""How the command line speaks: tables for people, one JSON document for machines."""

import io
import json
import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import TypeAdapter
    from rich.console import Console


@dataclass(frozen=True)
class Failed:
    """What a command prints that could not do its work."""

    error: str


def console() -> "Console":
    """Return the console for people: standard output."""
    from rich.console import Console

    return Console(highlight=False, markup=False, emoji=False)


@contextmanager
def shown_progress() -> Iterator[None]:
    """Show the progress of what happens inside on standard error, where that is a terminal."""
    from rich.console import Console

    from retarget.core.progress import listening
    from retarget.reports.progress import TerminalProgress

    with listening(TerminalProgress(Console(stderr=True))):
        yield


def say(text: str) -> None:
    """Print one line for people, safe for any terminal."""
    from retarget.core.text import printable

    print(printable(text, 2_000))


def say_json(document: Any) -> None:
    """Print a document of a type of `cli.documents` on standard output.

    What could not be measured is null. Letters that standard output can't write are escaped.
    """
    kind: Any = type(document)
    adapter = _adapter(kind)
    value = _finite(adapter.dump_python(document, mode="json", by_alias=True))
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(value, allow_nan=False)
    print(text)


@cache
def _adapter(kind: Any) -> "TypeAdapter[Any]":
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def _finite(value: Any) -> Any:
    """Return JSON-able data with null for NaN and infinities, which JSON does not have."""
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def any_terminal() -> None:
    """Have letters that the terminal can't write shown as their escape, not stop the work.

    A closed standard output or error takes everything and keeps nothing.
    """
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - open as long as the process
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - open as long as the process
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def silenced() -> None:
    """Send what is still to be written nowhere: the reader of standard output has gone."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def disk_trouble(error: OSError) -> str:
    """Return in one sentence what the system refused to read or write."""
    reason = error.strerror or str(error)
    # Of two, the second is where something was copied to.
    path = error.filename2 or error.filename
    what = f"{path} can't be read or written ({reason})" if path else reason
    return f"{what}. Mend that, and run the same command again: features are kept."


def warn(text: str) -> None:
    """Print one line for people on standard error, safe for any terminal."""
    from retarget.core.text import printable

    print(f"retarget: {printable(text, 2_000)}", file=sys.stderr)


def fail(text: str, code: int, as_json: bool) -> int:
    """Say what went wrong on standard error, and as JSON where that was asked for."""
    warn(text)
    if as_json:
        try:
            say_json(Failed(text))
            sys.stdout.flush()
        except OSError:
            silenced()
    return code


def interrupted(as_json: bool) -> int:
    """Say that the work was stopped, and what was kept."""
    told = "stopped. Features extracted so far are kept; the same command goes on from them."
    return fail(told, 130, as_json)
