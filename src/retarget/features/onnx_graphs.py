"""Encoders as ONNX graphs: exported once, kept in the cache, checked before they are used."""

import re
import tempfile
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retarget.core.paths import cache_dir, written_whole

if TYPE_CHECKING:
    from torch import Tensor, nn

OPSET = 17
EDITION = 2  # raised whenever the same encoder is exported otherwise
_DOMAINS = {"", "ai.onnx"}


class GraphError(Exception):
    """A graph can't be exported, or a kept one can't be trusted. Its text is the reason."""


def graph_path(fingerprint: str, pooling: str) -> Path:
    """Return where the graph of an encoder and pooling is kept, for these library versions."""
    import onnx
    import torch

    versions = f"torch{torch.__version__}-onnx{onnx.__version__}-opset{OPSET}-{EDITION}"
    name = re.sub(r"[^0-9A-Za-z.+-]", "_", f"{fingerprint}-{pooling}-{versions}")
    return cache_dir() / "graphs" / f"{name}.onnx"


def input_name(number: int) -> str:
    """Return the name of a graph's input, counted from 0."""
    return f"input_{number}" if number else "input"


def export_graph(
    module: "nn.Module",
    *batches: "Tensor",
    output: str = "features",
    varying: bool = False,
    axes: Mapping[str, Mapping[int, str]] | None = None,
) -> bytes:
    """Return `module` (batches → (b, width)) as an ONNX graph with a free batch axis.

    Its inputs are called `input`, `input_1`, … With `varying` their second axis is free as well.
    Other names, and other names of free axes, may be given as `axes`, the output among them.
    Raises `GraphError` where PyTorch can't export it.
    """
    import torch

    names = [input_name(i) for i in range(len(batches))]
    second = {1: "length"} if varying else {}
    free = axes or {**{name: {0: "batch", **second} for name in names}, output: {0: "batch"}}
    try:
        with (
            tempfile.TemporaryDirectory(prefix="retarget-graph-") as folder,
            warnings.catch_warnings(),
            torch.no_grad(),
        ):
            path = Path(folder) / "graph.onnx"
            warnings.simplefilter("ignore")
            torch.onnx.export(
                module,
                tuple(batch[:2] for batch in batches),
                path,
                dynamo=False,
                opset_version=OPSET,
                input_names=[name for name in free if name != output],
                output_names=[output],
                dynamic_axes=free,
            )
            return path.read_bytes()
    except Exception as error:
        # What exporters raise is not a documented set; whatever it is, eager remains.
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise GraphError(f"it can't be exported to ONNX ({reason[0]:.200})") from error


def keep_graph(path: Path, graph: bytes) -> None:
    """Write a graph whole. Raises `OSError`."""
    with written_whole(path) as part:
        part.write_bytes(graph)


def kept_graph(path: Path) -> bytes:
    """Return a kept graph after checking it. Raises `GraphError`; `OSError` if it isn't there.

    The bytes that were checked are the bytes returned, so nothing can be changed in between.
    """
    graph = path.read_bytes()
    check_graph(graph)
    return graph


def check_graph(graph: bytes) -> None:
    """Refuse what is no valid graph, holds functions or unknown operators, or points to a file."""
    import onnx

    try:
        model = onnx.load_model_from_string(graph)
    except Exception as error:
        # protobuf has errors of its own
        raise GraphError("it is not a valid ONNX graph") from error
    if any(tensor.external_data or tensor.data_location for tensor in _tensors(model.graph)):
        raise GraphError("its weights lie in another file")
    domains = {opset.domain for opset in model.opset_import}
    if model.functions or not domains <= _DOMAINS:
        raise GraphError(f"it uses operators of {sorted(domains - _DOMAINS)} or own functions")
    try:
        onnx.checker.check_model(model)
    except Exception as error:
        # the checker too
        raise GraphError("it is not a valid ONNX graph") from error


def _tensors(graph: Any) -> Iterable[Any]:
    """All tensors of a graph and the graphs inside its nodes."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for inner in (attribute.g, *attribute.graphs):
                yield from _tensors(inner)
