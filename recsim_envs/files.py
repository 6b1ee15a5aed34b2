"""Files that are written whole or not at all, and read as if a stranger had written them.

What is read here runs no code, lies in the folder that was asked for, takes memory in proportion to
its size on the disk, and where it is no such file the error names it.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import zlib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError

from recsim_envs.errors import DamagedFileError

MOST_JSON = 1 << 24
"""Bytes of a JSON file. The largest of ours, a card, has some 20,000."""
ALWAYS_UNPACKED = 1 << 26
MOST_PACKED = 100
"""What is packed may unpack to so many times its size, and to 64 MiB whatever its size. Tables of
ours unpack to 3 to 10 times; a file that is made to fill the memory unpacks to 1,000 times."""


def write_whole(path: Path, content: bytes) -> None:
    """Writes a whole file or none of it, whatever happens meanwhile to process and machine."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)  # a full disk needs the room
        raise
    flush_folder(path.parent)


def flush_folder(folder: Path) -> None:
    """Makes sure that the names in a folder survive a power cut."""
    if os.name != "posix":  # elsewhere a folder cannot be opened, nor need it be
        return
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def read_whole(file: Path, most: int | None = None) -> bytes:
    """Reads a file.

    Args:
        file: the file.
        most: bytes that it may have; default any number.

    Raises:
        DamagedFileError: if there is none, it is a folder or a device, a link out of its folder, or
            larger.
    """
    try:
        if not file.is_file():
            what = "is no file" if file.exists() else "is missing"
            raise DamagedFileError(f"{file} {what}: write it again with what wrote its folder")
        if file.resolve().parent != file.parent.resolve():
            raise DamagedFileError(
                f"{file} is a link to {file.resolve()}: copy the file into the folder"
            )
        size = file.stat().st_size
        if most is not None and size > most:
            raise DamagedFileError(
                f"{file} has {size} bytes, more than {most}: it is no file of recsim"
            )
        return file.read_bytes()
    except FileNotFoundError as error:
        raise DamagedFileError(f"{file} was removed while it was read: read it again") from error


def parse_json(content: bytes, where: object, *, finite: bool = True) -> dict[str, Any]:
    """Reads one JSON object whose keys stand once.

    Args:
        content: UTF-8.
        where: the file's name, for errors.
        finite: whether NaN and infinity are refused.

    Raises:
        DamagedFileError: if it is anything else.
    """
    try:
        number = _finite if finite else float
        found = json.loads(
            content.decode(),
            object_pairs_hook=_unique,
            parse_constant=number,
            parse_float=number,
        )
        json.dumps(found, ensure_ascii=False).encode()  # refuses halves of characters
    except (ValueError, RecursionError) as error:
        raise DamagedFileError(f"{where} is no JSON of recsim, or damaged: {error}") from error
    if not isinstance(found, dict):
        raise DamagedFileError(f"{where} holds a {type(found).__name__}, not a JSON object")
    return found


def read_json(file: Path) -> dict[str, Any]:
    """:func:`parse_json` of a file of at most :data:`MOST_JSON` bytes."""
    return parse_json(read_whole(file, MOST_JSON), file)


def require_fields(found: Mapping[str, Any], kinds: Mapping[str, Any], where: object) -> None:
    """Checks the types of named entries.

    Args:
        found: what was read.
        kinds: the type of each entry, or a tuple of types; True and False are no int.
        where: the file's name, for errors.

    Raises:
        DamagedFileError: naming the first entry that is missing or of another type.
    """
    for name, kind in kinds.items():
        value = found.get(name)
        kinds_of = kind if isinstance(kind, tuple) else (kind,)
        if not isinstance(value, kinds_of) or (isinstance(value, bool) and bool not in kinds_of):
            wanted = " or ".join(each.__name__ for each in kinds_of)
            raise DamagedFileError(
                f"{where}: {name!r} is {str(value)[:80]!r}, not of type {wanted}: the file is "
                "damaged, or of another kind"
            )


def signed(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a JSON file, and "check", the hash of them."""
    rest = {name: value for name, value in fields.items() if name != "check"}
    return {**rest, "check": content_hash(json.dumps(rest, sort_keys=True).encode())}


def require_signed(found: dict[str, Any], where: object, fix: str) -> None:
    """Raises DamagedFileError, naming the fix, unless :func:`signed` wrote the fields as found."""
    if found.get("check") != signed(found)["check"]:
        raise DamagedFileError(f"{where} was changed: its fields have not the hash in it: {fix}")


def parse_tensors(content: bytes, where: object) -> dict[str, NDArray[Any]]:
    """Reads the content of a safetensors file.

    Raises:
        DamagedFileError: if it is none.
    """
    try:
        return safetensors.numpy.load(content)
    except (SafetensorError, LookupError, TypeError, ValueError, OverflowError) as error:
        raise DamagedFileError(f"{where} is no safetensors file, or damaged: {error}") from error


def require_finite(tensors: Mapping[str, NDArray[Any]], where: object) -> None:
    """Raises DamagedFileError if a tensor holds NaN or infinity."""
    for name, values in tensors.items():
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise DamagedFileError(f"{where}: {name} holds NaN or infinity: write the file again")


def unpack(content: bytes, where: object) -> bytes:
    """Unpacks one gzip stream, to at most :func:`most_unpacked` bytes.

    Raises:
        DamagedFileError: if it is none, ends early, goes on afterwards, or is larger.
    """
    most = most_unpacked(len(content))
    stream = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        unpacked = stream.decompress(content, most)
    except zlib.error as error:
        raise DamagedFileError(f"{where} is no gzip file, or damaged: {error}") from error
    if stream.unconsumed_tail:
        raise DamagedFileError(
            f"{where} unpacks to more than {most} bytes, {MOST_PACKED} times its size: it is no "
            "file of recsim"
        )
    if not stream.eof or stream.unused_data:
        raise DamagedFileError(f"{where} is damaged: its gzip stream is not whole")
    return unpacked


def most_unpacked(packed: int) -> int:
    """Bytes that ``packed`` bytes may unpack to."""
    return max(ALWAYS_UNPACKED, MOST_PACKED * packed)


def content_hash(content: bytes) -> str:
    """The first 16 hex digits of the SHA-256, by which files and data are named."""
    return hashlib.sha256(content).hexdigest()[:16]


def file_hash(file: Path) -> str:
    """:func:`content_hash` of a file."""
    return content_hash(file.read_bytes())


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:80]} is no finite number")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        (twice, _), *_ = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"{twice[:80]!r} stands more than once")
    return found
