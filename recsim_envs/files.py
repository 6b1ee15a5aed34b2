"""Files that are written whole or not at all, and their hashes."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path


def write_whole(path: Path, content: bytes) -> None:
    """Writes a whole file or none of it, whatever happens meanwhile to process and machine."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    if os.name == "posix":  # elsewhere a folder cannot be opened, nor need it be
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def content_hash(content: bytes) -> str:
    """The first 16 hex digits of the SHA-256, by which files and data are named."""
    return hashlib.sha256(content).hexdigest()[:16]


def file_hash(file: Path) -> str:
    """:func:`content_hash` of a file."""
    return content_hash(file.read_bytes())
