"""A prepared folder: ``dataset.json`` names every other file by its hash, so it is read as one.

Whatever happens to a folder, what is read from it is one whole version of the data, or an error.
"""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from recsim_envs.errors import DamagedFileError, DataError
from recsim_envs.files import (
    content_hash,
    parse_json,
    read_json,
    read_whole,
    require_fields,
    require_signed,
    signed,
    unpack,
    write_whole,
)

if TYPE_CHECKING:
    import pandas as pd

FORMAT = 3
"""Version of the files in a prepared folder. 1: parquet files, rewards that paid for repeats.
2: no hashes of the files."""
ABOUT = "dataset.json"
CARD = "card.json"
ASIDE = ".recsim"
OLD = "old"
TABLES = ("items", "interactions", "users")
FIELDS = {
    "name": str,
    "scenario": str,
    "replica": bool,
    "split_seed": int,
    "hash": str,
    "n_items": int,
    "n_users": int,
    "n_sequences": int,
    "n_interactions": int,
    "files": dict,
}
OPTIONAL = {"attributes": list, "wording": dict}
"""The words of judges' prompts, where they are not the scenario's."""
KEYS = {"sequence": np.int32, "item": np.int32, "user": np.int32}
EXACT = ("rating", "time")
RARELY = 10
"""Times that a folder is read while it is replaced again and again, before that is an error."""


class Stored(NamedTuple):
    """What a prepared folder holds, of one version.

    Attributes:
        folder: where it was read.
        about: ``dataset.json``.
        content: the files that were asked for, by name.
    """

    folder: Path
    about: dict[str, Any]
    content: dict[str, bytes]


def write_about(folder: Path, about: dict[str, Any]) -> None:
    """Writes ``dataset.json`` beside all other files of a folder, which it names by their hashes.

    Args:
        folder: complete but for this file.
        about: the fields but "format", "files" and "check".
    """
    names = sorted(file.name for file in folder.iterdir() if file.is_file() and file.name != ABOUT)
    files = {name: content_hash((folder / name).read_bytes()) for name in names}
    fields = signed({"format": FORMAT, **about, "files": files})
    write_whole(folder / ABOUT, (json.dumps(fields, indent=2) + "\n").encode())


def read_about(folder: Path) -> dict[str, Any]:
    """Reads ``dataset.json``.

    Raises:
        DataError: if it is missing, was changed, or was written by another version of recsim.
    """
    file = folder / ABOUT
    again = f"prepare the data again with `recsim prepare {folder.name} SOURCE`"
    if not file.is_file():
        raise DataError(f"{file} is missing: {again}")
    about = read_json(file)
    version = about.get("format", 1)
    if version != FORMAT:
        raise DataError(
            f"{file} is of format {str(version)[:20]}, of another version of recsim; this one "
            f"reads format {FORMAT}: {again}"
        )
    optional = {name: kind for name, kind in OPTIONAL.items() if name in about}
    require_fields(about, FIELDS | optional, file)
    require_signed(about, file, again)
    if about["split_seed"] < 0:
        raise DamagedFileError(f"{file}: split_seed {about['split_seed']} is below 0: {again}")
    return about


def read_stored(folder: Path, *more: str) -> Stored:
    """Reads the tables of a prepared folder, and other files of it.

    A folder that is replaced meanwhile is read again.

    Args:
        folder: prepared.
        *more: names of other files; those that it was prepared without are left out.

    Raises:
        DataError: if a file is missing, was changed, or is of another version's format.
    """
    before = None
    for _ in range(RARELY):
        at = present(folder)
        try:
            return _read_once(at, more)
        except DataError:
            now = (at, _bytes_of(at / ABOUT))
            if at != folder and now[1] is None:
                continue  # what lay aside is gone, so the new one is in its place
            # The same twice is no replacement.
            if now == before:
                raise
            before = now
    raise DataError(f"{folder} was replaced {RARELY} times while it was read: read it again")


def read_card(folder: Path) -> dict[str, Any]:
    """Reads ``card.json`` of a prepared folder.

    Raises:
        DataError: as :func:`read_stored`.
    """
    stored = read_stored(folder, CARD)
    if CARD not in stored.content:
        raise DataError(f"{folder / CARD} is missing: prepare the data again")
    card = parse_json(stored.content[CARD], folder / CARD)
    require_fields(card, {"data": str}, folder / CARD)
    return card


def present(folder: Path) -> Path:
    """Where a prepared folder is, also while :mod:`recsim_envs.data.replace` swaps it."""
    old = aside(folder) / OLD
    return old if not folder.is_dir() and (old / ABOUT).is_file() else folder


def aside(folder: Path) -> Path:
    """The hidden folder beside a prepared one, in which its next version is built."""
    folder = folder.resolve()
    return folder.with_name(f".{folder.name}{ASIDE}")


def read_texts(content: bytes, file: Path) -> pd.DataFrame:
    """Reads a table of texts; "NA" and "null" are texts too, only an empty field is unknown."""
    return _read_table(content, file, str)


def read_interactions(content: bytes, file: Path) -> pd.DataFrame:
    """Reads the interactions, whose times and ratings come back to the last bit."""
    as_written = dict.fromkeys((*EXACT, "split"), str)
    table = _read_table(content, file, KEYS | as_written)
    other = table.columns.difference([*KEYS, *as_written])
    if len(other):
        raise DamagedFileError(f"{file} has a column {other[0]!r}, which prepared data has not")
    for column in table.columns.intersection(EXACT):
        whole = not table[column].str.contains(".", regex=False).any()
        try:
            # NumPy reads a float to its last bit, as the hash does; pandas' faster reader may not.
            values = table[column].to_numpy(object).astype("int64" if whole else "float64")
        except (ValueError, OverflowError) as error:
            raise DamagedFileError(f"{file} is damaged, in {column}: {error}") from error
        if not np.isfinite(values).all():
            raise DamagedFileError(f"{file} is damaged: {column} holds NaN or infinity")
        table[column] = values
    return table


def _read_once(folder: Path, more: tuple[str, ...]) -> Stored:
    about = read_about(folder)
    tables = TABLES if about["n_users"] else TABLES[:2]
    content = {}
    for name in (*(f"{table}.csv.gz" for table in tables), *more):
        if name in more and name not in about["files"]:
            continue
        file = folder / name
        content[name] = read_whole(file)
        if content_hash(content[name]) != about["files"].get(name):
            raise DamagedFileError(
                f"{file} was changed: it has the hash {content_hash(content[name])}, but {ABOUT} "
                f"says {about['files'].get(name)}. Prepare the data again with "
                f"`recsim prepare {folder.name} SOURCE`"
            )
    return Stored(folder, about, content)


def _bytes_of(file: Path) -> bytes | None:
    try:
        return file.read_bytes()
    except OSError:
        return None


def _read_table(content: bytes, file: Path, kinds: Any) -> pd.DataFrame:
    import pandas as pd

    unpacked = BytesIO(unpack(content, file))
    try:
        with np.errstate(all="raise"):  # of a number too large for its column pandas only warns
            table = pd.read_csv(unpacked, dtype=kinds, keep_default_na=False)
    except (ValueError, ArithmeticError) as error:
        raise DamagedFileError(f"{file} is damaged: {error}") from error
    # pandas fills short rows, and makes an index of what long ones have too many.
    if table.isna().any(axis=None) or not isinstance(table.index, pd.RangeIndex):
        raise DamagedFileError(f"{file} is damaged: its rows do not have the header's fields")
    return table
