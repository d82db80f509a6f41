"""JSON lines with spans of characters, as annotation tools write them; Label Studio's export."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from retarget.core.errors import DataError
from retarget.core.text import count, listed, printable
from retarget.tasks.columns import find_columns
from retarget.tasks.encodings import decode, encoding_problems, told_encodings
from retarget.tasks.readers import Asked, Reader, Rows, register_reader
from retarget.tasks.tables import read_lines, read_table
from retarget.tasks.targets import as_spans, is_missing
from retarget.tasks.task import Problem
from retarget.tasks.texts import as_text
from retarget.tasks.tree import readable

_SUFFIXES = frozenset({".jsonl", ".ndjson"})
_LABELS = ("spans", "entities", "labels", "label")
_PEEKED = 1 << 20


@register_reader
class SpanReader(Reader):
    """JSON lines of `text` and `spans`: `[[start, end, label], …]`, or dictionaries of these.

    The spans may also be called `entities`, `labels` or `label`; `group`, `domain`, `split`,
    `weight` and `id` may stand beside them. A record without them is unlabelled; an empty list
    says that there are none.
    """

    name = "spans"
    rank = 40

    def recognises(self, data: Any, asked: Asked) -> str | None:
        """A path to JSON lines whose first records with a label have lists of spans.

        A column called `spans` or `entities` may be empty throughout.
        """
        if not isinstance(data, Path) or data.suffix.lower() not in _SUFFIXES:
            return None
        if not data.is_file() or "image" in asked.columns or asked.kind not in (None, "tagging"):
            return None
        found = _label_column(_records(data, asked), asked)
        return f"its records hold spans, in {printable(found)}" if found else None

    def read(self, data: Any, asked: Asked) -> Rows:
        """Return the texts and their spans, in the order of the lines."""
        table = read_table(data, asked.encoding)
        label = _label_column(_records(data, asked), asked)
        found = find_columns(list(table.columns), {**asked.columns, **_named(label)})
        if "text" not in found:
            raise DataError(
                f"{printable(data.name)} has no column named text. The columns are"
                f" {listed(list(table.columns))}. Name it with --column text=NAME."
            )
        columns = {role: list(table.columns[found[role]]) for role in found}
        return Rows(
            name=readable(data.stem),
            names=list(table.places),
            inputs={"text": [as_text(text) for text in columns["text"]]},
            modalities={"text": "text"},
            labels=columns.get("label", [None] * len(table.places)),
            splits=columns.get("split"),
            groups=columns.get("group"),
            domains=columns.get("domain"),
            weights=columns.get("weight"),
            kind="tagging",
            problems=table.problems,
            layout=f"The table {printable(data.name)}, one text a line with spans of characters",
            why=self.recognises(data, asked) or "",
            origin=str(data),
            read_as=told_encodings([table.read_as] if table.read_as else []),
        )


@register_reader
class LabelStudioReader(Reader):
    """Label Studio's JSON: a list of tasks with annotations, each a list of labelled regions.

    Of several annotations of a task the first that was not cancelled counts. A region is left out
    whose `text` is not what stands at its offsets: offsets of text with HTML mean something else.
    """

    name = "label-studio"
    rank = 41

    def recognises(self, data: Any, asked: Asked) -> str | None:
        """A path to JSON that begins with a list, and has annotations."""
        if not isinstance(data, Path) or data.suffix.lower() != ".json" or not data.is_file():
            return None
        head = _head(data, asked)
        looks = head.lstrip().startswith("[") and ('"annotations"' in head)
        return "it is an export of Label Studio" if looks else None

    def read(self, data: Any, asked: Asked) -> Rows:
        """Return the texts and their spans."""
        decoded = read_lines(data, asked.encoding)
        shown = printable(data.name)
        try:
            tasks = json.loads(decoded.text)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{shown} is not JSON ({printable(str(error), 100)}).") from error
        texts: list[Any] = []
        names: list[str] = []
        labels: list[Any] = []
        without: list[str] = []
        moved: list[str] = []
        for place, task in enumerate(tasks if isinstance(tasks, list) else []):
            written = _text_of(task)
            if written is None:
                without.append(f"task {place}")
                continue
            spans, strange = _regions(task, written)
            moved += [f"task {place}"] * strange
            names.append(f"task {place}")
            texts.append(written)
            labels.append(spans)
        return Rows(
            name=readable(data.stem),
            names=names,
            inputs={"text": texts},
            modalities={"text": "text"},
            labels=labels,
            kind="tagging",
            problems=(
                *encoding_problems(data.name, decoded),
                *_strange_tasks(shown, without, moved),
            ),
            layout=f"The export {shown}, one text a task with spans of characters",
            why=self.recognises(data, asked) or "",
            origin=str(data),
            read_as=told_encodings([decoded]),
        )


def _head(path: Path, asked: Asked) -> str:
    try:
        with path.open("rb") as stream:
            return decode(stream.read(_PEEKED), asked.encoding, cut=True).text
    except OSError:
        return ""


def _records(path: Path, asked: Asked) -> list[dict[str, Any]]:
    """Return the records of a file's beginning, without those that are none or cut."""
    found = []
    for line in _head(path, asked).split("\n"):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(record, dict):
            found.append({str(name).strip(): value for name, value in record.items()})
    return found


def _named(label: str | None) -> dict[str, str]:
    return {} if label is None else {"label": label}


def _label_column(records: list[dict[str, Any]], asked: Asked) -> str | None:
    """Return the column whose lists are mostly spans, `None` where there is none."""
    names = list(dict.fromkeys(name for record in records for name in record))
    if asked.columns.get("text") not in names and "text" not in find_columns(names, {}):
        return None
    for name in (asked.columns["label"],) if "label" in asked.columns else _LABELS:
        told = [r[name] for r in records if name in r and not is_missing(r[name])]
        read = [spans for value in told if (spans := as_spans(value)) is not None]
        sure = name in ("spans", "entities") or asked.kind == "tagging"
        if 2 * len(read) > len(told) and (sure or any(read)):
            return name
    return None


def _text_of(task: Any) -> str | None:
    """Return the text of a task: the value called `text`, or the only one that is a string."""
    data = task.get("data") if isinstance(task, Mapping) else None
    if not isinstance(data, Mapping):
        return None
    if isinstance(data.get("text"), str):
        return str(data["text"])
    strings = [value for value in data.values() if isinstance(value, str)]
    return strings[0] if len(strings) == 1 else None


def _regions(task: Mapping[str, Any], text: str) -> tuple[list[Any] | None, int]:
    """Return (start, end, label) of each region, `None` if unlabelled; and how many were not so."""
    given = task.get("annotations")
    kept = [
        one
        for one in (given if isinstance(given, list) else [])
        if isinstance(one, Mapping)
        and not one.get("was_cancelled")
        and isinstance(one.get("result"), list)
    ]
    if not kept:
        return None, 0
    spans: list[Any] = []
    strange = 0
    for region in kept[0]["result"]:
        value = region.get("value") if isinstance(region, Mapping) else None
        if not isinstance(value, Mapping) or "start" not in value:
            continue
        labels = value.get("labels")
        label = labels[0] if isinstance(labels, list) and labels else None
        found = as_spans([(value["start"], value.get("end"), label)])
        if found is None:
            strange += 1
            continue
        start, end, _ = found[0]
        if value.get("text", text[start:end]) == text[start:end]:
            spans.append(found[0])
        else:
            strange += 1
    return spans, strange


def _strange_tasks(shown: str, without: list[str], moved: list[str]) -> tuple[Problem, ...]:
    problems = []
    if without:
        what = f"{count(len(without), 'task')} of {shown} without a text (such as {without[0]})"
        problems.append(Problem("bad-row", tuple(without), f"{what}, left out.", left_out=True))
    if moved:
        what = (
            f"{count(len(moved), 'region')} whose offsets or labels can't be read, or whose text"
            f" is not what stands at its offsets (such as in {moved[0]}), left out."
        )
        problems.append(Problem("bad-target", tuple(dict.fromkeys(moved)), what))
    return tuple(problems)
