"""Files of one text each, read once: what they say, and in which encodings they were."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from retarget.core.errors import UnreadableInput
from retarget.core.progress import progress
from retarget.tasks.encodings import Decoded, folder_problems, told_encodings
from retarget.tasks.opened import Opened
from retarget.tasks.texts import read_text_file


def read_files(
    references: Sequence[Any], names: Sequence[str], encoding: str | None = None
) -> Opened:
    """Return n references, paths read as texts in the encoding stated or as each file's bytes say.

    What can't be read stays a path, of which identifying it says what is wrong; so does `.json`,
    which says how it is to be read.
    """
    inputs: list[Any] = []
    read: list[tuple[str, Decoded]] = []
    with progress("Reading", len(names), "texts") as meter:
        for name, reference in zip(names, references, strict=True):
            meter.advance()
            inputs.append(reference)
            if not isinstance(reference, Path) or reference.suffix.lower() == ".json":
                continue
            try:
                decoded = read_text_file(reference, encoding)
            except UnreadableInput:
                continue
            inputs[-1] = decoded.text
            read.append((name, replace(decoded, text="")))
    return Opened(inputs, told_encodings([one for _, one in read]), tuple(folder_problems(read)))
