"""Sources as a list for people and machines."""

from collections.abc import Callable

from retarget.core.errors import UsageError
from retarget.core.text import listed, printable
from retarget.core.types import Modality
from retarget.runs.schema import Record
from retarget.sources.registry import available, fetchable
from retarget.sources.source import Facts, Source
from retarget.tasks.modalities import LOADERS


class SourceRecord(Record):
    """One source: its URI and its facts."""

    uri: str
    facts: Facts


class SourceList(Record):
    """What `retarget sources --json` prints: one modality after the other, cheapest first."""

    here: tuple[SourceRecord, ...]
    fetchable: tuple[SourceRecord, ...]


def list_sources(modality: str | None = None) -> SourceList:
    """Return the sources that are here, and well-known ones that could be fetched.

    Those for one modality, or for all. Raises `UsageError` for one that can't be read.
    """
    if modality is not None and modality not in LOADERS:
        raise UsageError(
            f"There are no sources for {printable(modality)!r}. Choose from: "
            f"{listed(sorted(LOADERS))}."
        )
    asked = [known for known in LOADERS if modality in (None, known)]
    return SourceList(here=_records(available, asked), fetchable=_records(fetchable, asked))


def _records(
    find: Callable[[Modality], list[Source]], asked: list[Modality]
) -> tuple[SourceRecord, ...]:
    return tuple(
        SourceRecord(uri=source.uri, facts=source.facts) for one in asked for source in find(one)
    )
