"""A user's own tables as a :class:`Dataset`: frames in memory, and folders of CSV files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from recsim_envs.data.coat import read_coat, word_coat
from recsim_envs.data.dataset import DataError, Dataset, Scenario, require_columns

Frame: TypeAlias = Any
"""A pandas frame, a dict of columns, or a polars frame."""
OPTIONAL_COLUMNS = ("user", "rating", "time", "split")


def from_frame(
    name: str,
    interactions: Frame,
    items: Frame,
    users: Frame | None = None,
    *,
    text: str | Sequence[str],
    scenario: Scenario = "products",
    user_text: str | Sequence[str] = (),
    replica: bool = False,
    split_seed: int = 0,
) -> Dataset:
    """Builds a dataset from tables (pandas, polars, or a dict of columns).

    Ids of any type are read as text. Items and users are numbered in the order of their tables,
    sequences in the order in which they first appear. Interactions are sorted by sequence, then by
    ``time`` or ``position`` where there is one; otherwise the order of the rows is taken as the
    order of time.

    Args:
        name: how results call this data.
        interactions: columns ``item_id`` and ``sequence_id`` (or ``user_id``, where one
            sequence a user is meant); optionally ``rating``, ``time`` (numbers, or ISO 8601),
            ``position``, ``split``.
        items: column ``item_id``, and the columns named in ``text``.
        users: column ``user_id``, and the columns named in ``user_text``.
        text: the item columns that a judge reads, joined by ", " (empty ones are left out).
        scenario: what the items are; decides the judge's wording.
        user_text: the user columns that a judge reads.
        replica: whether the tables are synthetic.
        split_seed: of the shuffle that holds sequences out.

    Raises:
        DataError: for a missing column, a duplicate id, an interaction with an unknown id, or a
            time, position or rating that is no number.
    """
    events, item_table = _to_pandas(interactions), _texts(_to_pandas(items))
    text_columns = (text,) if isinstance(text, str) else tuple(text)
    user_columns = (user_text,) if isinstance(user_text, str) else tuple(user_text)
    require_columns(item_table, ("item_id", *text_columns), "items")
    sequence_id = "sequence_id" if "sequence_id" in events.columns else "user_id"
    require_columns(events, ("item_id", sequence_id), "interactions")
    if events.empty:
        raise DataError("interactions is empty: nothing can be learned from it")

    columns = {
        "sequence": pd.factorize(_text(events[sequence_id]))[0].astype(np.int32),
        "item": _row_numbers(events["item_id"], item_table["item_id"], "item_id"),
    }
    user_table = None
    if users is not None:
        user_table = _texts(_to_pandas(users))
        require_columns(user_table, ("user_id", *user_columns), "users")
        require_columns(events, ("user_id",), "interactions")
        columns["user"] = _row_numbers(events["user_id"], user_table["user_id"], "user_id")
        user_table = _with_text(user_table, user_columns)
    for column in ("rating", "time", "position"):
        if column in events.columns:
            columns[column] = _numbers(events[column], column)
    if "split" in events.columns:
        columns["split"] = _text(events["split"]).to_numpy()
    table = pd.DataFrame(columns)
    by = ["sequence", *[column for column in ("time", "position") if column in table.columns]]
    kept = ["sequence", "item", *[c for c in OPTIONAL_COLUMNS if c in table.columns]]
    return Dataset(
        name=name,
        scenario=scenario,
        items=_with_text(item_table, text_columns),
        interactions=table.sort_values(by, kind="stable", ignore_index=True)[kept],
        users=user_table,
        replica=replica,
        split_seed=split_seed,
    )


def import_tables(
    folder: Path,
    name: str,
    *,
    text: Sequence[str] = (),
    scenario: Scenario = "products",
    split_seed: int = 0,
) -> Dataset:
    """Reads ``items.csv``, ``interactions.csv`` and, where there is one, ``users.csv``.

    Columns are those of :func:`from_frame`. A folder with Coat's columns (``jacket_type``) is
    worded as Coat.

    Args:
        folder: holds the CSV files, UTF-8, one header line each.
        name: how results call this data.
        text: the item columns that a judge reads.
        scenario: what the items are.
        split_seed: of the shuffle that holds sequences out.

    Raises:
        DataError: for a missing file or column, naming it.
    """
    items = _read_csv(folder / "items.csv")
    interactions = _read_csv(folder / "interactions.csv").rename(columns={"timestamp": "time"})
    users = _read_csv(folder / "users.csv") if (folder / "users.csv").is_file() else None
    user_text: tuple[str, ...] = ()
    if users is not None and "jacket_type" in items.columns:
        items, users = word_coat(items, users)
        text, user_text, scenario = ("text",), ("text",), "clothes"
    if not text:
        raise DataError(
            f"text is empty: name the columns of {folder / 'items.csv'} that describe an item, "
            f"for example --text title; its columns are {list(items.columns)}"
        )
    return from_frame(
        name,
        interactions,
        items,
        users,
        text=text,
        user_text=user_text,
        scenario=scenario,
        split_seed=split_seed,
    )


def import_coat(folder: Path, name: str, *, split_seed: int = 0) -> Dataset:
    """Reads the publisher's Coat archive, see :func:`recsim_envs.data.coat.read_coat`."""
    interactions, items, users = read_coat(folder)
    return from_frame(
        name,
        interactions,
        items,
        users,
        text="text",
        user_text="text",
        scenario="clothes",
        split_seed=split_seed,
    )


def _read_csv(file: Path) -> pd.DataFrame:
    if not file.is_file():
        raise DataError(f"{file} is missing")
    try:
        return pd.read_csv(file, dtype=str, keep_default_na=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise DataError(f"{file} is not a CSV table: {error}") from error


def _to_pandas(table: Frame) -> pd.DataFrame:
    if isinstance(table, pd.DataFrame):
        return table.reset_index(drop=True)
    if isinstance(table, Mapping):
        return pd.DataFrame({column: list(values) for column, values in table.items()})
    return pd.DataFrame({column: list(table[column]) for column in table.columns})


def _texts(table: pd.DataFrame) -> pd.DataFrame:
    return table.apply(_text) if len(table) else table.astype(str)


def _text(values: pd.Series) -> pd.Series:
    """The values as strings, "" where one is missing."""
    missing = values.isna()
    # A column of integers with a gap is one of floats in pandas.
    if pd.api.types.is_float_dtype(values) and (values[~missing] % 1 == 0).all():
        values = values.astype("Int64")
    return values.astype(object).where(~missing, "").astype(str)


def _numbers(values: pd.Series, column: str) -> pd.Series:
    """The values as numbers; of a time that is a date, seconds since 1970 (UTC)."""
    numbers = pd.to_numeric(values, errors="coerce")
    if column == "time" and numbers.isna().all():
        moments = pd.to_datetime(values, errors="coerce", utc=True, format="ISO8601")
        numbers = (moments - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(seconds=1)
    if numbers.isna().any():
        place = int(np.flatnonzero(numbers.isna())[0])
        raise DataError(
            f"interactions row {place}: {column} {values.iloc[place]!r} is no number: correct it "
            "or drop the row"
        )
    return numbers


def _with_text(table: pd.DataFrame, columns: tuple[str, ...]) -> pd.DataFrame:
    if not columns:
        return table if "text" in table.columns else table.assign(text="")
    rows = table[list(columns)].itertuples(index=False, name=None)
    return table.assign(text=[", ".join(part for part in row if part) for row in rows])


def _row_numbers(ids: pd.Series, known: pd.Series, column: str) -> Any:
    if known.duplicated().any():
        twice = known[known.duplicated()].iloc[0]
        raise DataError(f"{column} {twice!r} stands more than once in its table: keep one row each")
    rows = pd.Index(known).get_indexer(pd.Index(_text(ids)))
    if (rows < 0).any():
        place = int(np.flatnonzero(rows < 0)[0])
        raise DataError(
            f"interactions row {place}: {column} {ids.iloc[place]!r} is not in the table of that "
            "id: add it there or drop the interaction"
        )
    return rows.astype(np.int32)
