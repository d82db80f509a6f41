"""Sources as a list for people and machines."""

from retarget.core.types import Modality
from retarget.runs.schema import Record
from retarget.sources.registry import available, fetchable
from retarget.sources.source import Facts, Source


class SourceRecord(Record):
    """One source: its URI and its facts."""

    uri: str
    facts: Facts


class SourceList(Record):
    """What `retarget sources --json` prints: cheapest first."""

    here: tuple[SourceRecord, ...]
    fetchable: tuple[SourceRecord, ...]


def list_sources(modality: Modality) -> SourceList:
    """Return the sources that are here, and well-known ones that could be fetched."""
    return SourceList(
        here=tuple(map(_record, available(modality))),
        fetchable=tuple(map(_record, fetchable(modality))),
    )


def _record(source: Source) -> SourceRecord:
    return SourceRecord(uri=source.uri, facts=source.facts)
