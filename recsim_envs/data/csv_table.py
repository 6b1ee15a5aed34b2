"""A CSV or TSV file as a table of strings, with the line of every row.

The standard library's strict reader, for pandas' joins rows over a quote that is not closed, fills
short rows and takes the first column of long ones for an index, all in silence.
"""

from __future__ import annotations

import csv
import zlib
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from recsim_envs.data.account import Account
from recsim_envs.data.columns import Table
from recsim_envs.data.packed import open_text
from recsim_envs.errors import DataError


def read_csv(
    file: Path,
    name: str,
    id_column: str,
    account: Account,
    *,
    delimiter: str = ",",
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL,
) -> Table:
    """Reads a file in UTF-8 with one header line; lines without any value are dropped, counted.

    Args:
        file: the file; ``.gz`` is unpacked.
        name: of the table in the account.
        id_column: whose values hold no line break.
        account: of the rows.
        delimiter: between two fields.
        quoting: ``csv.QUOTE_NONE`` where a quote is a character as any other.

    Raises:
        DataError: for a missing file, a row with another number of fields than the header, or a
            quote that is not closed, naming the line.
    """
    if not file.is_file():
        raise DataError(f"{file} is missing")
    rows, lines, line, n_blank = [], [], 1, 0
    with open_text(file) as stream:
        reader = csv.reader(stream, delimiter=delimiter, quoting=quoting, strict=True)
        try:
            header = next(reader, [])
            if not any(header):
                raise DataError(f"{file}, line 1 is empty: name the columns there")
            line = reader.line_num + 1
            for fields in reader:
                if not any(field.strip() for field in fields):
                    n_blank += 1
                else:
                    _check_row(fields, header, id_column, delimiter, f"{file}, line {line}")
                    rows.append(fields)
                    lines.append(line)
                line = reader.line_num + 1
        except csv.Error as error:
            raise DataError(
                f"{file}, line {line}: the row that begins there is no CSV ({error}): close every "
                'quote, and write a quote within a quoted field twice ("")'
            ) from error
        except UnicodeDecodeError as error:
            raise DataError(f"{file} is not in UTF-8 ({error}): convert it") from error
        except (EOFError, OSError, zlib.error) as error:
            raise DataError(f"{file} cannot be unpacked ({error}): fetch it again") from error
    twice = [column for column in header if header.count(column) > 1]
    if twice:
        raise DataError(f"{file}, line 1: two columns {twice[0]!r}: rename one of them")
    account.read(name, len(rows) + n_blank)
    account.drop(name, n_blank, "line without any value")
    frame = pd.DataFrame(rows, columns=header, dtype=str)
    return Table(frame, str(file), np.array(lines, dtype=np.int64), "line")


def _check_row(
    fields: list[str], header: list[str], id_column: str, delimiter: str, place: str
) -> None:
    if len(fields) != len(header):
        raise DataError(
            f"{place}: {len(fields)} fields, but the header names {len(header)}: add or quote the "
            "missing or the extra one"
        )
    pieces = delimiter.join(fields).split("\n")
    if len(pieces) == 1:
        return
    # A text may have several lines. Where each of them would be a row, a quote has swallowed some.
    column = header.index(id_column) if id_column in header else 0
    rows = [piece.split(delimiter) for piece in pieces]
    if "\n" in fields[column] or all(
        len(row) == len(header) and row[column].strip() and " " not in row[column].strip()
        for row in rows
    ):
        raise DataError(
            f"{place}: a quote that opens there closes {len(pieces) - 1} line(s) below and "
            "swallows what looks like rows: close it, or take the line breaks out of the text"
        )
