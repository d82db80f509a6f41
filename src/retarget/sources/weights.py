"""Weights read from files nobody vouches for: safetensors, or state dicts without code."""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retarget.core.errors import SourceError
from retarget.core.text import printable

if TYPE_CHECKING:
    from torch import Tensor, nn

MAX_HEADER = 25_000_000
MAX_TENSORS = 100_000
MAX_JSON = 4_000_000
SPARE_NUMBERS = 10_000_000
STATE_DICTS = (".pt", ".pth", ".bin")
_REFUSED = {
    ".pkl": "pickles can run code",
    ".pickle": "pickles can run code",
    ".joblib": "joblib files are pickles and can run code",
    ".h5": "Keras files can hold code",
    ".hdf5": "Keras files can hold code",
    ".keras": "Keras files can hold code",
    ".onnx": "ONNX graphs can't be taken apart into layers",
}
_BITS = {
    "F64": 64, "F32": 32, "F16": 16, "BF16": 16, "I64": 64, "I32": 32, "I16": 16, "I8": 8,
    "U8": 8, "BOOL": 8,
}  # fmt: skip
_NESTED = ("state_dict_ema", "model_ema", "state_dict", "model", "model_state_dict")


def refuse_ending(path: Path) -> None:
    """Raise `SourceError` for a kind of file that is never opened as a model."""
    if reason := _REFUSED.get(path.suffix.lower()):
        raise SourceError(
            f"{printable(str(path))} is not opened: {reason}. Save the weights as safetensors "
            "(safetensors.torch.save_file) and use that file."
        )


def read_tensors(path: Path) -> "dict[str, Tensor]":
    """Return the tensors of a `.safetensors` file or a state dict, by name, in the file's order.

    State dicts load with `weights_only=True`, which runs no code; there is no other way in.
    Raises `SourceError` for anything else, and for files that claim more than they hold.
    """
    refuse_ending(path)
    if path.suffix.lower() == ".safetensors":
        check_safetensors(path)
        from safetensors.torch import load_file

        return dict(load_file(path))
    if path.suffix.lower() not in STATE_DICTS:
        raise SourceError(
            f"{printable(str(path))} is no file of weights that is read here. "
            f"Known: .safetensors, {', '.join(STATE_DICTS)}."
        )
    return _state_dict(path)


def tensor_names(path: Path) -> list[str]:
    """Return the names of a file's tensors, of safetensors without reading them."""
    if path.suffix.lower() == ".safetensors":
        return list(check_safetensors(path))
    return list(read_tensors(path))


def _state_dict(path: Path) -> "dict[str, Tensor]":
    import torch

    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise SourceError(f"There is no file {printable(str(path))}.") from None
    except Exception as error:
        raise SourceError(
            f"{printable(str(path))} is not a plain state dict: it is damaged or holds code, and "
            "was not loaded. Save it again as safetensors (safetensors.torch.save_file)."
        ) from error
    for key in _NESTED:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
            break
    if not isinstance(loaded, Mapping):
        raise SourceError(f"{printable(str(path))} holds no state dict.")
    tensors = {str(k).removeprefix("module."): v for k, v in loaded.items()}
    strange = [name for name, value in tensors.items() if not isinstance(value, torch.Tensor)]
    if strange or not tensors:
        what = f"{printable(strange[0])!r} is no tensor" if strange else "it is empty"
        raise SourceError(f"{printable(str(path))} holds no state dict of a model: {what}.")
    return tensors


def check_safetensors(path: Path) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor of a safetensors file, having checked that the header
    fits the file, before anything is allocated. Raises `SourceError`."""
    shown = printable(str(path))
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if size < 10 or length > min(size - 8, MAX_HEADER):
                raise SourceError(
                    f"{shown} is damaged or hostile: its header claims {length:,} bytes, the file "
                    f"has {size:,}. It was not loaded; fetch it again."
                )
            header = json.loads(stream.read(length))
    except OSError as error:
        raise SourceError(f"{shown} can't be read ({error.strerror}).") from error
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{shown} is damaged: its header is not JSON.") from error
    try:
        return _shapes(header, size - 8 - length)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SourceError(f"{shown} is damaged or hostile: {error}. It was not loaded.") from error


def _shapes(header: Any, room: int) -> dict[str, tuple[int, ...]]:
    shapes = {}
    if len(header) > MAX_TENSORS:
        raise ValueError(f"its header lists {len(header):,} tensors")
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        shape, (start, end) = entry["shape"], entry["data_offsets"]
        if entry["dtype"] not in _BITS or not all(type(n) is int and n >= 0 for n in shape):
            raise ValueError(f"tensor {printable(name)!r} has a strange type or shape")
        numbers = 1
        for n in shape:
            numbers *= n
        wanted = numbers * _BITS[entry["dtype"]] // 8
        if type(start) is not int or not 0 <= start <= end <= room or end - start != wanted:
            raise ValueError(f"tensor {printable(name)!r} claims {wanted:,} bytes it doesn't have")
        shapes[name] = tuple(shape)
    return shapes


def check_size(
    create: "Callable[[], nn.Module]", weights: "Mapping[str, Tensor]", what: str
) -> None:
    """Raise `SourceError` if a configuration asks for far more numbers than its weights hold,
    before they are allocated."""
    import torch

    with torch.device("meta"):
        asked = sum(parameter.numel() for parameter in create().parameters())
    held = sum(value.numel() for value in weights.values())
    if asked > 2 * held + SPARE_NUMBERS:
        raise SourceError(
            f"The configuration of {what} asks for {asked:,} parameters, but its weights hold "
            f"{held:,} numbers. It was not built; the two don't belong together."
        )


def fill(model: "nn.Module", weights: "Mapping[str, Tensor]", what: str) -> None:
    """Load `weights` into `model`, every one at its place. Counters of batches may be missing.

    Raises `SourceError` naming the first tensors that are missing, unexpected or misshapen.
    """
    own = model.state_dict()
    counters = {name for name in own if name.endswith("num_batches_tracked")}
    missing = [name for name in own if name not in weights and name not in counters]
    extra = [name for name in weights if name not in own]
    wrong = [
        f"{name} is {tuple(weights[name].shape)} where {tuple(own[name].shape)} belongs"
        for name in own
        if name in weights and weights[name].shape != own[name].shape
    ]
    found = [
        f"{len(names):,} {word} ({', '.join(printable(n, 120) for n in names[:3])})"
        for word, names in (("missing", missing), ("unexpected", extra), ("misshapen", wrong))
        if names
    ]
    if found:
        raise SourceError(f"The weights don't fit {what}: tensors {', '.join(found)}.")
    model.load_state_dict(dict(weights), strict=False)


def read_json(path: Path, most: int = MAX_JSON) -> dict[str, Any]:
    """Return the JSON object in a file of at most 4 MB, or `most` bytes. Raises `SourceError`."""
    shown = printable(str(path))
    try:
        if path.stat().st_size > most:
            raise SourceError(f"{shown} is too large to be a model's configuration.")
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SourceError(f"{shown} can't be read ({error.strerror}).") from error
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{shown} is not JSON.") from error
    if not isinstance(value, dict):
        raise SourceError(f"{shown} is not a JSON object.")
    return value


def inside(folder: Path, name: str) -> Path:
    """Return the plain file `name` inside `folder`. Raises `SourceError` for one that is missing
    or leads out of it (`..`, absolute, a symbolic link)."""
    path = folder / name
    root = os.path.realpath(folder)
    real = os.path.realpath(path)
    if os.path.commonpath([root, real]) != root:
        raise SourceError(
            f"{printable(str(path))} leads out of its folder (to {printable(real)}). "
            "It was not opened; copy the file into the folder if you trust it."
        )
    if not Path(real).is_file():
        raise SourceError(f"{printable(str(folder))} holds no file {printable(name)}.")
    return Path(real)
