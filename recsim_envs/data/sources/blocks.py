"""Files of lines without quotes, read in blocks: bounded memory, and the line of what is wrong.

Where a format has no quotes, a field ends where its separator stands. pandas reads each block of
whole lines; it fills short rows in silence, so separators are counted. What pandas refuses is
looked for line by line, for its messages name no line of the file.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from recsim_envs.data.columns import Table
from recsim_envs.data.packed import open_bytes
from recsim_envs.errors import DataError

BLOCK = 32 * 2**20
"""Bytes of a block; a reader's memory is some ten times this."""


class Block(NamedTuple):
    """Whole lines of a file.

    Attributes:
        content: their bytes.
        first: the number of the first line.
        end: the place in the (unpacked) file after the last.
    """

    content: bytes
    first: int
    end: int

    @property
    def n_lines(self) -> int:
        """How many lines, the last with or without a line end."""
        return self.content.count(b"\n") + (not self.content.endswith(b"\n"))


def blocks(file: Path, start: int = 0, first: int = 1, size: int = BLOCK) -> Iterator[Block]:
    """Yields a file in blocks of whole lines.

    Args:
        file: the file; ``.gz`` is unpacked.
        start: the place to begin at, the end of a block.
        first: the number of the line there.
        size: bytes to read at once.

    Raises:
        DataError: for a file that cannot be unpacked.
    """
    with open_bytes(file) as stream:
        try:
            stream.seek(start)
            while content := stream.read(size):
                content += stream.readline()
                start += len(content)
                block = Block(content, first, start)
                yield block
                first += block.n_lines
        except (EOFError, zlib.error) as error:
            raise DataError(f"{file} cannot be unpacked ({error}): fetch it again") from error


def frame_of(
    block: Block, file: Path, types: dict[str, str], separator: str, encoding: str = "utf-8"
) -> pd.DataFrame:
    """The fields of a block.

    Args:
        block: of the file.
        file: names it in errors.
        types: pandas' dtype of each column, in the order in which they stand.
        separator: one or more characters.
        encoding: of the file; what is no character in it is read as U+FFFD.

    Returns:
        The columns, and ``line``, the number of each row's line.

    Raises:
        DataError: naming the line that has more or fewer fields, or one of another type.
    """
    # pandas' fast reader wants a separator of one byte, which must not stand in the fields.
    content = block.content.replace(b"\r\n", b"\n").replace(separator.encode(), b"\x1f")
    n_separators = (len(types) - 1) * block.n_lines
    try:
        if content.count(b"\x1f") != n_separators:
            raise ValueError("another number of fields")
        frame = pd.read_csv(
            io.BytesIO(content),
            sep="\x1f",
            header=None,
            names=list(types),
            dtype=types,
            quoting=3,
            na_filter=False,
            skip_blank_lines=False,
            index_col=False,
            lineterminator="\n",
            encoding=encoding,
            encoding_errors="replace",
        )
    except (ValueError, OverflowError) as error:
        raise _bad_line(block, file, types, separator, str(error)) from error
    if len(frame) != block.n_lines:
        raise _bad_line(block, file, types, separator, "another number of lines")
    return frame.assign(line=np.arange(block.first, block.first + len(frame)))


def read_fields(
    file: Path,
    types: dict[str, str],
    separator: str,
    *,
    header: int = 0,
    encoding: str = "utf-8",
) -> Table:
    """Reads a whole file as :func:`frame_of`, after ``header`` lines.

    Raises:
        DataError: as :func:`frame_of`.
    """
    start = 0
    with open_bytes(file) as stream:
        for _ in range(header):
            start += len(stream.readline())
    frames = [
        frame_of(block, file, types, separator, encoding)
        for block in blocks(file, start, 1 + header)
    ]
    if not frames:
        raise DataError(f"{file} holds no rows: fetch it again")
    frame = pd.concat(frames, ignore_index=True)
    return Table(frame.drop(columns="line"), str(file), frame["line"].to_numpy(), "line")


def _bad_line(
    block: Block, file: Path, types: dict[str, str], separator: str, reason: str
) -> DataError:
    lines = block.content.removesuffix(b"\n").replace(b"\r\n", b"\n").split(b"\n")
    for number, line in enumerate(lines, start=block.first):
        fields = line.split(separator.encode())
        place, shown = f"{file}, line {number}", line[:80].decode("latin-1")
        if len(fields) != len(types):
            return DataError(
                f"{place}: {len(fields)} fields in {shown!r}, not {len(types)} "
                f"({', '.join(types)}): correct or delete it"
            )
        for field, (column, kind) in zip(fields, types.items(), strict=True):
            if kind != "str" and not _is_number(field, kind):
                text = field.decode("latin-1")
                return DataError(f"{place}: {column} {text!r} is no number: correct or delete it")
    return DataError(f"{file}, lines {block.first} to {block.first + block.n_lines - 1}: {reason}")


def _is_number(field: bytes, kind: str) -> bool:
    try:
        float(field) if kind == "float64" else np.dtype(kind).type(int(field))
    except (ValueError, OverflowError):
        return False
    return True
