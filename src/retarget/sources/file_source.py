"""`file:PATH`: models on disk: what `Source.save` wrote, timm's and Hugging Face's folders, bare
state dicts, vectors of words."""

import shutil
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from retarget.core.errors import SourceError, UsageError
from retarget.core.hashing import hash_file_once, hash_json
from retarget.core.paths import written_whole
from retarget.core.text import printable
from retarget.sources import saved
from retarget.sources.blueprint import Blueprint
from retarget.sources.hf_source import CONFIG, LocalHfSource
from retarget.sources.model_source import ModelSource
from retarget.sources.pixels import PixelSource
from retarget.sources.registry import register
from retarget.sources.source import Facts, Source
from retarget.sources.static_source import ENDINGS, VectorFile
from retarget.sources.timm_config import recipe_of
from retarget.sources.weights import inside, read_json, read_tensors, refuse_ending

if TYPE_CHECKING:
    from torch import Tensor

    from retarget.sources.encoder import Encoder

_TIMM_FILES = ("model.safetensors", "pytorch_model.bin", "pytorch_model.pth", "model.pth")


class SavedSource(ModelSource):
    """A folder that `Source.save` wrote. It is believed only as far as its digests reach."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.uri = f"file:{folder}"

    @cached_property
    def record(self) -> saved.Saved:
        """What its `source.json` says."""
        return saved.read(self.folder)

    @property
    def facts(self) -> Facts:
        """What was known where it was saved."""
        return self.record.facts

    @cached_property
    def blueprint(self) -> Blueprint:
        """What was saved, its preprocessing spelt out."""
        return self.record.blueprint

    def weights_digest(self) -> str:
        """Return the digest of the weights. Raises `SourceError` if they aren't those saved."""
        path = inside(self.folder, saved.WEIGHTS)
        digest = hash_file_once(path)
        if digest != self.record.digest:
            raise SourceError(
                f"{printable(str(path))} is not the file that was saved: its digest is {digest}, "
                f"{saved.RECORD} says {self.record.digest}. Fetch or save the folder again."
            )
        return digest

    @cached_property
    def fingerprint(self) -> str:
        """The fingerprint it was saved under; another one under other library versions."""
        digest = self.weights_digest()
        recorded, versions = self.record.fingerprint, self.blueprint.versions()
        if saved.is_kept(recorded) and saved.read(saved.kept(recorded)).digest != digest:
            raise SourceError(
                f"{printable(str(self.folder))} claims to be {self.record.origin}, but its weights "
                "are others than those of the encoder known here by that fingerprint. It was not "
                "loaded; save it again from its source."
            )
        if dict(self.record.versions) == versions:
            return recorded
        return hash_json({"saved": recorded, "weights": digest, "versions": versions})

    def weights(self) -> "Mapping[str, Tensor]":
        """Return the tensors, having compared their digest."""
        self.weights_digest()
        return read_tensors(inside(self.folder, saved.WEIGHTS))

    def load(self) -> "Encoder":
        """Return the model, in evaluation mode on the CPU. Raises `SourceError`."""
        return self.blueprint.build(self.weights())

    def save(self, folder: Path) -> None:
        """Copy the folder's two files, having compared their digest."""
        self.weights_digest()
        for name in (saved.WEIGHTS, saved.RECORD):
            with written_whole(folder / name) as part:
                shutil.copyfile(inside(self.folder, name), part)


class TimmFile(ModelSource):
    """A file of weights of a timm architecture."""

    def __init__(self, place: Path, weights: Path, blueprint: Blueprint, facts: Facts) -> None:
        self.uri = f"file:{place}"
        self.file = weights
        self._blueprint = blueprint
        self._facts = facts

    @property
    def facts(self) -> Facts:
        """What is known of it."""
        return self._facts

    @cached_property
    def blueprint(self) -> Blueprint:
        """What is built."""
        return self._blueprint

    def weights_digest(self) -> str:
        """Return the digest of the file."""
        return hash_file_once(self.file)

    def weights(self) -> "Mapping[str, Tensor]":
        """Return the file's tensors."""
        return read_tensors(self.file)


def _timm(place: Path, weights: Path, config: Mapping[str, Any]) -> TimmFile:
    """Return the source of a file of weights beside timm's `config.json`."""
    said = config.get("pretrained_cfg")
    said = said if isinstance(said, dict) else config
    record = {
        "library": "timm",
        "architecture": config.get("architecture"),
        "arguments": config.get("model_args") or {},
        "preprocessing": recipe_of(said).record(),
    }
    licence = printable(str(said.get("license") or ""))
    return TimmFile(place, weights, Blueprint.from_record(record), _facts(place, weights, licence))


def _facts(place: Path, weights: Path, licence: str = "") -> Facts:
    size = round(weights.stat().st_size / 1e6, 1)
    return Facts("image", printable(place.name), licence=licence, megabytes=size)


def _bare(path: Path, architecture: str | None) -> Source:
    """Return the source of one file of weights."""
    refuse_ending(path)
    if architecture is None and path.suffix.lower() in ENDINGS:
        return VectorFile(path)
    if architecture is None:
        if not (path.parent / CONFIG).is_file():
            raise UsageError(
                f"{printable(str(path))} holds weights only: say whose, as in "
                f"file:{printable(path.name)}?arch=resnet18 (a timm name)."
            )
        config = read_json(inside(path.parent, CONFIG))
        if "model_type" in config:
            return LocalHfSource(path.parent, path)
        return _timm(path, path, config)
    blueprint = Blueprint.from_record(
        {"library": "timm", "architecture": architecture, "arguments": {}}
    )
    source = TimmFile(path, path, blueprint, _facts(path, path))
    source.uri = f"file:{path}?arch={architecture}"
    return source


def _folder(folder: Path) -> Source:
    """Return the source of a folder, told by the files it holds."""
    shown = printable(str(folder))
    if (folder / saved.RECORD).exists():
        source = SavedSource(folder)
        return PixelSource() if source.blueprint.library == "pixels" else source
    if not (folder / CONFIG).exists():
        raise UsageError(
            f"{shown} holds no model that is known here: neither {saved.RECORD} nor {CONFIG}."
        )
    config = read_json(inside(folder, CONFIG))
    if "architecture" in config:
        for name in _TIMM_FILES:
            if (folder / name).exists():
                return _timm(folder, inside(folder, name), config)
        raise SourceError(f"{shown} holds no weights ({' or '.join(_TIMM_FILES)}).")
    if "model_type" in config:
        return LocalHfSource(folder)
    raise SourceError(f"{shown}: {CONFIG} names neither a timm architecture nor a model_type.")


@register("file")
def file_source(name: str) -> Source:
    """Return `file:PATH`, `file:PATH?arch=NAME` for a bare state dict of a timm architecture."""
    path, _, query = name.partition("?")
    if not path:
        raise UsageError("file: needs a path, as in file:models/my-encoder.")
    asked = dict(parse_qsl(query))
    if set(asked) - {"arch"}:
        raise UsageError(f"file: knows the option arch, not {printable(', '.join(asked))}.")
    place = Path(path).expanduser().absolute()
    if place.is_dir():
        return _folder(place)
    if not place.is_file():
        raise UsageError(f"There is no file or folder {printable(str(place))}.")
    return _bare(place, asked.get("arch"))
