"""Options that several commands share."""

from typing import Annotated, Any

import typer

from retarget.core.errors import UsageError

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Data = Annotated[str, typer.Argument(metavar="DATA", help="Folder or table with the examples.")]
KindOf = Annotated[
    str | None,
    typer.Option("--kind", help="classification, multilabel, regression or tagging."),
]
Columns = Annotated[
    list[str] | None,
    typer.Option("--column", help="A column by role: label=diagnosis, text=body, label=misc.NER."),
]
Domains = Annotated[
    bool | None, typer.Option("--domains", help="The first folder level is the domain.")
]
Strict = Annotated[bool | None, typer.Option("--strict", help="Stop on files that can't be read.")]
Links = Annotated[
    bool | None,
    typer.Option("--follow-links", help="Follow symbolic links out of the data folder."),
]
Encoding = Annotated[
    str | None,
    typer.Option(
        "--encoding", help="Of files of text, such as shift_jis; told by their bytes if not said."
    ),
]
Engine = Annotated[str | None, typer.Option("--engine", help="auto, eager, onnx or compiled.")]
Device = Annotated[str | None, typer.Option("--device", help="auto, cpu, cuda, cuda:N or mps.")]
RunFolder = Annotated[str, typer.Argument(metavar="RUN", help="A run directory.")]


def columns_of(told: list[str] | None) -> dict[str, str] | None:
    """Read `label=diagnosis` into a mapping. Raises `UsageError`."""
    if not told:
        return None
    found = {}
    for item in told:
        role, equals, name = item.partition("=")
        if not equals or not role or not name:
            raise UsageError(f"--column {item!r} is not ROLE=NAME, such as label=diagnosis.")
        found[role.strip()] = name
    return found


def reading_options(
    kind: str | None,
    column: list[str] | None,
    domains: bool | None,
    strict: bool | None,
    follow_links: bool | None,
    encoding: str | None,
) -> dict[str, Any]:
    """Return the options that were given, by their names in `DataConfig`."""
    told = {
        "kind": kind,
        "columns": columns_of(column),
        "domains": domains,
        "strict": strict,
        "follow_links": follow_links,
        "encoding": encoding,
    }
    return {name: value for name, value in told.items() if value is not None}
