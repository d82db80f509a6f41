"""One pass over the examples that miss, through all encoders that need them."""

import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor

from retarget.core.errors import UsageError
from retarget.core.progress import progress
from retarget.core.text import count
from retarget.core.types import FloatArray, StrArray
from retarget.features.devices import cores, peak_multiply_adds, pick_device
from retarget.features.engines import Choice, Engine, Place, choose_engine, varies
from retarget.features.features import PassCost, Space
from retarget.features.loading import Prepared, Reader, ahead
from retarget.features.plan import Order, Plan
from retarget.features.rows import RowIds
from retarget.features.store import FeatureStore, Writer

CPU_BATCH = 4  # what they compute fits the caches of a core
GPU_BATCH = 64
MOST_THREADS = 16  # more only wait for the interpreter
PEAK_FROM = 32  # examples; fewer are not worth measuring the machine for


@dataclass(frozen=True)
class Waiting:
    """A prepared example, and the ids of the rows that it becomes: one, or one a word."""

    rows: StrArray
    prepared: Tensor


@dataclass(frozen=True)
class Begun:
    """A batch that runs or waits to: its examples without what filled it up to `size`."""

    examples: Sequence[Waiting]
    size: int
    output: "Future[tuple[FloatArray, float]]"


class Pass:
    """One encoder in a pass: collects prepared examples, runs full batches, stores the rows.

    Every batch of a bucket has the same size, the last one filled up with copies: what a row
    becomes doesn't depend on how many were stored before. Rows are stored in the order in which
    their batches were begun.
    """

    def __init__(
        self,
        plan: Plan,
        order: Order,
        store: FeatureStore,
        stack: ExitStack,
        pool: ThreadPoolExecutor,
    ) -> None:
        self.encoder = plan.source.load()
        self._plan = plan
        self._order = order
        self._store = store
        self._stack = stack
        self._pool = pool
        self._device = pick_device(order.device)
        self.batch = plan.space.batch if plan.space else _batch_size(self._device)
        self._waiting: dict[int, list[Waiting]] = {}
        self._begun: deque[Begun] = deque()
        self._writer: Writer | None = None
        self._choice: Choice | None = None
        self.notes: tuple[str, ...] = ()
        self._divided = 0
        self._first_length = 1
        self._lengths = 0  # of all examples that were run, where they differ in length
        self.extracted = 0
        self.forward_seconds = 0.0
        self.seconds = 0.0

    def add(self, rows: StrArray, prepared: Tensor) -> None:
        """Take one example; run a batch when its bucket has enough."""
        bucket = self.encoder.bucket(prepared)
        self._divided += self.encoder.windows(prepared) > 1
        waiting = self._waiting.setdefault(bucket, [])
        waiting.append(Waiting(rows, prepared))
        if len(waiting) >= self._size(bucket):
            self._run(bucket)

    def finish(self) -> None:
        """Run what is left."""
        for bucket in sorted(self._waiting):
            while self._waiting[bucket]:
                self._run(bucket)
        start = time.perf_counter()
        while self._begun:
            self._store_first()
        self.seconds += time.perf_counter() - start
        if self._divided:
            self.notes = (*self.notes, self._long())

    def _long(self) -> str:
        length = self.encoder.input_shape[0]
        return (
            f"{count(self._divided, 'input')} longer than the {length:,} places of "
            f"{self._plan.source.uri} went through it in overlapping windows: nothing was cut off"
        )

    def cost(self, reused: int) -> PassCost:
        """Return what this pass cost."""
        rate = self.extracted / self.forward_seconds if self.forward_seconds else None
        share = None
        if rate and self._choice and self._choice.operations and self.extracted >= PEAK_FROM:
            # They were counted in the first batch, and grow with the length, nearly in proportion.
            length = self._lengths / self.extracted / self._first_length
            share = self._choice.operations * length * rate / _peak(self._device)
        return PassCost(
            source=self._plan.source.uri,
            engine=self._choice.engine.name if self._choice else "",
            extracted=self.extracted,
            reused=reused,
            seconds=self.seconds,
            per_second=rate,
            share_of_peak=share,
        )

    def _size(self, bucket: int) -> int:
        return self.encoder.batch_size(bucket, self.batch)

    def _run(self, bucket: int) -> None:
        size, waiting = self._size(bucket), self._waiting[bucket]
        examples, self._waiting[bucket] = waiting[:size], waiting[size:]
        start = time.perf_counter()
        tensors = [example.prepared for example in examples]
        batch = self.encoder.collate([*tensors, *[tensors[-1]] * (size - len(tensors))])
        if self._choice is None or self._writer is None:
            self._choice = self._choose(batch)
            self._writer = self._open(self._choice)
            self._first_length = batch.shape[1] if varies(batch) else 1
        self._lengths += len(examples) * (batch.shape[1] if varies(batch) else 1)
        self._begun.append(Begun(examples, size, self._begin(self._choice.engine, batch)))
        # One more is begun than run at once, so that none waits for what is done here.
        at_once = self._choice.engine.at_once
        while len(self._begun) > (at_once if at_once > 1 else 0):
            self._store_first()
        self.seconds += time.perf_counter() - start

    def _begin(self, engine: Engine, batch: Tensor) -> "Future[tuple[FloatArray, float]]":
        """Run a batch, beside others where the engine does that; give its output and seconds."""
        if engine.at_once > 1:
            return self._pool.submit(_timed, engine, batch)
        done: Future[tuple[FloatArray, float]] = Future()
        done.set_result(_timed(engine, batch))
        return done

    def _store_first(self) -> None:
        """Store what the batch that was begun first gave."""
        assert self._choice is not None and self._writer is not None
        begun = self._begun.popleft()
        found, seconds = begun.output.result()
        # The copies that filled the batch up are nobody's cost.
        taken = seconds / self._choice.engine.at_once * len(begun.examples) / begun.size
        rows = _rows(found, begun.examples)
        self._writer.append(np.concatenate([e.rows for e in begun.examples]), rows, taken)
        self.extracted += len(begun.examples)
        self.forward_seconds += taken

    def _choose(self, batch: Tensor) -> Choice:
        """The engine that was named, else the one the space was filled with, else the fastest."""
        plan, pooling = self._plan, self._order.pooling
        place = Place(self._device, pooling, len(plan.rows), plan.source.fingerprint)
        space, name = plan.space, self._order.engine
        if name != "auto" or space is None:
            choice = choose_engine(self.encoder, batch, name, place)
            self.notes = choice.notes
            return choice
        try:
            return choose_engine(self.encoder, batch, space.engine, place)
        except UsageError as refused:
            self.notes = (f"{refused}. Eager was used instead",)
            return choose_engine(self.encoder, batch, "eager", place)

    def _open(self, choice: Choice) -> Writer:
        """Open the space, which another process may have made meanwhile, and a writer to it."""
        space = self._store.create(
            Space(
                self._plan.source.fingerprint,
                self._order.pooling,
                choice.layers,
                choice.engine.name,
                self.batch,
                choice.operations,
            )
        )
        return self._stack.enter_context(self._store.writer(space))


def run_passes(
    plans: Sequence[Plan], order: Order, store: FeatureStore, reader: Reader, ids: RowIds
) -> tuple[list[Pass], dict[int, str]]:
    """Run all plans in one pass over the examples; return the passes, and row → reason of the
    examples that could not be read."""
    unreadable: dict[int, str] = {}
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(cores(), thread_name_prefix="retarget-run"))
        passes = [Pass(plan, order, store, stack, pool) for plan in plans]
        rows, prepare = _preparing(plans, passes, reader, len(ids.starts) - 1)
        threads = min(cores(), MOST_THREADS)
        window = threads + 2 * max(p.batch for p in passes)
        meter = stack.enter_context(
            progress("Extracting features", len(rows), f"{reader.modality}s")
        )
        for prepared in stack.enter_context(closing(ahead(prepare, rows, threads, window))):
            if prepared.reason:
                unreadable[prepared.row] = prepared.reason
            for number, tensor in prepared.tensors.items():
                passes[number].add(ids.of(prepared.row), tensor)
            meter.advance()
        for done in passes:
            done.finish()
    return passes, unreadable


def _preparing(
    plans: Sequence[Plan], passes: Sequence[Pass], reader: Reader, count: int
) -> tuple[list[int], Callable[[int], Prepared]]:
    """The rows that any plan needs, in order, and what prepares one for those that need it."""
    needed = np.zeros((len(plans), count), bool)
    for number, plan in enumerate(plans):
        needed[number, plan.rows] = True

    def prepare(row: int) -> Prepared:
        numbers = np.flatnonzero(needed[:, row]).tolist()
        return reader.prepare(row, {k: passes[k].encoder for k in numbers})

    return np.flatnonzero(needed.any(axis=0)).tolist(), prepare


def _rows(found: FloatArray, examples: Sequence[Waiting]) -> FloatArray:
    """Return the rows of the examples (n, width), given what an engine gave for their batch:
    (b, width), or (b, places, width) where each becomes several.

    Words behind the last place have no piece that the encoder knows: their rows are zeros.
    """
    if found.ndim == 2:
        return found[: len(examples)]
    lacking = max(len(e.rows) for e in examples) - found.shape[1]
    if lacking > 0:
        found = np.pad(found, ((0, 0), (0, lacking), (0, 0)))
    return np.concatenate([found[i, : len(e.rows)] for i, e in enumerate(examples)])


def _timed(engine: Engine, batch: Tensor) -> tuple[FloatArray, float]:
    """Return what an engine gives, and the seconds that it took."""
    start = time.perf_counter()
    found = engine(batch)
    return found, time.perf_counter() - start


def _batch_size(device: torch.device) -> int:
    return CPU_BATCH if device.type == "cpu" else GPU_BATCH


@cache
def _peak(device: torch.device) -> float:
    return peak_multiply_adds(device)
