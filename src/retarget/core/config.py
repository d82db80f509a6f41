"""`FitConfig`: what is asked of a fit. Command line, YAML and Python are this one thing."""

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from retarget.core.types import Kind

_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}
_TIME = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([smh]?)\s*")


def seconds(told: Any) -> Any:
    """Read a time such as `90`, `90s`, `5m` or `1.5h` as seconds; leave all else as it is."""
    match = _TIME.fullmatch(told) if isinstance(told, str) else None
    return float(match[1]) * _UNITS[match[2]] if match else told


def number_or_word(told: Any) -> Any:
    """Read a number that was written as text; leave all else as it is."""
    try:
        return float(told) if isinstance(told, str) else told
    except ValueError:
        return told


BaselineName = Literal["majority", "pixels", "tfidf", "crf", "random", "scratch", "small-cnn"]


class DataConfig(BaseModel):
    """How data is read."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    data: str = Field(description="Folder or manifest with the examples.")
    kind: Kind | None = Field(None, description="What the targets are; read from them if not said.")
    columns: dict[str, str] = Field(
        default_factory=dict, description="Manifest columns by role: {'label': 'diagnosis'}."
    )
    domains: bool = Field(False, description="The first folder level is the domain.")
    strict: bool = Field(False, description="Stop on files that can't be read.")
    follow_links: bool = Field(False, description="Follow symbolic links out of the data folder.")
    encoding: str | None = Field(
        None, description="Encoding of files of text; told by their bytes if not said."
    )


class FitConfig(DataConfig):
    """What is asked of a fit. Empty lists mean: everything that is here and fits."""

    sources: tuple[str, ...] = Field((), description="Source URIs to choose from.")
    layers: tuple[str, ...] = Field(
        (), description="Layers to choose from; 'last' is the deepest, 'all' all together."
    )
    methods: tuple[str | dict[str, Any], ...] = Field(
        (), description="Methods to choose from, by name or as {'name': 'finetune', 'epochs': 5}."
    )
    baselines: tuple[BaselineName, ...] | None = Field(
        None,
        description="Denominators of transfer gain; if not said majority, what needs no model "
        "(pixels, tfidf or crf), random, and with methods that change weights scratch and "
        "small-cnn.",
    )
    epochs: int | None = Field(None, ge=1, le=100_000, description="Of training, at most.")
    lr: Annotated[float | Literal["auto"] | None, BeforeValidator(number_or_word)] = Field(
        None, description="Learning rate of training; 'auto' finds it by a range test."
    )
    from_layer: str | None = Field(
        None, description="First layer to fine-tune, or how many of the last; 'all' for all."
    )
    time: Annotated[float | None, BeforeValidator(seconds)] = Field(
        None, gt=0, description="Seconds for all training together, or as in 5m, 1.5h."
    )
    track: Literal["tensorboard", "mlflow"] | None = Field(
        None, description="Where to log trainings as they go."
    )
    robustness: bool | None = Field(
        None,
        description="Judge under corruption too; if not said, where methods change weights.",
    )
    metric: str | None = Field(None, description="Headline metric; by kind if not said.")
    pooling: Literal["mean", "cls", "mean+max", "max", "last", "first+last"] = Field(
        "mean", description="How places of a layer become one vector."
    )
    class_weight: Literal["balanced"] | None = Field(
        None, description="Weigh classes equally in linear heads."
    )
    out: str | None = Field(None, description="Run directory to write.")
    force: bool = Field(False, description="Replace a run that is already there.")
    split_from: str | None = Field(
        None, description="Run whose test examples stay test examples, and whose folds stay folds."
    )
    keep_leaks: bool = Field(
        False,
        description="Learn from what is nearly equal to test examples, or of their groups, too.",
    )
    folds: int = Field(5, ge=2, le=20, description="Folds of cross-validation.")
    seed: int = Field(0, ge=0, lt=2**63, description="Of splits, bootstraps and random weights.")
    engine: Literal["auto", "eager", "onnx", "compiled"] = Field(
        "auto", description="How encoders are run."
    )
    device: str = Field("auto", description="auto, cpu, cuda, cuda:N or mps.")
    learning_curve: bool = Field(True, description="Measure performance against labels.")
