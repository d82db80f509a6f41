"""A folder of `.txt` files, read by the names of its folders."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from retarget.core.errors import UnreadableInput
from retarget.core.progress import progress
from retarget.tasks.folder import Contents, read_folder
from retarget.tasks.readers import Asked, Reader, Rows, register_reader
from retarget.tasks.task import Problem
from retarget.tasks.text_tables import holds_pictures
from retarget.tasks.texts import SUFFIXES, read_text_file, told_encoding
from retarget.tasks.tree import walk


def _is_text(path: str) -> bool:
    return Path(path).suffix.lower() in SUFFIXES


_TEXTS = Contents("text", "text", _is_text)


@register_reader
class TextFolderReader(Reader):
    """`CLASS/….txt`, `train|val|test/CLASS/…`, `DOMAIN/CLASS/…`, or texts without classes.

    A folder that also holds pictures is one of pictures.
    """

    name = "text-folder"
    rank = 80

    def recognises(self, data: Any, asked: Asked) -> str | None:
        """A path to a folder with a text and no picture in it."""
        if not isinstance(data, Path) or not data.is_dir() or holds_pictures(data):
            return None
        found, _ = walk(data, follow_links=asked.follow_links)
        texts = any(_is_text(file.path) for file in found)
        return "it is a folder of texts" if texts else None

    def read(self, data: Any, asked: Asked) -> Rows:
        """Return the texts in the folder, by the names of the folders above them.

        Each file is read once, here; what can't be read stays a path, of which identifying it
        says what is wrong.
        """
        rows = read_folder(data, asked, _TEXTS)
        inputs: list[Any] = []
        problems: list[Problem] = []
        with progress("Reading", len(rows.names), "texts") as meter:
            for name, path in zip(rows.names, rows.inputs["text"], strict=True):
                meter.advance()
                try:
                    decoded = read_text_file(path)
                except UnreadableInput:
                    inputs.append(path)
                    continue
                inputs.append(decoded.text)
                if decoded.bad:
                    where = tuple(f"{name} line {line}" for line in decoded.bad)
                    problems.append(Problem("encoding", where, told_encoding(name, decoded)))
        return replace(rows, inputs={"text": inputs}, problems=(*rows.problems, *problems))
