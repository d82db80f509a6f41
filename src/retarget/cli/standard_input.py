"""Lines of standard input, in whatever encoding they come."""

import io
import sys
from collections.abc import Iterator

from retarget.cli.output import warn
from retarget.core.text import count

_LONGEST_MARK = 4


def standard_input(encoding: str | None, inline: bool) -> Iterator[str]:
    """Give the lines of standard input, and say at the end how many had bytes of no encoding.

    They are in the encoding stated, else in that of the mark of UTF-8, 16 or 32 they begin with,
    else in the system's; bytes that are not in this go through as surrogates: a path may hold any.

    Args:
        encoding: what a person stated.
        inline: whether lines are inputs themselves, not paths.

    Raises:
        DataError: no such encoding.
    """
    from retarget.tasks.encodings import codec_of, marked_codec, name_of

    told = None if encoding is None else codec_of(encoding)
    if isinstance(sys.stdin, io.TextIOWrapper):
        buffered = sys.stdin.buffer
        head = buffered.peek(_LONGEST_MARK) if isinstance(buffered, io.BufferedReader) else b""
        told = told or marked_codec(head)
        sys.stdin.reconfigure(encoding=told, errors="replace" if told else "surrogateescape")
    bad: list[int] = []
    for number, line in enumerate(sys.stdin or (), start=1):
        if inline and _is_bad(line, told is not None):
            bad.append(number)
        yield line
    if bad:
        read = (
            f"not {name_of(told)}, read with � in their place"
            if told
            else ("not UTF-8, read as Windows-1252; state another encoding with --encoding NAME")
        )
        places = ", ".join(f"line {number:,}" for number in bad[:3])
        more = ", …" if len(bad) > 3 else ""
        warn(f"{count(len(bad), 'line')} with bytes that are {read} ({places}{more}).")


def _is_bad(line: str, replaced: bool) -> bool:
    if line.isascii():
        return False
    return "\ufffd" in line if replaced else any("\udc80" <= c <= "\udcff" for c in line)
