"""Checkpoints of trainings: written whole or not at all, and never trusted when read."""

import json
import re
import shutil
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retarget.core.errors import SourceError
from retarget.core.hashing import hash_json
from retarget.core.paths import cache_dir, folder_megabytes, written_whole
from retarget.core.processes import anywhere, broadcast, is_main
from retarget.sources.weights import check_safetensors

if TYPE_CHECKING:
    import torch
    from torch import Tensor

MEGABYTES = 2000.0
_FILE = "state.safetensors"
_FORM = "retarget training 1"
_KEY = re.compile(r"[0-9a-f]{8,128}")
_NUMBERS = (bool, int, float, str, type(None))


@dataclass(frozen=True, eq=False)
class State:
    """What a training needs to go on.

    Attributes:
        tensors: by name, on the CPU.
        told: the JSON-able rest.
        mark: digest of it all.
    """

    tensors: "dict[str, Tensor]"
    told: dict[str, Any]
    mark: str


class Checkpoints:
    """The last checkpoint of one training, in `trainings/KEY` of the cache.

    All of it is one file, which is moved into place when it is on the disk: whoever kills the
    process, and whenever, the last complete checkpoint can be read. Tensors carry checksums.

    In several processes every one calls each method: the main process writes and deletes, and all
    load the same or none does.

    Args:
        key: hexadecimal digest of all that decides the training. Raises `ValueError` for others,
            since it becomes the name of a folder.
    """

    def __init__(self, key: str) -> None:
        if not _KEY.fullmatch(key):
            raise ValueError(f"{key!r} is no hexadecimal digest of 8 to 128 digits")
        self.folder = _root() / key

    @property
    def path(self) -> Path:
        """The file."""
        return self.folder / _FILE

    def save(self, tensors: "Mapping[str, Tensor]", told: Mapping[str, Any]) -> str:
        """Replace the last checkpoint. Nothing of the arguments is kept or changed.

        Args:
            tensors: by name; copied from where they are.
            told: JSON-able. Numbers come back as they were, tuples as lists.

        Returns:
            "", or a sentence that says why it could not be written (a full disk, a folder that
            is read-only). The last good one is then still there, and training can go on.
        """
        if not is_main():
            return ""
        from safetensors import SafetensorError
        from safetensors.torch import save_file

        owned = _owned(tensors)
        text = json.dumps(dict(told))
        about = {"form": _FORM, "told": text, "mark": _mark(text, owned)}
        try:
            with written_whole(self.path) as part:
                save_file(owned, part, metadata=about)
        except (OSError, SafetensorError) as error:
            return (
                f"A checkpoint could not be written to {self.folder} ({error}). Training went on; "
                "if it is killed it starts again from the last one that was written, if any."
            )
        return ""

    def load(self) -> State | None:
        """Return the last checkpoint, `None` where there is none.

        One that is damaged, cut short or not a checkpoint at all is thrown away. Nothing in it is
        run, and its header is checked before anything is allocated.
        """
        found = self._read()
        mark = found.mark if found else ""
        return None if anywhere(mark != broadcast(mark)) else found

    def _read(self) -> State | None:
        if is_main():
            # Left by kills: ours, and safetensors writes to a hidden file of its own.
            for part in self.folder.glob(".*"):
                part.unlink(missing_ok=True)
        if not self.path.is_file():
            self.remove()
            return None
        try:
            state = _state(self.path)
            self.path.touch()
        except Exception:  # whatever the file holds, a training must be able to begin
            self.remove()
            return None
        return state

    def remove(self) -> None:
        """Delete it, where there is one."""
        if is_main():
            shutil.rmtree(self.folder, ignore_errors=True)


def _root() -> Path:
    return cache_dir() / "trainings"


def _owned(tensors: "Mapping[str, Tensor]") -> "dict[str, Tensor]":
    """Return the tensors on the CPU, contiguous, no two of them in the same memory."""
    seen: set[int] = set()
    owned = {}
    for name, tensor in tensors.items():
        own = tensor.detach().cpu().contiguous()
        place = own.untyped_storage().data_ptr()
        owned[name] = own.clone() if place in seen else own
        seen.add(place)
    return owned


def _mark(told: str, tensors: "Mapping[str, Tensor]") -> str:
    sums = {name: _checksum(tensor) for name, tensor in tensors.items()}
    return hash_json([told, sums])


def _checksum(tensor: "Tensor") -> int:
    """Return a checksum of a tensor's type, shape and numbers. CRC-32 finds damage, not fraud, at
    twice the speed of a digest: a checkpoint is read by those who could write it."""
    import torch

    start = zlib.crc32(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
    if tensor.numel() == 0:
        return start
    return zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy().data, start)


def _state(path: Path) -> State:
    """Read a checkpoint. Raises anything for a file that isn't a good one."""
    from safetensors import safe_open

    shapes = check_safetensors(path)
    with safe_open(path, framework="pt") as file:
        about = file.metadata()
        if not about or about.get("form") != _FORM:
            raise SourceError(f"{path} is not a checkpoint")
        tensors = {name: file.get_tensor(name) for name in shapes}
    told = json.loads(about["told"])
    mark = _mark(about["told"], tensors)
    if not isinstance(told, dict) or mark != about["mark"]:
        raise SourceError(f"{path} is damaged")
    return State(tensors, told, mark)


def prune(megabytes: float = MEGABYTES) -> None:
    """Delete the checkpoints that were used longest ago, so that at most `megabytes` are kept.

    The one that was used last stays, whatever its size: it is the one to go on from.
    """
    if not is_main() or not _root().is_dir():
        return
    folders = [path for path in _root().iterdir() if path.is_dir() and _KEY.fullmatch(path.name)]
    kept = 0.0
    for i, folder in enumerate(sorted(folders, key=_used, reverse=True)):
        kept += folder_megabytes(folder)
        if i > 0 and kept > megabytes:
            shutil.rmtree(folder, ignore_errors=True)


def _used(folder: Path) -> float:
    with suppress(OSError):
        return max(path.lstat().st_mtime for path in (folder, *folder.iterdir()))
    return 0.0


def optimiser_state(
    optimiser: "torch.optim.Optimizer",
) -> "tuple[dict[str, Tensor], dict[str, Any]]":
    """Take the state of an optimiser apart into tensors by name and a JSON-able rest.

    The tensors are those of the optimiser, not copies. Raises `TypeError` for an optimiser that
    keeps anything but tensors and plain numbers (LBFGS keeps lists).
    """
    whole = optimiser.state_dict()
    tensors: dict[str, Tensor] = {}
    states = {
        str(index): _plain(state, f"state.{index}", tensors)
        for index, state in whole["state"].items()
    }
    groups = [_plain(group, f"group.{i}", tensors) for i, group in enumerate(whole["param_groups"])]
    return tensors, {"states": states, "groups": groups}


def _plain(values: Mapping[str, Any], prefix: str, tensors: "dict[str, Tensor]") -> dict[str, Any]:
    """Return what is JSON-able of `values`, and put the tensors among them into `tensors`."""
    import torch

    plain = {}
    for name, value in values.items():
        if isinstance(value, torch.Tensor):
            tensors[f"{prefix}.{name}"] = value
        elif _is_plain(value):
            plain[name] = value
        else:
            raise TypeError(f"{prefix}.{name} of the optimiser is a {type(value).__name__}")
    return plain


def _is_plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(isinstance(item, _NUMBERS) for item in value)
    return isinstance(value, _NUMBERS)


def restore_optimiser(
    optimiser: "torch.optim.Optimizer",
    tensors: "Mapping[str, Tensor]",
    told: Mapping[str, Any],
) -> None:
    """Give an optimiser the state that `optimiser_state` took from one over the same parameters.

    Tensors are copied. Raises `ValueError` if the state doesn't fit; the optimiser is then as it
    was.
    """
    try:
        states, groups = _put_together(tensors, told)
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise ValueError(f"this is no state of an optimiser ({error!r})") from error
    for live, group in zip(optimiser.param_groups, groups, strict=True):
        # JSON made lists of tuples such as the betas of Adam.
        group.update({n: tuple(v) for n, v in group.items() if isinstance(live.get(n), tuple)})
    optimiser.load_state_dict({"state": states, "param_groups": groups})


def _put_together(
    tensors: "Mapping[str, Tensor]", told: Mapping[str, Any]
) -> tuple[dict[int, dict[str, Any]], list[dict[str, Any]]]:
    states = {int(index): dict(state) for index, state in told["states"].items()}
    groups = [dict(group) for group in told["groups"]]
    for place, tensor in tensors.items():
        kind, index, name = place.split(".", 2)
        owner = states[int(index)] if kind == "state" else groups[int(index)]
        owner[name] = tensor.clone()
    return states, groups
