"""`Clock`: how long each stage took."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Clock:
    """Wall-clock seconds by stage, in the order of the stages."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._stages: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Count the block as part of `stage`."""
        started = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - started
            self._stages[stage] = self._stages.get(stage, 0.0) + spent

    def seconds(self) -> dict[str, float]:
        """Return seconds by stage, and in `total` since the clock was made."""
        return {**self._stages, "total": time.perf_counter() - self._started}
