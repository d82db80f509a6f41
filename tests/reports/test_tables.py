import io
import re

from rich.console import Console

from retarget.core.config import DataConfig
from retarget.reports import tables
from retarget.runs.inspection import InspectionRecord
from retarget.runs.schema import ProblemRecord, RunRecord
from retarget.runs.sources import SourceList, SourceRecord
from retarget.sources.source import Facts


def _console(width: int = 80) -> tuple[Console, io.StringIO]:
    stream = io.StringIO()
    return Console(file=stream, width=width), stream


def _inspected(record: RunRecord, read: DataConfig, **changed: object) -> list[str]:
    console, stream = _console()
    task = record.task.model_copy(update=changed)
    found = InspectionRecord(task=task, splits={"not given": 3}, protocol=record.protocol)
    tables.show_inspection(found, read, console)
    return stream.getvalue().splitlines()


def test_inspection_leads_to_a_fit_that_reads_the_same(record: RunRecord) -> None:
    read = DataConfig.model_validate(
        {"data": "my photos", "columns": {"label": "diagnosis"}, "domains": True}
    )
    lines = _inspected(record, read)
    assert lines[-1] == "Next: retarget fit 'my photos' --column label=diagnosis --domains"
    assert "Splits: none given" in lines


def test_problems_stand_below_what_they_are(record: RunRecord) -> None:
    def problem(kind: str, where: str) -> ProblemRecord:
        return ProblemRecord(kind=kind, what="W.", where=(where,), examples=1, left_out=False)

    found = (problem("duplicate", "a"), problem("near-duplicate", "b"), problem("duplicate", "c"))
    lines = _inspected(record, DataConfig.model_validate({"data": "d"}), problems=found)
    start = lines.index("Duplicates (2)")
    assert lines[start : start + 5] == [
        "Duplicates (2)",
        "  a: W.",
        "  c: W.",
        "Near-duplicates (1)",
        "  b: W.",
    ]


def test_eighty_columns_cut_neither_uri_nor_licence() -> None:
    uri = "timm:swin_tiny_patch4_window7_224.ms_in22k"
    facts = Facts(
        "image",
        "Swin",
        parameters=28_300_000,
        megabytes=114.0,
        trained_on="WIT-400M, pictures with texts",
        licence="Apache-2.0",
    )
    source = SourceRecord(uri=uri, facts=facts)
    console, stream = _console()
    tables.show_sources(SourceList(here=(source,), fetchable=()), console)
    assert re.search(rf"(?m)^{re.escape(uri)} .* 28M 114 MB .* Apache-2.0 *$", stream.getvalue())
