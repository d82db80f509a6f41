"""Progress for anything over two seconds, told to whoever listens."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol


class Meter(Protocol):
    """One piece of long work being counted."""

    def advance(self, steps: int = 1) -> None:
        """Count `steps` more as done."""

    def note(self, text: str) -> None:
        """Show a few words beside the count, such as `loss 0.41`, in place of those before."""


class Listener(Protocol):
    """Whoever shows progress: the terminal, a notebook, nobody."""

    def start(self, what: str, total: int, unit: str) -> Meter:
        """Begin to show `total` steps of `what`."""

    def finish(self, meter: Meter) -> None:
        """End the meter, whether its work was completed or not."""

    def tell(self, text: str) -> None:
        """Say something that a person wants to know before long work begins."""


class _Silent:
    def start(self, what: str, total: int, unit: str) -> Meter:
        return self

    def finish(self, meter: Meter) -> None:
        pass

    def advance(self, steps: int = 1) -> None:
        pass

    def note(self, text: str) -> None:
        pass

    def tell(self, text: str) -> None:
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


def tell(text: str) -> None:
    """Say something that a person wants to know before long work begins."""
    _listener.get().tell(text)
