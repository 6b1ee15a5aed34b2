"""A file of one JSON object a line as a table, with the line of every row."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from recsim_envs.data.account import Account
from recsim_envs.data.columns import Table
from recsim_envs.data.packed import open_text
from recsim_envs.errors import DataError


def json_lines(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields each object with the number of its line; lines of white space are left out.

    Raises:
        DataError: for a line that is no JSON object, naming it.
    """
    number = 0
    with open_text(file) as stream:
        try:
            for number, line in enumerate(stream, start=1):  # noqa: B007 (named in the errors)
                if not line.strip():
                    continue
                found = json.loads(line)
                if not isinstance(found, dict):
                    raise DataError(f"{file}, line {number}: {line.strip()[:80]!r} is no object")
                yield number, found
        except json.JSONDecodeError as error:
            raise DataError(
                f"{file}, line {number}: no JSON ({error}): every line holds one whole object"
            ) from error
        except UnicodeDecodeError as error:
            raise DataError(f"{file} is not in UTF-8 ({error}): convert it") from error
        except (EOFError, OSError, zlib.error) as error:
            raise DataError(
                f"{file}, after line {number}, cannot be unpacked ({error}): fetch it again"
            ) from error


def read_json_lines(file: Path, name: str, account: Account) -> Table:
    """Reads a table whose rows are the lines; a key that a line lacks is an unknown value.

    Args:
        file: the file; ``.gz`` is unpacked.
        name: of the table in the account.
        account: of the rows.

    Raises:
        DataError: as :func:`json_lines`.
    """
    numbers, rows = [], []
    for number, row in json_lines(file):
        numbers.append(number)
        rows.append(row)
    account.read(name, len(rows))
    columns = list(dict.fromkeys(column for row in rows for column in row))
    frame = pd.DataFrame(
        {c: pd.Series([row.get(c) for row in rows], dtype=object) for c in columns},
        index=range(len(rows)),
    )
    return Table(frame, str(file), np.array(numbers, dtype=np.int64), "line")
