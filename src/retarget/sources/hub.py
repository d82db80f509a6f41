"""The hub: what its local cache holds, and whether it can be reached at all, within seconds."""

import os
import threading
import urllib.error
import urllib.request
from pathlib import Path

from retarget.core.errors import SourceError

PATIENCE = 8.0  # seconds


def hub_cache() -> Path:
    """Return the hub's cache folder, as its own client finds it."""
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if chosen := os.environ.get(name):
            return Path(chosen).expanduser()
    if home := os.environ.get("HF_HOME"):
        return Path(home).expanduser() / "hub"
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "huggingface" / "hub"


def snapshot(repository: str) -> Path | None:
    """Return the folder of the cached main revision of `owner/name`, `None` where there is none."""
    root = hub_cache() / f"models--{repository.replace('/', '--')}"
    try:
        revision = (root / "refs" / "main").read_text(encoding="utf-8").strip()
    except OSError:
        return None
    folder = root / "snapshots" / revision
    return folder if revision and "/" not in revision and folder.is_dir() else None


def cached_file(repository: str, *names: str) -> Path | None:
    """Return the first of the files that the hub's cache holds, `None` where it holds none."""
    folder = snapshot(repository)
    for name in names:
        if folder is not None and (folder / name).is_file():
            return folder / name
    return None


def is_offline() -> bool:
    """Return whether the user has told the hub's client to stay offline."""
    asked = (
        os.environ.get(name, "").upper() for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
    )
    return any(value in ("1", "ON", "YES", "TRUE") for value in asked)


def check_reachable(uri: str, repository: str) -> None:
    """Raise `SourceError` within ten seconds if a model can't be asked for.

    `repository` is `owner/name` on the hub, or the address of a file elsewhere.
    """
    if is_offline():
        raise unreachable(uri, "HF_HUB_OFFLINE keeps the hub out of reach")
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    answers: list[bool] = []
    elsewhere = repository.startswith("https:")
    address = repository if elsewhere else f"{endpoint}/{repository}/resolve/main/config.json"
    # A thread of its own: name lookup knows no timeout.
    asking = threading.Thread(target=_ask, args=(address, answers), daemon=True)
    asking.start()
    asking.join(PATIENCE)
    if not answers:
        raise unreachable(uri, f"the hub ({endpoint}) could not be reached")


def _ask(address: str, answers: list[bool]) -> None:
    try:
        request = urllib.request.Request(address, method="HEAD")
        urllib.request.urlopen(request, timeout=PATIENCE - 1).close()
    except urllib.error.HTTPError:
        pass  # an answer, even if a refusal: the library says what it means
    except (OSError, ValueError):
        return
    answers.append(True)


def unreachable(uri: str, why: str) -> SourceError:
    """Return the error for a model that is neither cached nor to be fetched."""
    name = uri.partition(":")[2]
    return SourceError(
        f"{uri} was not found in the local hub cache ({hub_cache()}) and {why}. Download {name} "
        "where there is a network, copy its folder here and use file:FOLDER."
    )
