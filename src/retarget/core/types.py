"""Names for the types that pass between rooms."""

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating[Any]]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
StrArray = npt.NDArray[np.str_]

Modality = Literal["image", "text", "audio", "trajectory", "table"]
Kind = Literal["classification", "multilabel", "regression", "tagging"]
Pooling = Literal["mean", "cls", "mean+max", "max", "last", "first+last", "tokens", "words"]
ExportFormat = Literal["onnx", "huggingface"]

# Kinds whose targets are one class an example.
CLASSES: tuple[Kind, ...] = ("classification", "tagging")
