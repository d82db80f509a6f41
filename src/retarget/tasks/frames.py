"""Tables in memory: pandas and polars frames, Hugging Face datasets. None is imported here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from retarget.core.errors import DataError
from retarget.core.text import count, printable
from retarget.core.types import Modality
from retarget.tasks.columns import find_columns, no_image_column, one_input, told
from retarget.tasks.memory import names_of, references_of
from retarget.tasks.readers import Asked, Reader, Rows, register_reader


@register_reader
class FrameReader(Reader):
    """A frame with a column of images (paths, PIL images, arrays) or texts, perhaps of labels."""

    name = "frame"
    rank = 20

    def recognises(self, data: Any, asked: Asked) -> str | None:
        """Whatever has `columns` that `data[column].to_list()` gives."""
        home = type(data).__module__.partition(".")[0]
        known = home in ("pandas", "polars") and hasattr(data, "columns")
        return f"it is a {home} frame" if known else None

    def read(self, data: Any, asked: Asked) -> Rows:
        """Return the rows in their order."""
        by_name = {str(column): column for column in data.columns}
        names = [str(column) for column in data.columns]
        repeated = {name for name in names if names.count(name) > 1}
        found = one_input(find_columns(names, asked.columns, repeated), asked.columns)
        if "image" not in found and "text" not in found:
            raise no_image_column("The frame", names)
        columns = {role: data[by_name[column]].to_list() for role, column in found.items()}
        return _rows(columns, found, f"A frame of {count(len(data), 'row')}", self, data, asked)


@dataclass(frozen=True)
class DatasetCell:
    """A picture in a Hugging Face dataset, fetched when it is read."""

    dataset: Any
    column: str
    row: int

    def read(self) -> Any:
        """Return the encoded picture, or the path or PIL image that stands for it."""
        return references_of("image", [self.dataset[self.row][self.column]])[0]


@register_reader
class DatasetReader(Reader):
    """A Hugging Face `Dataset`, or a `DatasetDict`, whose keys are the splits."""

    name = "dataset"
    rank = 10

    def recognises(self, data: Any, asked: Asked) -> str | None:
        """Whatever has `features` and `column_names`, or a dictionary of such."""
        parts = list(data.values()) if isinstance(data, dict) else [data]
        if parts and all(hasattr(p, "features") and hasattr(p, "column_names") for p in parts):
            return "it is a Hugging Face dataset"
        return None

    def read(self, data: Any, asked: Asked) -> Rows:
        """Return the examples of all splits; nothing is decoded yet."""
        parts: Mapping[str, Any] = data if isinstance(data, dict) else {"": data}
        columns: dict[str, list[Any]] = {}
        found: dict[str, str] = {}
        for split, part in parts.items():
            if not hasattr(part, "__len__"):
                raise DataError(
                    "A streaming dataset has no length. Load it without streaming=True."
                )
            found = find_columns(list(part.column_names), asked.columns)
            found = one_input(found, asked.columns)
            if "image" not in found and "text" not in found:
                raise no_image_column("The dataset", list(part.column_names))
            for role, values in _columns(part, found).items():
                columns.setdefault(role, []).extend(values)
            if isinstance(data, dict) and "split" not in asked.columns:
                start = columns.setdefault("split", [])
                start.extend([split] * len(part))
        size = sum(len(part) for part in parts.values())
        short = [role for role in columns if len(columns[role]) != size]
        if short:
            raise DataError(f"The column for {short[0]} is not in every split of the dataset.")
        total = count(size, "example")
        return _rows(columns, found, f"A dataset of {total}", self, data, asked)


def _columns(part: Any, found: Mapping[str, str]) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {}
    if "image" in found:
        image = found["image"]
        feature = part.features[image]
        if type(feature).__name__ == "Image":
            part = part.cast_column(image, type(feature)(decode=False))
        columns["image"] = [DatasetCell(part, image, row) for row in range(len(part))]
    for role, column in found.items():
        if role == "image":
            continue
        values = list(part[column])
        columns[role] = _named(values, part.features[column])
    return columns


def _named(values: Sequence[Any], feature: Any) -> list[Any]:
    """Return class numbers as names; −1, and what is no class number, as unlabelled."""
    names = getattr(feature, "names", None)
    if names is not None:
        return [
            names[value] if isinstance(value, int) and 0 <= value < len(names) else None
            for value in values
        ]
    inner = getattr(feature, "feature", None)
    if inner is not None:
        return [None if value is None else _named(value, inner) for value in values]
    return list(values)


def _rows(
    columns: Mapping[str, Sequence[Any]],
    found: Mapping[str, str],
    layout: str,
    reader: Reader,
    data: Any,
    asked: Asked,
) -> Rows:
    modality: Modality = "text" if "image" not in columns else "image"
    values = columns[modality]
    if modality == "text" and "text_b" in columns:
        values = list(zip(values, columns["text_b"], strict=True))
    references = references_of(modality, values)
    return Rows(
        name="data",
        names=names_of(references),
        inputs={modality: references},
        modalities={modality: modality},
        labels=columns.get("label", [None] * len(references)),
        splits=columns.get("split"),
        groups=columns.get("group"),
        domains=columns.get("domain"),
        weights=columns.get("weight"),
        target=printable(found.get("label", "target")),
        layout=layout,
        why=f"{reader.recognises(data, asked)}, and {told(found)}",
    )
