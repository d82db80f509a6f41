"""`Engine`: how an encoder is run without gradients. Measured, then checked, then trusted."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from retarget.core.errors import UsageError
from retarget.core.types import FloatArray, Pooling
from retarget.features.devices import cores
from retarget.features.features import StoredLayer
from retarget.features.onnx_graphs import (
    GraphError,
    export_graph,
    graph_path,
    keep_graph,
    kept_graph,
)
from retarget.sources.encoder import Encoder

# Of the largest absolute value of a layer over the batch; float32 rounding stays far below.
TOLERANCE = 1e-4
# Half precision keeps eleven bits, and layers add their errors up.
HALF_TOLERANCE = 1e-2
# A choice that noise could turn would give other features in the next run.
CLEARLY = 1.15
PROBE = 4  # examples used to measure and to check on a CPU
_SHORT_SECONDS = 0.2
_LOAD_SECONDS = 0.4
_EXPORT_SECONDS = 0.6
_EXPORT_PER_NUMBER = 2e-8
_COMPILE_SECONDS = 40.0


class EngineRefused(Exception):  # noqa: N818 - a fact about an engine, dealt with in this room
    """An engine can't run an encoder, or its outputs are wrong. Its text is the reason."""


class Engine(ABC):
    """An encoder, ready to run: a prepared batch on the CPU → (b, width) float32.

    Attributes:
        name: eager, autocast, onnx or compiled.
        at_once: how many batches it runs side by side, from as many threads.
    """

    name: str
    at_once: int = 1

    @abstractmethod
    def __call__(self, batch: Tensor) -> FloatArray:
        """Return all layers of the batch side by side, shallow to deep."""


class Flat(nn.Module):
    """An encoder whose output is one tensor (b, width): all pooled layers side by side.

    Of words (b, places, width).
    """

    def __init__(self, encoder: Encoder, pooling: Pooling) -> None:
        super().__init__()
        self.encoder = encoder
        self.pooling = pooling
        self.eval()  # exporting restores the mode it finds here, in the encoder too

    def forward(self, batch: Tensor) -> Tensor:
        """Return (b, width) float32, of words (b, places, width)."""
        layers = self.encoder.pooled(batch, self.pooling)
        apart = 2 if self.pooling == "words" else 1
        return torch.cat([value.flatten(apart) for value in layers.values()], dim=apart)


class Eager(Engine):
    """PyTorch as it is, channels last; `autocast` runs in half precision where that is safe."""

    def __init__(
        self, encoder: Encoder, pooling: Pooling, device: torch.device, autocast: bool = False
    ) -> None:
        self.name = "autocast" if autocast else "eager"
        self.encoder = encoder.eval().to(device)
        if device.type != "mps":
            self.encoder.to(memory_format=torch.channels_last)
        self._run: Callable[[Tensor], Tensor] = Flat(self.encoder, pooling)
        self._device = device
        self._autocast = autocast

    def __call__(self, batch: Tensor) -> FloatArray:
        """Return (b, width) float32."""
        placed = self._placed(batch)
        if self._autocast:
            with torch.inference_mode(), torch.autocast(self._device.type, torch.float16):
                found = np.asarray(self._run(placed).float().cpu().numpy())
            if np.isfinite(found).all():  # half precision overflows at 65,504
                return found
        with torch.inference_mode():
            return np.asarray(self._run(placed).float().cpu().numpy())

    def _placed(self, batch: Tensor) -> Tensor:
        if batch.ndim == 4 and self._device.type != "mps":
            batch = batch.contiguous(memory_format=torch.channels_last)
        return batch.to(self._device)


class Compiled(Eager):
    """`torch.compile`, for one size of batch."""

    def __init__(self, encoder: Encoder, pooling: Pooling, device: torch.device) -> None:
        super().__init__(encoder, pooling, device)
        self.name = "compiled"
        self._run = torch.compile(Flat(encoder, pooling), dynamic=False)


class Onnx(Engine):
    """ONNX Runtime, on the CPU or through CUDA where its build has it.

    On a CPU a batch takes one thread and `at_once` of them run side by side: each stays in the
    cache of its core, and nobody waits for the other half of a batch.
    """

    name = "onnx"

    def __init__(self, graph: bytes, device: torch.device, at_once: int = 1) -> None:
        import onnxruntime

        self.at_once = 1 if device.type == "cuda" else at_once

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        providers: list[Any] = ["CPUExecutionProvider"]
        if device.type == "cuda":
            providers.insert(0, ("CUDAExecutionProvider", {"device_id": device.index or 0}))
        self._session = onnxruntime.InferenceSession(graph, options, providers=providers)

    def __call__(self, batch: Tensor) -> FloatArray:
        """Return (b, width) float32."""
        (features,) = self._session.run(["features"], {"input": batch.contiguous().numpy()})
        return np.asarray(features, np.float32)


@dataclass(frozen=True)
class Place:
    """What an engine needs to know beside the encoder.

    `remaining` counts the examples still to be run, `fingerprint` names the kept graph.
    """

    device: torch.device
    pooling: Pooling = "mean"
    remaining: int = 0
    fingerprint: str = ""


@dataclass(frozen=True)
class Choice:
    """The engine that was chosen, the encoder's layers, and what there is to say about it.

    `operations` counts one example's multiply-adds, 0 where they could not be counted.
    """

    engine: Engine
    layers: tuple[StoredLayer, ...]
    operations: float
    notes: tuple[str, ...] = ()


def choose_engine(encoder: Encoder, batch: Tensor, name: str, place: Place) -> Choice:
    """Return the engine called `name`, or with `auto` the fastest for this batch and machine.

    Every engine is checked against eager on examples of `batch`. Only `auto` passes over one that
    fails; otherwise raises `UsageError`.
    """
    eager = Eager(encoder, place.pooling, place.device)
    layers, operations = measure_layers(eager, batch[:1], place.pooling)
    if name == "eager":
        return Choice(eager, layers, operations)
    if name == "auto":
        engine, notes = _fastest(eager, layers, batch, place)
        return Choice(engine, layers, operations, notes)
    try:
        engine = make_engine(name, eager, batch, place)
        probe = _probe(batch, name, place)
        verify_engine(engine, probe, eager(probe), layers)
        _verify_shorter(engine, eager, probe, layers)
    except EngineRefused as refused:
        raise UsageError(
            f"engine {name} can't run this encoder: {refused}. Say --engine eager, or auto"
        ) from refused
    return Choice(engine, layers, operations)


def measure_layers(
    eager: Eager, batch: Tensor, pooling: Pooling
) -> tuple[tuple[StoredLayer, ...], float]:
    """Return the shapes of an encoder's layers and its multiply-adds for one example."""
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    # inference_mode would hide the operations from the counter
    with torch.no_grad(), counter:
        found = eager.encoder.pooled(eager._placed(batch), pooling)
    apart = 2 if pooling == "words" else 1
    layers = tuple(StoredLayer(key, tuple(value.shape[apart:])) for key, value in found.items())
    return layers, counter.get_total_flops() / 2 / len(batch)


def make_engine(name: str, eager: Eager, batch: Tensor, place: Place) -> Engine:
    """Return an engine by name, not yet checked. Raises `EngineRefused`."""
    if name == "autocast":
        return Eager(eager.encoder, place.pooling, place.device, autocast=True)
    if name == "compiled":
        return Compiled(eager.encoder, place.pooling, place.device)
    if name == "onnx":
        return _onnx(eager, batch, place)
    raise EngineRefused(f"there is no engine {name!r}; known are auto, eager, onnx, compiled")


def varies(batch: Tensor) -> bool:
    """Return whether batches differ in length: tokens do, numbers of pictures don't."""
    return not batch.is_floating_point()


def verify_engine(
    engine: Engine, batch: Tensor, expected: FloatArray, layers: tuple[StoredLayer, ...]
) -> None:
    """Compare an engine's outputs for `batch` with eager's (b, width), layer by layer.

    The largest difference may be `TOLERANCE` times the layer's largest absolute value
    (`HALF_TOLERANCE` for autocast). Raises `EngineRefused` with the layer and the difference.
    """
    try:
        found = engine(batch)
    except Exception as error:
        # Runtimes and compilers raise errors of their own; all mean that it can't run.
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise EngineRefused(f"it fails ({reason[0]:.200})") from error
    if found.shape != expected.shape:
        raise EngineRefused(f"it gives features {found.shape} where eager gives {expected.shape}")
    allowed = HALF_TOLERANCE if engine.name == "autocast" else TOLERANCE
    start = 0
    for layer in layers:
        part = slice(start, start + layer.size)
        start += layer.size
        scale = float(np.abs(expected[..., part]).max()) or 1.0
        difference = float(np.abs(found[..., part] - expected[..., part]).max()) / scale
        if not difference <= allowed:  # also true of NaN
            raise EngineRefused(
                f"in layer {layer.name} it differs from eager by {difference:.1e} of the largest "
                f"value; {allowed:.0e} is allowed"
            )


def _verify_shorter(
    engine: Engine, eager: Eager, batch: Tensor, layers: tuple[StoredLayer, ...]
) -> None:
    """Compare at half the length as well, where batches differ in length."""
    if varies(batch) and batch.shape[1] > 1:
        # Several windows are laid one after the other: then one of them.
        length = min(batch.shape[1] // 2, eager.encoder.input_shape[0])
        short = batch[:, :length].contiguous()
        verify_engine(engine, short, eager(short), layers)


def _fastest(
    eager: Eager, layers: tuple[StoredLayer, ...], batch: Tensor, place: Place
) -> tuple[Engine, tuple[str, ...]]:
    """Measure what may repay its cost. Eager stays unless another is clearly faster."""
    probe = _probe(batch, "auto", place)
    expected, best = _timed(eager, probe)
    chosen: Engine = eager
    notes = []
    left = place.remaining * best / len(probe)
    for name in _candidates(batch, place):
        if left < 2 * _cost(name, eager, place):
            continue
        try:
            engine = make_engine(name, eager, batch, place)
            verify_engine(engine, probe, expected, layers)
            _verify_shorter(engine, eager, probe, layers)
        except EngineRefused as refused:
            notes.append(f"engine {name} was passed over: {refused}")
            continue
        _, seconds = _timed(engine, probe)
        if seconds * CLEARLY < best:
            chosen, best = engine, seconds
    return chosen, tuple(notes)


def _probe(batch: Tensor, name: str, place: Place) -> Tensor:
    """What to measure and check on: all where that is quick, or compiled for that size."""
    return batch if place.device.type != "cpu" or name == "compiled" else batch[:PROBE]


def _candidates(batch: Tensor, place: Place) -> tuple[str, ...]:
    kind = place.device.type
    if kind == "cpu":
        return ("onnx",)
    if kind == "cuda":
        # What is compiled is compiled for one length.
        return ("autocast",) if varies(batch) else ("autocast", "compiled")
    return ()


def _cost(name: str, eager: Eager, place: Place) -> float:
    """Seconds before an engine runs its first example, as seen on two cores."""
    if name == "autocast":
        return 0.0
    if name == "compiled":
        return _COMPILE_SECONDS
    if place.fingerprint and graph_path(place.fingerprint, place.pooling).exists():
        return _LOAD_SECONDS
    numbers = sum(p.numel() for p in eager.encoder.parameters())
    return _LOAD_SECONDS + _EXPORT_SECONDS + _EXPORT_PER_NUMBER * numbers


def _timed(engine: Engine, batch: Tensor) -> tuple[FloatArray, float]:
    """Return an engine's output and the time for a batch where as many run side by side as it
    runs: of short runs the lesser of two."""
    with ThreadPoolExecutor(engine.at_once) as pool:

        def once() -> tuple[FloatArray, float]:
            start = time.perf_counter()
            found = [pool.submit(engine, batch) for _ in range(engine.at_once)]
            outputs = [one.result() for one in found]
            return outputs[0], (time.perf_counter() - start) / engine.at_once

        output, first = once()
        return output, first if first > _SHORT_SECONDS else min(first, once()[1])


def _onnx(eager: Eager, batch: Tensor, place: Place) -> Onnx:
    import onnxruntime

    available = onnxruntime.get_available_providers()
    if place.device.type == "cuda" and "CUDAExecutionProvider" not in available:
        raise EngineRefused("this ONNX Runtime is built without CUDA (onnxruntime-gpu has it)")
    try:
        graph = _graph(eager, batch, place)
        return Onnx(graph, place.device, cores())
    except GraphError as error:
        raise EngineRefused(str(error)) from error
    except Exception as error:
        # onnxruntime's own errors share no public base class
        raise EngineRefused(f"ONNX Runtime can't load it ({error!s:.200})") from error


def _graph(eager: Eager, batch: Tensor, place: Place) -> bytes:
    """The kept graph if it is sound, else a new one, kept for the next run."""
    if not place.fingerprint:
        return _exported(eager, batch, place)
    path = graph_path(place.fingerprint, place.pooling)
    try:
        return kept_graph(path)
    except (OSError, GraphError):
        graph = _exported(eager, batch, place)
    with suppress(OSError):  # a full disk costs the next run an export, nothing else
        keep_graph(path, graph)
    return graph


def _exported(eager: Eager, batch: Tensor, place: Place) -> bytes:
    flat = Flat(eager.encoder, place.pooling)
    return export_graph(flat, eager._placed(batch[:2]), varying=varies(batch))
