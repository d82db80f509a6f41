import subprocess
import sys

from retarget.core import garbage

HANDS = """
import atexit, gc, sys
usual = gc.get_threshold()
import retarget
assert gc.get_threshold() == usual, "a library leaves this to its user"
# Run after all that programs leave to be done at exit.
atexit.register(lambda: print(gc.get_threshold()[0], gc.get_freeze_count() > 0))
from retarget.cli import main
sys.argv = ["retarget", "--version"]
main()
"""


def test_only_the_program_collects_rarely_and_not_at_exit() -> None:
    done = subprocess.run([sys.executable, "-c", HANDS], capture_output=True, text=True, check=True)
    version, told = done.stdout.splitlines()
    assert version.startswith("retarget ")
    assert told == f"{garbage.OBJECTS} True"
