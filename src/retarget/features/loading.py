"""Loading beside the forward pass: threads read and prepare, in order, a bounded way ahead."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from retarget.core.errors import UnreadableInput
from retarget.core.types import Modality
from retarget.tasks import modalities

if TYPE_CHECKING:
    from torch import Tensor

    from retarget.sources.encoder import Encoder

_In = TypeVar("_In")
_Out = TypeVar("_Out")


@dataclass(frozen=True)
class Prepared:
    """One example, prepared for the encoders that need it, by their number; or why it can't be."""

    row: int
    tensors: "Mapping[int, Tensor]"
    reason: str = ""


@dataclass(frozen=True)
class Reader:
    """Reads examples of one input by their rows."""

    modality: Modality
    references: Sequence[Any]

    def prepare(self, row: int, encoders: "Mapping[int, Encoder]") -> Prepared:
        """Load an example once for each detail that is asked for, and prepare it for `encoders`."""
        raw: dict[int, Any] = {}
        tensors = {}
        try:
            for number, encoder in encoders.items():
                if encoder.detail not in raw:
                    raw[encoder.detail] = modalities.load(
                        self.modality, self.references[row], encoder.detail
                    )
                tensors[number] = encoder.prepare(raw[encoder.detail])
        except UnreadableInput as reason:
            return Prepared(row, {}, str(reason) or "it can't be read")
        return Prepared(row, tensors)


def ahead(
    work: Callable[[_In], _Out], items: Iterable[_In], threads: int, window: int
) -> Generator[_Out, None, None]:
    """Yield `work(item)` in the order of `items`, at most `window` of them begun or waiting.

    Threads, because what takes long in loading (decoding, resizing) releases the interpreter; an
    error is raised where its item's turn comes.
    """
    waiting: deque[Future[_Out]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="retarget-load")
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) >= window:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
