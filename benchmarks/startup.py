"""CPU time of coming in: `retarget --help` and `import retarget`, in fresh processes.

python benchmarks/startup.py [--repeat 5]
"""

import argparse
import os
import statistics
import subprocess
import sys

from table import met, table

ALLOWED = 0.4
COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "import retarget": ["-c", "import retarget"],
    "retarget --help": ["-m", "retarget", "--help"],
}


def cpu_seconds(arguments: list[str]) -> float:
    """Return the CPU seconds of a whole Python process. Raises where it fails."""
    process = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"python {' '.join(arguments)} failed")
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=5)
    asked = parser.parse_args()
    rows = []
    for name, arguments in COMMANDS.items():
        cpu_seconds(arguments)
        taken = statistics.median(cpu_seconds(arguments) for _ in range(asked.repeat))
        allowed = ALLOWED if "retarget" in name else None
        rows.append([name, f"{taken:.2f}", met(taken, allowed, at_most=True)])
    print("\n" + table(["", "CPU s", "target"], rows))


if __name__ == "__main__":
    main()
