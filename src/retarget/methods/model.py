"""`TransferModel`: heads on one encoder's layers, averaged and calibrated."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np

from retarget.core.errors import SourceError
from retarget.core.paths import written_whole
from retarget.core.types import CLASSES, FloatArray, IntArray, Kind, Pooling
from retarget.evaluation.calibration import apply_temperature
from retarget.methods.base import HEADS, Head, log_softmax
from retarget.methods.heads import KINDS
from retarget.methods.scale import BlockScale

MODEL_VERSION = 2
# All that make one row of an example, or of a word of it.
POOLINGS = tuple(name for name in get_args(Pooling) if name != "tokens")

# Gives (n, d) float32 features of one encoder by the name of a layer.
Layers = Callable[[str], FloatArray]


@dataclass(frozen=True)
class Member:
    """One head on some layers of the model's encoder number `source`.

    `temperature` divides its outputs before averaging; `weight` counts it in the average.
    """

    layers: tuple[str, ...]
    method: str
    scale: BlockScale
    head: Head
    temperature: float = 1.0
    source: int = 0
    weight: float = 1.0

    def outputs(self, layer: Layers, sequences: IntArray | None = None) -> FloatArray:
        """Map features, given by layer name, to outputs (n, K) at the member's temperature.

        `sequences` (n,) says which sequence each row is of, where rows don't stand alone.
        """
        x = np.concatenate([layer(name) for name in self.layers], axis=1)
        return self.head.outputs_in(self.scale(x), sequences) / self.temperature


@dataclass(frozen=True)
class TransferModel:
    """What a fit hands over: turns features of its encoders into predictions.

    Attributes:
        kind: what it predicts.
        classes: names, in the order of the columns of its predictions.
        members: heads whose probabilities (or values) are averaged.
        temperature: divides the averaged log-odds; 1 leaves them as they are.
        sources: URIs of the encoders, which lie beside in a saved model. The first is the one
            that was chosen; others were made from it, or from nothing, for this task.
        pooling: how places became vectors.
    """

    kind: Kind
    classes: tuple[str, ...]
    members: tuple[Member, ...]
    temperature: float
    sources: tuple[str, ...]
    pooling: Pooling

    @property
    def source(self) -> str:
        """URI of the encoder that was chosen."""
        return self.sources[0]

    def predict(self, layers: Sequence[Layers], sequences: IntArray | None = None) -> FloatArray:
        """Map features, given for each encoder, to probabilities (n, K), or values (n,).

        `sequences` (n,) says which sequence each row is of; for tagging, whose rows are words.
        """
        outputs = [m.outputs(layers[m.source], sequences) for m in self.members]
        weights = [m.weight for m in self.members]
        return combine(self.kind, outputs, self.temperature, weights)

    def save(self, folder: Path) -> None:
        """Write `model.json` and `heads.safetensors` into `folder`: no code, no pickle."""
        from safetensors.numpy import save

        arrays: dict[str, FloatArray] = {}
        for i, m in enumerate(self.members):
            arrays[f"{i}.centre"], arrays[f"{i}.factor"] = m.scale.centre, m.scale.factor
            arrays |= {f"{i}.head.{k}": np.ascontiguousarray(a) for k, a in m.head.arrays().items()}
        folder.mkdir(parents=True, exist_ok=True)
        with written_whole(folder / "heads.safetensors") as part:
            part.write_bytes(save(arrays))
        with written_whole(folder / "model.json") as part:
            part.write_text(json.dumps(self._describe(), indent=1, ensure_ascii=False))

    def _describe(self) -> dict[str, Any]:
        members = [
            {
                "layers": list(m.layers),
                "method": m.method,
                "head": m.head.kind,
                "temperature": m.temperature,
                "source": m.source,
                "weight": m.weight,
            }
            for m in self.members
        ]
        return {
            "version": MODEL_VERSION,
            "kind": self.kind,
            "classes": list(self.classes),
            "members": members,
            "temperature": self.temperature,
            "sources": list(self.sources),
            "pooling": self.pooling,
        }


def combine(
    kind: Kind,
    outputs: Sequence[FloatArray],
    temperature: float,
    weights: Sequence[float] | None = None,
) -> FloatArray:
    """Average members' outputs (n, K) as probabilities and calibrate; regression: (n,) means."""
    if kind == "regression":
        return np.average([o[:, 0] for o in outputs], axis=0, weights=weights)
    each = [to_probabilities(kind, o) for o in outputs]
    probabilities = np.average(each, axis=0, weights=weights)
    return apply_temperature(probabilities, temperature, kind)


def to_probabilities(kind: Kind, outputs: FloatArray) -> FloatArray:
    """Turn outputs (…, n, K) into probabilities of classes, tags or labels."""
    if kind in CLASSES:
        return np.asarray(np.exp(log_softmax(outputs)))
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * outputs)))


def log_odds(kind: Kind, probabilities: FloatArray) -> FloatArray:
    """Return outputs that `to_probabilities` turns back into these probabilities."""
    tiny = np.finfo(np.float64).tiny
    logs = np.log(np.maximum(probabilities, tiny))
    if kind == "multilabel":
        logs = logs - np.log(np.maximum(1.0 - probabilities, tiny))
    return np.asarray(logs)


def load_model(folder: Path) -> TransferModel:
    """Read a model that `save` wrote. Raises `SourceError` for anything that isn't one."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        told = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        arrays = load_file(folder / "heads.safetensors")
        return _rebuild(told, arrays)
    except OSError as error:
        raise SourceError(
            f"{folder} holds no model: {error.strerror or 'no such file'} "
            f"({error.filename or 'heads.safetensors'})."
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        raise SourceError(
            f"{folder} is not a model this version can read ({type(error).__name__}: {error}). "
            "It was damaged or changed; fit again, or restore the folder."
        ) from error


def _rebuild(told: dict[str, Any], arrays: dict[str, FloatArray]) -> TransferModel:
    if told["version"] != MODEL_VERSION:
        raise ValueError(f"model version {told['version']!r}, this version reads {MODEL_VERSION}")
    kind, classes = told["kind"], tuple(map(_text, told["classes"]))
    if kind not in KINDS or not told["members"]:
        raise ValueError(f"kind {kind!r} with {len(told['members'])} members")
    pooling = told["pooling"]
    if pooling not in POOLINGS:
        raise ValueError(f"pooling {pooling!r}")
    sources = tuple(map(_text, told["sources"]))
    members = tuple(_member(i, m, arrays) for i, m in enumerate(told["members"]))
    if {m.source for m in members} != set(range(len(sources))):
        raise ValueError(f"its members don't belong to its {len(sources)} encoders")
    for member in members:
        made = member.head.outputs(np.zeros((1, len(member.scale.centre)), np.float32))
        if made.shape[1] != len(classes):
            raise ValueError(f"{made.shape[1]} outputs for {len(classes)} classes")
    return TransferModel(
        kind=kind,
        classes=classes,
        members=members,
        temperature=_positive(told["temperature"]),
        sources=sources,
        pooling=pooling,
    )


def _member(i: int, told: dict[str, Any], arrays: dict[str, FloatArray]) -> Member:
    prefix = f"{i}.head."
    own = {k.removeprefix(prefix): a for k, a in arrays.items() if k.startswith(prefix)}
    centre, factor = arrays[f"{i}.centre"], arrays[f"{i}.factor"]
    if centre.ndim != 1 or centre.shape != factor.shape:
        raise ValueError(f"scales of shapes {centre.shape} and {factor.shape}")
    return Member(
        layers=tuple(map(_text, told["layers"])),
        method=_text(told["method"]),
        scale=BlockScale(centre, factor),
        head=HEADS[told["head"]].from_arrays(own),
        temperature=_positive(told["temperature"]),
        source=_number(told["source"]),
        weight=_positive(told["weight"]),
    )


def _number(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"a number from 0 on expected, found {value!r}")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"text expected, found {type(value).__name__}")
    return value


def _positive(value: Any) -> float:
    if not isinstance(value, int | float) or not 0.0 < value < float("inf"):
        raise ValueError(f"a number above zero expected, found {value!r}")
    return float(value)
