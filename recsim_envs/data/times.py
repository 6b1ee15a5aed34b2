"""The time of an interaction: which column it is, and its values as seconds since 1970 (UTC)."""

from __future__ import annotations

import numpy as np
import pandas as pd

from recsim_envs.data.columns import Table
from recsim_envs.errors import DataError

TIME_COLUMNS = (
    "time",
    "timestamp",
    "ts",
    "date",
    "datetime",
    "unixreviewtime",
    "unixtime",
    "unix_time",
    "unix_timestamp",
    "event_time",
    "eventtime",
    "event_timestamp",
    "created_at",
)
"""Names, in any case, by which the column of the time is known."""
UNITS = {"s": 1e11, "ms": 1e14, "us": 1e17, "ns": np.inf}
"""The size below which a number counts in a unit: 1e11 s is the year 5138, 1e11 ms is 1973."""


def time_column(table: Table) -> str | None:
    """The column that holds the time, if there is one.

    Raises:
        DataError: if there are two.
    """
    found = [column for column in table.frame.columns if column.casefold() in TIME_COLUMNS]
    if len(found) > 1:
        raise DataError(
            f"{table.name} has {len(found)} columns of times, {found}: drop all but the one that "
            "orders the interactions"
        )
    return found[0] if found else None


def seconds(table: Table, column: str) -> tuple[pd.Series, str]:
    """Reads times: numbers whose size tells their unit, dates of a frame, or ISO 8601.

    Returns:
        Seconds since 1970 in UTC, integers where all of them are whole; and how they were read.

    Raises:
        DataError: for a value that is none of these, or of another kind than the others.
    """
    values = table.frame[column]
    if pd.api.types.infer_dtype(values, skipna=True) in ("date", "datetime", "datetime64"):
        return _of_dates(table, column, pd.to_datetime(values, utc=True, errors="coerce"), "dates")
    # A timestamp of nanoseconds has more digits than a float.
    found = pd.to_numeric(values, errors="coerce")
    if found.isna().all() and len(found):
        moments = pd.to_datetime(values, utc=True, errors="coerce", format="ISO8601")
        return _of_dates(table, column, moments, "ISO 8601")
    if not pd.api.types.is_numeric_dtype(found) or pd.api.types.is_bool_dtype(found):
        raise _error(table, column, 0)
    bad = found.isna().to_numpy() | ~np.isfinite(found.to_numpy(np.float64, na_value=np.nan))
    if bad.any():
        raise _error(table, column, int(np.flatnonzero(bad)[0]))
    return _of_numbers(table, column, found)


def _of_numbers(table: Table, column: str, found: pd.Series) -> tuple[pd.Series, str]:
    size = found.abs().to_numpy(np.float64)
    of_unit = np.searchsorted(list(UNITS.values()), size, side="right")  # (n,)
    other = np.flatnonzero(of_unit != of_unit[size.argmax()])
    if len(other):
        units, most = list(UNITS), int(size.argmax())
        raise DataError(
            f"{table.place(int(other[0]))}: {column} {found.iloc[other[0]]} is in "
            f"{units[of_unit[other[0]]]} by its size, but {found.iloc[most]} of "
            f"{table.place(most)} in {units[of_unit[most]]}: write all in one unit"
        )
    if ((size >= 19000101) & (size <= 21001231)).all() and _are_dates(found):
        raise DataError(
            f"{table.place(0)}: {column} {found.iloc[0]} may be a date or seconds since 1970: "
            "write dates as 2019-12-31"
        )
    unit = list(UNITS)[of_unit[0]]
    per_second = 1000 ** list(UNITS).index(unit)
    whole, rest = found // per_second, found % per_second
    exact = whole.astype("int64") if not rest.any() else whole + rest / per_second
    return exact, f"time: column {column!r}, numbers in {unit} since 1970 (by their size)"


def _are_dates(found: pd.Series) -> bool:
    """Whether all numbers read as YYYYMMDD."""
    if (found % 1 != 0).any():
        return False
    digits = found.astype("int64").astype(str)
    return bool(pd.to_datetime(digits, format="%Y%m%d", errors="coerce").notna().all())


def _of_dates(table: Table, column: str, moments: pd.Series, kind: str) -> tuple[pd.Series, str]:
    if moments.isna().any():
        raise _error(table, column, int(np.flatnonzero(moments.isna())[0]))
    since = (moments - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(seconds=1)
    if not (since % 1).any():
        since = since.astype("int64")
    return since, f"time: column {column!r}, {kind}, in UTC where no offset is written"


def _error(table: Table, column: str, row: int) -> DataError:
    return DataError(
        f"{table.place(row)}: {column} {table.frame[column].iloc[row]!r} is no time, or not of the "
        "others' kind: write all as numbers since 1970 (s, ms, us or ns), or as ISO 8601, such as "
        "2019-12-31T23:59:59+01:00"
    )
