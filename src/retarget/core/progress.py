"""Progress for anything over two seconds, told to whoever listens."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol


class Meter(Protocol):
    """One piece of long work being counted."""

    def advance(self, steps: int = 1) -> None:
        """Count `steps` more as done."""


class Listener(Protocol):
    """Whoever shows progress: the terminal, a notebook, nobody."""

    def start(self, what: str, total: int, unit: str) -> Meter:
        """Begin to show `total` steps of `what`."""

    def finish(self, meter: Meter) -> None:
        """End the meter, whether its work was completed or not."""


class _Silent:
    def start(self, what: str, total: int, unit: str) -> Meter:
        return self

    def finish(self, meter: Meter) -> None:
        pass

    def advance(self, steps: int = 1) -> None:
        pass


_listener: ContextVar[Listener] = ContextVar("listener", default=_Silent())  # noqa: B039 - stateless


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Send the progress of everything inside the block to `listener`."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


@contextmanager
def progress(what: str, total: int, unit: str = "items") -> Iterator[Meter]:
    """Count work inside the block: `with progress("Reading", 40, "images") as meter: …`."""
    listener = _listener.get()
    meter = listener.start(what, total, unit)
    try:
        yield meter
    finally:
        listener.finish(meter)
