"""`Interruption`: the first Ctrl-C asks a training to end well, the second ends it."""

import signal
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

from retarget.core.processes import anywhere, count

# A scheduler may signal a process directly and through its launcher: that is one wish.
_ECHO_SECONDS = 1.0


class Interruption:
    """Listens for Ctrl-C while its block runs; the handler that was there before is put back.

    The first Ctrl-C sets `asked` and nothing else: the training ends after its step and keeps the
    best so far. The second raises `KeyboardInterrupt` on the spot. Of nested ones the innermost
    listens, and tells those around it.

    Python takes signals in the main thread only, and a process that was started to ignore Ctrl-C
    (`nohup`) shall go on ignoring it: in both cases nothing is listened for.

    Example:
        with Interruption() as interruption:
            for batch in batches:
                step(batch)
                if interruption.agreed():
                    break

    Attributes:
        asked: whether this process got a Ctrl-C inside the block.
    """

    def __init__(self) -> None:
        self.asked = False
        self._at = 0.0
        self._previous: Callable[[int, FrameType | None], Any] | int | None = None
        self._listens = False

    def __enter__(self) -> "Interruption":
        self._previous = signal.getsignal(signal.SIGINT)
        main = threading.current_thread() is threading.main_thread()
        self._listens = main and self._previous not in (None, signal.SIG_IGN)
        if self._listens:
            signal.signal(signal.SIGINT, self._hear)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._listens:
            signal.signal(signal.SIGINT, self._previous)
            self._listens = False

    def agreed(self) -> bool:
        """Return whether any process of the run was asked to end, the same in all of them.

        All processes must call this equally often: it waits for them.
        """
        return anywhere(self.asked)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.asked:
            if count() > 1 and now - self._at < _ECHO_SECONDS:
                return
            raise KeyboardInterrupt
        self._at = now
        self._tell()

    def _tell(self) -> None:
        self.asked = True
        around = getattr(self._previous, "__self__", None)
        if isinstance(around, Interruption):
            around._tell()
