"""Content hashes: the names by which examples, encoders and models are known."""

import hashlib
import json
from pathlib import Path
from typing import Any

DIGEST_BYTES = 16


def hash_bytes(*parts: bytes) -> str:
    """Return the 32-digit hexadecimal BLAKE2b digest of the parts, each with its length."""
    digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.hexdigest()


def hash_file(path: Path) -> str:
    """Return the 32-digit hexadecimal BLAKE2b digest of a file's bytes. Raises `OSError`."""
    digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def hash_json(value: Any) -> str:
    """Return the digest of a JSON-able value, independent of the order of its keys."""
    return hash_bytes(json.dumps(value, sort_keys=True, separators=(",", ":")).encode())
