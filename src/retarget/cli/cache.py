"""`retarget cache`: what is kept between runs, and how to be rid of it."""

import typer

from retarget.cli import options
from retarget.cli.output import say, say_json

app = typer.Typer(no_args_is_help=True, help="What is kept between runs.")


@app.command()
def info(json: options.AsJson = False) -> None:
    """Say what the cache holds."""
    from retarget import api

    found = api.cache_info()
    if json:
        say_json(found)
        return
    say(f"{found.path}: {found.megabytes:,.1f} MB")
    say(f"Features: {found.rows:,} rows in {found.spaces:,} spaces.")


@app.command()
def path(json: options.AsJson = False) -> None:
    """Print where the cache is."""
    from retarget.core.paths import cache_dir

    if json:
        from retarget.cli.documents import CachePlace

        say_json(CachePlace(str(cache_dir())))
    else:
        print(cache_dir())


@app.command()
def clear(json: options.AsJson = False) -> None:
    """Delete everything that is kept. Runs are not touched; features are extracted anew."""
    from retarget import api

    freed = api.clear_cache()
    if json:
        from retarget.cli.documents import FreedCache

        say_json(FreedCache(freed))
    else:
        say(f"{freed:,.1f} MB freed.")
