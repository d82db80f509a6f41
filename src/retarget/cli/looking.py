"""`retarget inspect` and `retarget sources`."""

from typing import Annotated

import typer

from retarget.cli import options
from retarget.cli.output import console, say_json, shown_progress


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(inspect)
    app.command()(sources)


def inspect(
    data: options.Data,
    kind: options.KindOf = None,
    column: options.Columns = None,
    domains: options.Domains = None,
    strict: options.Strict = None,
    follow_links: options.Links = None,
    encoding: options.Encoding = None,
    json: options.AsJson = False,
) -> None:
    """Say how data is read, what is wrong, how a fit would judge."""
    from retarget import api

    told = options.reading_options(kind, column, domains, strict, follow_links, encoding)
    with shown_progress():
        found = api.inspect(data, **told)
    if json:
        say_json(found.record)
        return
    from retarget.core.config import DataConfig
    from retarget.reports.tables import show_inspection

    show_inspection(found.record, DataConfig(data=data, **told), console())


def sources(
    modality: Annotated[
        str | None,
        typer.Option("--modality", help="Only models for image or text; all if not said."),
    ] = None,
    json: options.AsJson = False,
) -> None:
    """List pretrained models: those here, and some to be fetched."""
    from retarget import api

    found = api.sources(modality)
    if json:
        say_json(found)
        return
    from retarget.reports.tables import show_sources

    show_sources(found, console())
