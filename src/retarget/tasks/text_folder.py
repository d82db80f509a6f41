"""A folder of `.txt` files, read by the names of its folders."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from retarget.tasks.folder import Contents, read_folder
from retarget.tasks.readers import Asked, Reader, Rows, register_reader
from retarget.tasks.text_files import read_files
from retarget.tasks.text_tables import holds_pictures
from retarget.tasks.texts import SUFFIXES
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

        Each file is read once, here.
        """
        rows = read_folder(data, asked, _TEXTS)
        texts = read_files(rows.inputs["text"], rows.names, asked.encoding)
        problems = (*rows.problems, *texts.problems)
        return replace(
            rows, inputs={"text": texts.inputs}, problems=problems, read_as=texts.read_as
        )
