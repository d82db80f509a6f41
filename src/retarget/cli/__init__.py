"""The command line: parses, calls the api, prints. No logic."""

import sys

from retarget.core.garbage import collect_rarely


def main() -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 wrong usage or data."""
    collect_rarely()
    from retarget.cli.app import run

    sys.exit(run(sys.argv[1:]))
