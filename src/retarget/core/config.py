"""`FitConfig`: what is asked of a fit. Command line, YAML and Python are this one thing."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from retarget.core.types import Kind


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


class FitConfig(DataConfig):
    """What is asked of a fit. Empty lists mean: everything that is here and fits."""

    sources: tuple[str, ...] = Field((), description="Source URIs to choose from.")
    layers: tuple[str, ...] = Field(
        (), description="Layers to choose from; 'last' is the deepest, 'all' all together."
    )
    methods: tuple[str, ...] = Field((), description="Methods to choose from.")
    baselines: tuple[Literal["majority", "pixels", "random"], ...] = Field(
        ("majority", "pixels", "random"), description="Denominators of transfer gain."
    )
    metric: str | None = Field(None, description="Headline metric; by kind if not said.")
    pooling: Literal["mean", "cls", "mean+max"] = Field(
        "mean", description="How places of a layer become one vector."
    )
    class_weight: Literal["balanced"] | None = Field(
        None, description="Weigh classes equally in linear heads."
    )
    out: str | None = Field(None, description="Run directory to write.")
    force: bool = Field(False, description="Replace a run that is already there.")
    split_from: str | None = Field(None, description="Run whose test examples stay test examples.")
    folds: int = Field(5, ge=2, le=20, description="Folds of cross-validation.")
    seed: int = Field(0, ge=0, lt=2**63, description="Of splits, bootstraps and random weights.")
    engine: Literal["auto", "eager", "onnx", "compiled"] = Field(
        "auto", description="How encoders are run."
    )
    device: str = Field("auto", description="auto, cpu, cuda, cuda:N or mps.")
    learning_curve: bool = Field(True, description="Measure performance against labels.")
