"""The frozen first half of an encoder, run as fast as it can be without gradients."""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from retarget.core.types import FloatArray
from retarget.features.devices import cores
from retarget.features.engines import CLEARLY, EngineRefused, Onnx, verify_engine
from retarget.features.features import StoredLayer
from retarget.features.onnx_graphs import GraphError, export_graph
from retarget.sources.encoder import Encoder, Split

CPU_BATCH = 16
GPU_BATCH = 64
PART = 4  # of a batch, which ONNX Runtime runs on one core
EXPORT_FROM = 300  # examples to run; fewer don't repay the seconds that an export takes


class Prefix:
    """Runs a split's prefix in batches of one size, in evaluation mode.

    Attributes:
        engine: `eager`, PyTorch with channels last; or `onnx`, ONNX Runtime.
    """

    def __init__(self, encoder: Encoder, split: Split, device: torch.device) -> None:
        self.batch = CPU_BATCH if device.type == "cpu" else GPU_BATCH
        self.engine = "eager"
        self._encoder = encoder
        self._split = split
        self._device = device
        self._onnx: Onnx | None = None

    def choose(self, tensors: Sequence[Tensor], remaining: int, engine: str = "") -> str:
        """Settle how it is run, by prepared examples, and return it.

        ONNX Runtime is taken on a CPU where `remaining` examples repay the export, if it agrees
        with PyTorch to `engines.TOLERANCE` and is clearly faster; with `engine` `onnx`, if it
        agrees.
        """
        self.engine, self._onnx = "eager", None
        if engine == "eager" or (not engine and remaining < EXPORT_FROM):
            return self.engine
        batch = self._filled(tensors)
        if self._device.type != "cpu" or batch.dtype != torch.float32:
            return self.engine
        start = time.perf_counter()
        expected = self._eager(batch)
        seconds = time.perf_counter() - start
        try:
            session = self._session(batch, expected)
        except (EngineRefused, GraphError):
            return self.engine
        start = time.perf_counter()
        _in_parts(session, batch)
        if engine or (time.perf_counter() - start) * CLEARLY < seconds:
            self.engine, self._onnx = "onnx", session
        return self.engine

    def __call__(self, tensors: Sequence[Tensor]) -> FloatArray:
        """Return the activations of at most `batch` prepared examples, flat (n, numbers) float32.

        A batch is filled up with copies: what comes out doesn't depend on how many there were.
        """
        batch = self._filled(tensors)
        found = self._eager(batch) if self._onnx is None else _in_parts(self._onnx, batch)
        return found[: len(tensors)]

    def _filled(self, tensors: Sequence[Tensor]) -> Tensor:
        return self._encoder.collate([*tensors, *[tensors[-1]] * (self.batch - len(tensors))])

    def _eager(self, batch: Tensor) -> FloatArray:
        if batch.ndim == 4 and self._device.type != "mps":
            batch = batch.contiguous(memory_format=torch.channels_last)
        with _evaluating(self._encoder), torch.no_grad():
            found = self._split.prefix(batch.to(self._device))
        return np.asarray(found.float().cpu().flatten(1).numpy())

    def _session(self, batch: Tensor, expected: FloatArray) -> Onnx:
        """Return ONNX Runtime's. Raises `GraphError` or `EngineRefused` where it is not as good."""
        with _evaluating(self._encoder):
            graph = export_graph(_Flat(self._encoder, self._split).eval(), batch[:2])
        try:
            session = Onnx(graph, self._device, cores())
        except Exception as error:
            # onnxruntime's own errors share no public base class
            raise EngineRefused(f"ONNX Runtime can't load it ({error!s:.200})") from error
        layer = StoredLayer(self._split.layer, self._split.shape)
        verify_engine(session, batch, expected, (layer,))
        return session


def _in_parts(session: Onnx, batch: Tensor) -> FloatArray:
    """Return what ONNX Runtime gives for a batch, its parts run side by side."""
    with ThreadPoolExecutor(session.at_once) as pool:
        return np.concatenate(list(pool.map(session, torch.split(batch, PART))))


def multiply_adds(encoder: Encoder, split: Split, device: torch.device) -> float:
    """Return the multiply-adds of one example through a prefix; 0 where they can't be counted."""
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    with _evaluating(encoder), torch.no_grad(), counter:
        split.prefix(torch.zeros(1, *encoder.input_shape, device=device))
    return counter.get_total_flops() / 2


class _Flat(nn.Module):
    """A prefix as a module: batch → (b, numbers)."""

    def __init__(self, encoder: Encoder, split: Split) -> None:
        super().__init__()
        self.encoder = encoder
        self._split = split

    def forward(self, batch: Tensor) -> Tensor:
        return self._split.prefix(batch).flatten(1)


@contextmanager
def _evaluating(encoder: Encoder) -> Iterator[None]:
    """Put an encoder in evaluation mode for the block: batches leave no trace in it."""
    training = [module for module in encoder.modules() if module.training]
    encoder.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
