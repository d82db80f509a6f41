"""`Blueprint`: everything but the weights that is needed to build an encoder again."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

from retarget.core.errors import SourceError
from retarget.core.hashing import versions_of
from retarget.sources.recipe import Recipe

if TYPE_CHECKING:
    from torch import Tensor

    from retarget.sources.encoder import Encoder

Library = Literal["timm", "transformers", "pixels", "small", "own", "static"]

NAME = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*(-[A-Za-z0-9_.]+)*")
HARMLESS = (None, False, "eager", "sdpa")
MAX_NUMBER = 1_000_000
MAX_DEPTH = 8

# Arguments and settings that make a library fetch, open or run something.
REFUSED = frozenset(
    {
        "_attn_implementation",
        "_attn_implementation_internal",
        "_experts_implementation",
        "attn_implementation",
        "auto_map",
        "cache_dir",
        "checkpoint_path",
        "custom_pipelines",
        "features_only",
        "pretrained",
        "pretrained_cfg",
        "pretrained_cfg_overlay",
        "pretrained_strict",
        "quantization_config",
        "scriptable",
        "trust_remote_code",
        "use_kernels",
        "use_pretrained_backbone",
    }
)


@dataclass(frozen=True)
class Blueprint:
    """What is built, by which library.

    Attributes:
        library: whose architecture it is.
        architecture: timm's model name, Hugging Face's model type, "pixels", "cnn" (small), the
            name under which a user's own is registered.
        arguments: further arguments of the architecture (timm), its configuration (transformers).
        recipe: preprocessing; `None` for the library's own for that name.
        side: of the input in pixels, where the recipe is to be scaled to another than its own. A
            saved blueprint has a scaled recipe instead.
    """

    library: Library
    architecture: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    recipe: Recipe | None = None
    side: int | None = None

    def record(self) -> dict[str, Any]:
        """Return the blueprint, JSON-able. `side` is only there where there is one."""
        return {
            **({"side": self.side} if self.side else {}),
            "library": self.library,
            "architecture": self.architecture,
            "arguments": dict(self.arguments),
            "preprocessing": self.recipe.record() if self.recipe else None,
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "Blueprint":
        """Return the blueprint that `record()` described. Raises `SourceError` for one that isn't
        plain data of the known fields, or names anything that would fetch or run code."""
        if record.get("library") not in get_args(Library):
            raise SourceError(f"A source's library is {record.get('library')!r}, which is unknown.")
        architecture = record.get("architecture")
        if not isinstance(architecture, str) or not NAME.fullmatch(architecture):
            raise SourceError(f"A source's architecture is not a plain name: {architecture!r}.")
        arguments = record.get("arguments")
        if not isinstance(arguments, dict):
            raise SourceError("The arguments of a source's architecture are not a JSON object.")
        check_plain(arguments)
        recipe = record.get("preprocessing")
        return cls(
            record["library"],
            architecture,
            arguments,
            None if recipe is None else Recipe.from_record(recipe),
        )

    def sized(self, recipe: Recipe) -> Recipe:
        """Return a recipe at the size that is wanted of it."""
        return recipe.scaled(self.side) if self.side else recipe

    def build(self, weights: "Mapping[str, Tensor] | int") -> "Encoder":
        """Return the encoder with `weights`: tensors by the model's own names, or the seed of
        random ones. The global random state is left as it was. Raises `SourceError`."""
        if self.library == "timm":
            from retarget.sources.timm_encoder import build_timm

            return build_timm(self, weights)
        if self.library == "transformers" and "tokenizer" in self.arguments:
            from retarget.sources.hf_text import build_text

            return build_text(self, weights)
        if self.library == "transformers":
            from retarget.sources.hf_encoder import build_hf

            return build_hf(self, weights)
        if self.library == "small":
            from retarget.sources.small_encoder import build_small

            return build_small(self, weights)
        if self.library == "own":
            from retarget.sources.own_encoder import build_own

            return build_own(self, weights)
        if self.library == "static":
            from retarget.sources.static_encoder import build_static

            return build_static(self, weights)
        raise SourceError(f"Models of {self.library} can't be built from weights.")

    def versions(self) -> dict[str, str]:
        """Return the versions of the libraries that decide the features."""
        if self.library == "static":
            return versions_of(("tokenizers", "torch"))
        if "tokenizer" in self.arguments:
            return versions_of(("transformers", "tokenizers", "torch"))
        return library_versions(self.library)


def library_versions(library: Library) -> dict[str, str]:
    """Return the versions of the libraries that an encoder of `library` runs on."""
    theirs = (library,) if library in ("timm", "transformers") else ()
    return versions_of((*theirs, "torch", "pillow"))


def check_plain(value: Any, depth: int = 0) -> None:
    """Raise `SourceError` unless `value` is modest plain JSON without the `REFUSED` keys."""
    if depth > MAX_DEPTH:
        raise SourceError("A model's configuration is nested too deeply to be one.")
    if isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str) or (key in REFUSED and inner not in HARMLESS):
                raise SourceError(
                    f"A model's configuration asks for {str(key)!r}, which could fetch or run "
                    "something. It was not loaded. Remove that entry if you trust the rest."
                )
            check_plain(inner, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            check_plain(inner, depth + 1)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        if not math.isfinite(value) or (isinstance(value, int) and abs(value) > MAX_NUMBER):
            raise SourceError(f"A model's configuration holds the number {value}: out of range.")
    elif value is not None and not isinstance(value, (str, bool)):
        raise SourceError(f"A model's configuration holds {type(value).__name__}, not plain JSON.")
