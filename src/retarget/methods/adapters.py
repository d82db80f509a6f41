"""Adapters of the package `peft` in any encoder: where they go, how they are written."""

import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from retarget.core.errors import MissingExtraError, StoreError, UsageError
from retarget.sources.encoder import Encoder, Group
from retarget.sources.random_state import own_random_state

if TYPE_CHECKING:
    from peft import PeftConfig, PeftModel

    from retarget.methods.lora import Lora

# Adapters that multiply: what PEFT calls their parameters.
SCALES = ("ia3_l", "lora_magnitude_vector")
# They read their parts' weights instead of calling them: an adapter there would not be seen.
_FUSED = (nn.MultiheadAttention, nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)


def base_of(encoder: Encoder) -> nn.Module:
    """Return the library's own module inside an encoder: adapters belong to that."""
    inner = getattr(encoder, "model", encoder)
    return inner if isinstance(inner, nn.Module) else encoder


def targets(base: nn.Module) -> dict[str, nn.Module]:
    """Return the modules that adapters can be put at, by name, in order: linear layers and
    ungrouped convolutions that do what their type says."""
    inside = {name for name, module in base.named_modules() if isinstance(module, _FUSED)}
    return {
        name: module
        for name, module in base.named_modules()
        if _plain(module) and not any(name.startswith(f"{fused}.") for fused in inside)
    }


def _plain(module: nn.Module) -> bool:
    if is_parametrized(module):
        return False
    # A subclass with a forward pass of its own may pad, or change its weight on the way.
    forward = type(module).forward
    if isinstance(module, nn.Conv2d):
        zeros = module.padding_mode == "zeros"
        return module.groups == 1 and zeros and forward is nn.Conv2d.forward
    return forward is nn.Linear.forward or _is_transposed(module)


def _is_transposed(module: nn.Module) -> bool:
    """Return whether it is a linear layer as GPT-2 has them, its weight (in, out)."""
    named = type(module).__module__.startswith("transformers.") and type(module).__name__
    return named == "Conv1D"


def adapter_size(module: nn.Module, rank: int) -> int:
    """Return how many numbers a LoRA of that rank has at a module."""
    weight: Any = module.weight
    outputs = outputs_of(module)
    return rank * (int(weight.numel()) // outputs + outputs)


def outputs_of(module: nn.Module) -> int:
    """Return how many outputs a module has: DoRA has a length for each."""
    weight: Any = module.weight
    return int(weight.shape[1] if _is_transposed(module) else weight.shape[0])


def largest_rank(encoder: Encoder, how: "Lora", rank: int, outputs: int, most: float) -> int:
    """Return the rank, halved until adapters and head have at most a share `most` of all."""
    places = targets(base_of(encoder)).values()
    head = outputs * (encoder.layers[-1].width + 1)
    room = most * (sum(p.numel() for p in encoder.parameters()) + head) - head
    if how.kind == "dora":
        room -= sum(outputs_of(m) for m in places)
    while rank > 1 and sum(adapter_size(m, rank) for m in places) > room:
        rank //= 2
    return rank


def put_in(
    encoder: Encoder, how: "Lora", groups: Sequence[Group], seed: int
) -> "tuple[PeftModel, tuple[str, ...]]":
    """Put adapters into an encoder, at modules whose parameters are in `groups`.

    Returns the model as `peft` sees it, and the names of the adapters' parameters in the encoder.

    Raises:
        MissingExtraError: `peft` is not installed.
        UsageError: there is no place for an adapter.
    """
    get_peft_model = _peft().get_peft_model
    base = base_of(encoder)
    wanted = {name for group in groups for name in group.parameters}
    owners = {id(p): name for name, p in encoder.named_parameters()}
    places = [
        name
        for name, module in targets(base).items()
        if owners.get(id(module.weight)) in wanted and _pays(module, how)
    ]
    if not places:
        raise UsageError(
            "The encoder has no linear layer or ungrouped convolution that an adapter could be "
            "put at. Use finetune, bitfit or norms."
        )
    with own_random_state(seed), _quiet():
        model = get_peft_model(base, _config(how, places))
    trained = tuple(name for name, p in encoder.named_parameters() if p.requires_grad)
    return model, trained


def _pays(module: nn.Module, how: "Lora") -> bool:
    """Return whether an adapter is smaller than what it adapts."""
    weight: Any = module.weight
    return how.rank is None or adapter_size(module, how.rank) < weight.numel()


def _config(how: "Lora", places: Sequence[str]) -> "PeftConfig":
    peft = _peft()
    # As an expression, which is matched whole: names in a list would match as endings too.
    at = "|".join(re.escape(name) for name in places)
    config: PeftConfig
    if how.kind == "ia3":
        config = peft.IA3Config(target_modules=at, feedforward_modules=[])
    else:
        config = peft.LoraConfig(
            r=how.rank,
            lora_alpha=how.alpha,
            lora_dropout=how.dropout,
            target_modules=at,
            use_dora=how.kind == "dora",
        )
    return config


def _peft() -> Any:
    try:
        import peft
    except ImportError as error:
        raise MissingExtraError(
            "Adapters need the package peft, which is not installed. "
            'Run: pip install "retarget[tune]"'
        ) from error
    return peft


def save(model: Any, folder: Path) -> str:
    """Write adapters as `PeftModel.from_pretrained` reads them. Raises `StoreError`."""
    try:
        with _quiet():
            model.save_pretrained(str(folder), safe_serialization=True)
        (folder / "README.md").unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(f"The adapters can't be written to {folder} ({error}).") from error
    return str(folder)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep advice that is about other people's models off the terminal inside the block."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
