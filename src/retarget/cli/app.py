"""The application: its commands, and how every one of them ends."""

import sys
import traceback
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from retarget.cli import cache, demo, fitting, looking, running
from retarget.cli.output import any_terminal, disk_trouble, fail, interrupted, say, silenced

# typer carries click inside since 0.26, and beside before: this is either's base of errors.
ClickError: Any = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")

app = typer.Typer(
    name="retarget",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Point a pretrained model at your task: what to transfer, how, and proof that it helped.",
)


def _say_version(asked: bool) -> None:
    if asked:
        from retarget import __version__

        say(f"retarget {__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_say_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Options of `retarget` itself."""


demo.add_to(app)
fitting.add_to(app)
looking.add_to(app)
running.add_to(app)
app.add_typer(cache.app, name="cache")


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code: 0 done, 1 failed, 2 wrong usage or data."""
    from retarget.core.errors import RetargetError

    any_terminal()
    as_json = "--json" in arguments
    try:
        result = app(list(arguments), standalone_mode=False)
        sys.stdout.flush()
        # Some versions of typer catch Ctrl-C themselves and return this.
        if result == 130:
            return interrupted(as_json)
        return result if isinstance(result, int) else 0
    except typer.Exit as stop:
        return stop.exit_code
    except ClickError as error:
        if not as_json:
            error.show()
            return 2
        return fail(str(error.format_message()), 2, as_json)
    except RetargetError as error:
        return fail(str(error), error.exit_code, as_json)
    except (KeyboardInterrupt, typer.Abort):
        return interrupted(as_json)
    except BrokenPipeError:
        silenced()
        return 1
    except OSError as error:
        return fail(disk_trouble(error), 1, as_json)
    except Exception as error:
        if not as_json:
            raise
        traceback.print_exc()
        told = f"{type(error).__name__}: {error}"
        return fail(f"{told}. Retarget is at fault; please report what is said above.", 1, as_json)
