"""`hf:NAME`: encoders of pictures and of texts of transformers, from safetensors or state dicts
that run no code, and without code of their own."""

import re
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retarget.core.errors import SourceError, UsageError
from retarget.core.hashing import hash_file_once, hash_json
from retarget.core.text import printable
from retarget.core.types import Modality
from retarget.sources import hub, saved
from retarget.sources.blueprint import Blueprint
from retarget.sources.model_source import ModelSource
from retarget.sources.registry import lists, register
from retarget.sources.source import Facts, Source
from retarget.sources.text_folder import (
    TOKENIZER,
    TOKENIZER_CONFIG,
    dense_files,
    reads_texts,
    text_arguments,
    tokenizer_text,
)
from retarget.sources.weights import (
    check_safetensors,
    inside,
    read_json,
    read_tensors,
    tensor_names,
)
from retarget.sources.well_known import KNOWN_HF, KNOWN_TEXT

if TYPE_CHECKING:
    from torch import Tensor

CONFIG = "config.json"
PROCESSOR = "preprocessor_config.json"
WEIGHTS = "model.safetensors"
STATIC = "model2vec"
INDEX = "model.safetensors.index.json"
# Where there are no safetensors: state dicts, read with `weights_only=True`.
STATE_DICT, STATE_DICT_INDEX = "pytorch_model.bin", "pytorch_model.bin.index.json"
_MODULE = re.compile(r"\d{1,2}_[A-Za-z]{1,40}/(config\.json|model\.safetensors)")
_PICTURES = re.compile(r"beit|clip|siglip|vit|resnet|conv|dino|image|vision", re.IGNORECASE)
_TEXT = re.compile(
    r"bert|gpt|minilm|mpnet|electra|t5|bart|xlm|llama|qwen|mistral|gemma|opt-|pythia|sentence|text|"
    r"(^|/|-)(e5|bge|gte|potion|m2v)-",
    re.IGNORECASE,
)
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


class HfFolder(ModelSource):
    """A model in transformers' own layout of files."""

    @abstractmethod
    def path(self, name: str) -> Path:
        """Return a file of the model. Raises `SourceError`."""

    @abstractmethod
    def has(self, name: str) -> bool:
        """Return whether the model has such a file."""

    @property
    def facts(self) -> Facts:
        """What a person wants to know; of a folder only its size is known."""
        size = sum(path.stat().st_size for path in self._shards()) / 1e6
        title = self.uri.rsplit("/", 1)[-1]
        return Facts(self._modality(), title, megabytes=round(size, 1))

    def _modality(self) -> Modality:
        """Return what the model reads, told by its files."""
        config = read_json(self.path(CONFIG))
        pictures = isinstance(config.get("vision_config"), dict) or self.has(PROCESSOR)
        return "text" if not pictures and reads_texts(self) else "image"

    @cached_property
    def blueprint(self) -> Blueprint:
        """The bare encoder of the model's configuration, of several its encoder of pictures."""
        config = read_json(self.path(CONFIG))
        if config.get("model_type") == STATIC:
            return Blueprint.from_record(self._static(config))
        if self._modality() == "text":
            record = {
                "library": "transformers",
                "architecture": config.get("model_type"),
                "arguments": text_arguments(self, config),
            }
            return Blueprint.from_record(record)
        if isinstance(config.get("vision_config"), dict):
            config = config["vision_config"]
        names = [name for shard in self._shards() for name in tensor_names(shard)]
        if not self.has(PROCESSOR):
            raise SourceError(
                f"{self.uri} has no {PROCESSOR}, so how its pictures are prepared is not known. "
                "Copy that file from where the model came from."
            )
        record = {
            "library": "transformers",
            "architecture": config.get("model_type"),
            "arguments": {
                "config": config,
                "processor": read_json(self.path(PROCESSOR)),
                "pooler": any("pooler." in name for name in names),
            },
        }
        return Blueprint.from_record(record)

    def _static(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return the record of model2vec's folder: a vector for every piece."""
        shapes = check_safetensors(self.path(WEIGHTS))
        table = shapes.get("embeddings", ())
        if len(table) != 2 or len(rows := shapes.get("mapping", table[:1])) != 1:
            raise SourceError(f"{self.uri} is no folder of model2vec: it has no table embeddings.")
        arguments = {
            "tokenizer": tokenizer_text(self),
            "rows": rows[0],
            "width": table[1],
            "normalize": config.get("normalize") is True,
        }
        return {"library": "static", "architecture": STATIC, "arguments": arguments}

    def _shards(self) -> list[Path]:
        """Return the files of weights."""
        for whole, index in ((WEIGHTS, INDEX), (STATE_DICT, STATE_DICT_INDEX)):
            if self.has(whole):
                return [self.path(whole)]
            if self.has(index):
                return self._indexed(index)
        raise SourceError(
            f"{self.uri} holds no weights: neither {WEIGHTS} nor {STATE_DICT}, whole or in parts."
        )

    def _indexed(self, index: str) -> list[Path]:
        places = read_json(self.path(index)).get("weight_map")
        if not isinstance(places, dict) or not all(isinstance(v, str) for v in places.values()):
            raise SourceError(f"{self.uri}: {index} does not say where the weights are.")
        return [self.path(name) for name in sorted(set(places.values()))]

    def weights_digest(self) -> str:
        """Return the digest of all files of weights."""
        return hash_json([hash_file_once(path) for path in [*self._shards(), *self._dense()]])

    def _dense(self) -> list[Path]:
        """Return the files of weights of layers behind the pooling."""
        return dense_files(self) if "reading" in self.blueprint.arguments else []

    def weights(self) -> "Mapping[str, Tensor]":
        """Return the encoder's tensors, from the converted copy if there is one."""
        if (kept := saved.kept_tensors(self.fingerprint)) is not None:
            return kept
        tensors: dict[str, Any] = {}
        for shard in self._shards():
            tensors |= read_tensors(shard)
        if self.blueprint.library == "static":
            from retarget.sources.static_encoder import folded

            return folded(tensors)
        from retarget.sources.dense import beside
        from retarget.sources.hf_encoder import converted

        found = converted(self.blueprint, tensors)
        for place, path in enumerate(self._dense()):
            found |= beside(read_tensors(path), place)
        return found


class LocalHfSource(HfFolder):
    """A Hugging Face folder on disk, or one file of weights in it, whatever its name is."""

    def __init__(self, folder: Path, weights: Path | None = None) -> None:
        self.folder = folder
        self.uri = f"file:{weights or folder}"
        self._weights = weights

    def _shards(self) -> list[Path]:
        """Return the files of weights."""
        return super()._shards() if self._weights is None else [self._weights]

    def path(self, name: str) -> Path:
        """Return a file of the folder; links and names out of it are refused."""
        return inside(self.folder, name)

    def has(self, name: str) -> bool:
        """Return whether the folder has such a file."""
        return (self.folder / name).exists()


class HfSource(HfFolder):
    """A model of the hub, fetched into its local cache when first used."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.uri = f"hf:{name}"

    @property
    def facts(self) -> Facts:
        """What a person wants to know; little for a model that isn't well known."""
        here = any(
            hub.cached_file(self.name, name)
            for name in (WEIGHTS, INDEX, STATE_DICT, STATE_DICT_INDEX)
        )
        known = (KNOWN_HF | KNOWN_TEXT).get(self.name) or Facts(self._guess(), self.name)
        return replace(
            known, here=here, how_to_get="" if here else "fetched from the hub when first used"
        )

    def _guess(self) -> Modality:
        """Return what the model reads: told by its files where they are here, else by its name."""
        if hub.cached_file(self.name, CONFIG) is None:
            return (
                "text" if _TEXT.search(self.name) and not _PICTURES.search(self.name) else "image"
            )
        pictures = hub.cached_file(self.name, PROCESSOR)
        words = hub.cached_file(self.name, TOKENIZER, TOKENIZER_CONFIG, "vocab.txt")
        return "text" if words and not pictures else "image"

    def path(self, name: str) -> Path:
        """Return a cached file, fetching it if need be."""
        if ("/" in name or "\\" in name) and not _MODULE.fullmatch(name):
            raise SourceError(f"{self.uri} names a file out of its folder: {printable(name)}.")
        if found := hub.cached_file(self.name, name) or self._fetched(name):
            return found
        raise SourceError(f"{self.uri} has no file {printable(name)}.")

    def has(self, name: str) -> bool:
        """Return whether the model has such a file, here or on the hub."""
        return bool(hub.cached_file(self.name, name) or self._fetched(name))

    def _fetched(self, name: str) -> Path | None:
        """Fetch a file; `None` where the model has none of that name."""
        if (folder := hub.snapshot(self.name)) and (folder / CONFIG).is_file() and hub.is_offline():
            return None
        hub.check_reachable(self.uri, self.name)
        from transformers.utils.hub import cached_file

        try:
            found = cached_file(
                self.name,
                name,
                _raise_exceptions_for_missing_entries=False,
                _raise_exceptions_for_connection_errors=True,
            )
        except Exception as error:  # of networks and hubs there are too many kinds
            reason = str(error).strip().partition("\n")[0]
            raise SourceError(f"{self.uri} could not be fetched: {reason}") from error
        return Path(found) if found else None


@register("hf")
def hf_source(name: str) -> Source:
    """Return `hf:NAME`."""
    if not _NAME.fullmatch(name) or ".." in name:
        raise UsageError(
            f"{printable(name)!r} is no name of a model on the hub, such as facebook/dinov2-small."
        )
    return HfSource(name)


@lists
def well_known_hf() -> list[Source]:
    """Return well-known models of the hub."""
    return [HfSource(name) for name in (*KNOWN_HF, *KNOWN_TEXT)]
