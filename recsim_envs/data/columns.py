"""Columns of a user's tables as texts and numbers: the same whoever made the frame.

What an id is, where a frame holds numbers: a whole number is its digits. A float is one only by
accident, for pandas has no gaps in columns of integers, so a column of whole floats is read as the
integers that it was, unless they are too big to be sure (from 2^53 on a float no longer tells
neighbours apart). Anything that could be two ids at once is refused: ``7.0`` beside ``7``, ``7``
beside ``"007"``. A CSV file is read as the characters that stand in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pandas as pd

from recsim_envs.arrays import BoolArray, IntArray
from recsim_envs.errors import DataError

Frame: TypeAlias = Any
"""A pandas frame, a dict of columns, or a polars frame."""
AS_WRITTEN = ("integer", "boolean", "decimal", "date", "datetime", "datetime64")
"""pandas' names of kinds of columns whose values ``str`` writes without a doubt."""


class Table(NamedTuple):
    """A user's table, and how an error names one of its rows.

    Attributes:
        frame: (n rows), numbered from 0.
        name: "interactions", or the file.
        numbers: (n,) the row's number in what the user gave, the line in a file.
        unit: "row" or "line".
    """

    frame: pd.DataFrame
    name: str
    numbers: IntArray
    unit: str

    def place(self, row: int) -> str:
        """Where the user finds a row."""
        return f"{self.name}, {self.unit} {self.numbers[row]}"

    def only(self, kept: BoolArray) -> Table:
        """The rows where ``kept`` (n,) is True."""
        frame = self.frame[kept].reset_index(drop=True)
        return self._replace(frame=frame, numbers=self.numbers[kept])

    def named(self, names: tuple[str, ...]) -> Table:
        """The table with the columns that are ``names`` but for their case renamed to them.

        Raises:
            DataError: if two columns are one of them.
        """
        columns: dict[str, str] = {}
        for name in names:
            found = [column for column in self.frame.columns if column.casefold() == name]
            if len(found) > 1:
                raise DataError(f"{self.name} has the columns {found}: keep one {name!r}")
            columns |= {column: name for column in found}
        return self._replace(frame=self.frame.rename(columns=columns))


def to_table(frame: Frame, name: str) -> Table:
    """Takes a pandas or polars frame or a dict of columns, without changing a value.

    Raises:
        DataError: for anything else, columns of different lengths, or two of one name.
    """
    if isinstance(frame, pd.DataFrame):
        table = frame.reset_index(drop=True)
    elif isinstance(frame, Mapping):
        lists = {column: list(values) for column, values in frame.items()}
        lengths = {column: len(values) for column, values in lists.items()}
        if len(set(lengths.values())) > 1:
            raise DataError(f"{name} has columns of different lengths, {lengths}: make them equal")
        # As objects: pandas would make floats of integers with gaps.
        table = pd.DataFrame({c: pd.Series(values, dtype=object) for c, values in lists.items()})
    elif hasattr(frame, "get_column"):
        table = pd.DataFrame({c: _of_polars(frame.get_column(c)) for c in frame.columns})
    else:
        raise DataError(
            f"{name} is a {type(frame).__name__}: give a pandas or polars DataFrame (of a lazy one "
            "its collect()), or a dict of columns"
        )
    table.columns = [str(column) for column in table.columns]
    if table.columns.duplicated().any():
        twice = table.columns[table.columns.duplicated()][0]
        raise DataError(f"{name} has two columns {twice!r}: rename one of them")
    return Table(table, name, np.arange(len(table)), "row")


def texts(table: Table, column: str, *, is_id: bool = False) -> pd.Series:
    """A column as strings, "" where a value is missing.

    Args:
        table: holds the column.
        column: its name.
        is_id: whether two values that differ must stay different.

    Raises:
        DataError: for a value that could be written in two ways, naming column and row.
    """
    values = table.frame[column]
    if isinstance(values.dtype, np.dtype) and values.dtype.kind in "iu":
        # The common case of large tables: each number is written once.
        codes, found = pd.factorize(values)
        return pd.Series(
            np.array([str(number) for number in found.tolist()], object)[codes], dtype=str
        )
    known = values.notna().to_numpy()
    cells = values.astype(object)
    kind = pd.api.types.infer_dtype(cells[known], skipna=False)
    written = cells.where(known, "")
    if kind == "floating":
        written[known] = _float_texts(table, column, values, np.flatnonzero(known), is_id)
    elif kind not in ("string", "empty"):
        if kind not in AS_WRITTEN:
            _refuse_doubtful(table, column, cells[known], is_id)
        written = written.map(str)
    _refuse_unwritable(table, column, written, is_id)
    return written.astype(str)


def all_texts(table: Table, id_column: str) -> pd.DataFrame:
    """Every column as :func:`texts`."""
    columns = {c: texts(table, c, is_id=c == id_column) for c in table.frame.columns}
    return pd.DataFrame(columns, dtype=str)


def numbers(table: Table, column: str) -> pd.Series:
    """A column as integers, or floats where one of them is none.

    Raises:
        DataError: for a missing value, or one that is no finite number.
    """
    found = pd.to_numeric(table.frame[column], errors="coerce")
    whole = pd.api.types.is_integer_dtype(found) and not found.isna().any()
    found = found.astype("int64" if whole else "float64")
    bad = ~np.isfinite(found.to_numpy())
    if bad.any():
        raise _error(
            table, column, int(np.flatnonzero(bad)[0]), "is no number: correct it or drop the row"
        )
    return found


def _of_polars(column: Any) -> pd.Series:
    # A list of Python's floats would lose how many digits a 32-bit one has.
    if column.dtype.is_float():
        return pd.Series(column.to_numpy())
    return pd.Series(column.to_list(), dtype=object)


def _float_texts(
    table: Table, column: str, values: pd.Series, rows: IntArray, is_id: bool
) -> list[str]:
    """The floats at ``rows`` as integers where all of them are whole."""
    cells = [values.iloc[row] for row in rows]
    floats = np.array(cells, dtype=np.float64)
    exact = 2.0 ** min(np.finfo(np.asarray(cell).dtype).nmant + 1 for cell in cells[:1])
    whole = np.isfinite(floats) & (np.trunc(floats) == floats)
    if is_id and not whole.all():
        row = int(rows[np.flatnonzero(~whole)[0]])
        raise _error(table, column, row, "is no whole number: give ids as texts or integers")
    if not whole.all():
        return [str(cell) for cell in cells]
    if (abs(floats) >= exact).any():
        row = int(rows[np.flatnonzero(abs(floats) >= exact)[0]])
        raise _error(
            table,
            column,
            row,
            f"is a float of {exact:.0f} or more, which may have lost its last digits: read the "
            "column as text or as integers (pandas: dtype='Int64')",
        )
    return [str(int(value)) for value in floats]


def _refuse_unwritable(table: Table, column: str, written: pd.Series, is_id: bool) -> None:
    """Raises DataError for a text that no file would give back."""
    together = "".join(written)
    try:
        together.encode()
    except UnicodeEncodeError as error:
        ends = written.str.len().cumsum()
        row = int((ends > error.start).argmax())
        raise _error(table, column, row, "is no valid Unicode: correct it") from None
    if "\0" in together:
        row = int(written.str.contains("\0", regex=False).argmax())
        raise _error(table, column, row, "holds the character NUL: take it out")
    if is_id and (broken := written.str.contains(r"[\r\n]")).any():
        # In a file such an id cannot be told from rows that a quote has swallowed.
        raise _error(table, column, int(broken.argmax()), "holds a line break: take it out")


def _refuse_doubtful(table: Table, column: str, cells: pd.Series, is_id: bool) -> None:
    """Raises DataError for a value of a column of mixed types that has no one spelling."""
    for row, value in cells.items():
        if isinstance(value, float | np.floating) and float(value).is_integer():
            raise _error(
                table, column, row, "is a float among other types: give all as integers or as texts"
            )
        if isinstance(value, bytes | list | tuple | dict | set | np.ndarray):
            raise _error(
                table, column, row, "is no text: join or decode the values, or drop the column"
            )
    if is_id:
        row = next(row for row, value in cells.items() if not isinstance(value, str))
        raise _error(
            table, column, row, "stands in a column of several types: give all ids as texts"
        )


def _error(table: Table, column: str, row: int, reason: str) -> DataError:
    value = table.frame[column].iloc[row]
    value = value.item() if isinstance(value, np.generic) else value
    return DataError(f"{table.place(row)}: {column} {value!r} {reason}")
