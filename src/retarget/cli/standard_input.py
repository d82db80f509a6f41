"""Lines of standard input, in whatever encoding they come."""

import io
import sys
from collections.abc import Iterator

from retarget.cli.output import warn
from retarget.core.errors import DataError
from retarget.core.text import count, listed_lines

_LONGEST_MARK = 4
_MARK = "\ufeff"


def standard_input(encoding: str | None, inline: bool) -> Iterator[str]:
    """Give the lines of standard input, and say at the end how many had bytes of no encoding.

    They are in the encoding stated, else in UTF-8, 16 or 32 by the mark they begin with, else in
    UTF-16 by the form of the first bytes, else in the system's encoding; bytes that are not in
    this go through as surrogates: a path may hold any.

    Args:
        encoding: what a person stated.
        inline: whether lines are inputs themselves, not paths.

    Raises:
        DataError: no such encoding, or one whose order of bytes nothing tells.
    """
    from retarget.tasks.encodings import name_of

    told = _codec(_head(), encoding)
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(encoding=told, errors="replace" if told else "surrogateescape")
    bad: list[int] = []
    for number, line in enumerate(_lines(), start=1):
        if inline and _is_bad(line, told is not None):
            bad.append(number)
        yield line
    if bad:
        read = (
            f"not {name_of(told)}, read with � in their place"
            if told
            else ("not UTF-8, read as Windows-1252; state another encoding with --encoding NAME")
        )
        warn(f"{count(len(bad), 'line')} with bytes that are {read} ({listed_lines(bad)}).")


def _head() -> bytes:
    """Return the first bytes, which stay to be read."""
    buffered = getattr(sys.stdin, "buffer", None)
    return buffered.peek(_LONGEST_MARK) if isinstance(buffered, io.BufferedReader) else b""


def _codec(head: bytes, encoding: str | None) -> str | None:
    from retarget.tasks.encodings import marked_codec, stated_codec, wide_codec

    pairs = head[: len(head) // 2 * 2]  # what is there so far may end inside of one
    if encoding is not None:
        return stated_codec(pairs, encoding)
    return wide_codec(pairs) or marked_codec(head)


def _lines() -> Iterator[str]:
    """Give the lines, without a mark before the first."""
    try:
        for number, line in enumerate(sys.stdin or ()):
            yield line if number else line.removeprefix(_MARK)
    except UnicodeError as error:
        raise DataError(
            f"Standard input can't be read in the encoding stated ({error}). Without a mark, name"
            " the order of its bytes too, such as --encoding utf-16-le or utf-16-be."
        ) from None


def _is_bad(line: str, replaced: bool) -> bool:
    if line.isascii():
        return False
    return "\ufffd" in line if replaced else any("\udc80" <= c <= "\udcff" for c in line)
