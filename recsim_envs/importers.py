"""Readers of published data: the official Coat files, and tidy tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsim_envs.dataset import DataError, Dataset, Scenario

# The publisher's name of each one-hot group, and ours of the column.
COAT_ITEM_GROUPS = {
    "gender": "gender",
    "jackettype": "jacket_type",
    "color": "color",
    "onfrontpage": "on_front_page",
}
COAT_USER_GROUPS = {
    "gender": "gender",
    "age": "age",
    "location": "location",
    "fashioninterest": "fashion_interest",
}
JACKETS = {
    "other": "jacket",
    "parkas": "parka",
    "pea": "pea coat",
    "shells": "shell jacket",
    "trench": "trench coat",
    "vests": "vest",
}
AREAS = {"rural": "a rural", "suburban": "a suburban", "urban": "an urban"}


def import_coat(folder: Path, name: str) -> Dataset:
    """Reads the publisher's Coat archive.

    Schnabel et al., "Recommendations as Treatments" (ICML 2016).

    Args:
        folder: holds ``train.ascii``, ``test.ascii`` (users x items, 0 = not rated) and
            ``user_item_features/``.
        name: how results call this data.

    Raises:
        DataError: for a missing file or tables that do not fit together.
    """
    features = folder / "user_item_features"
    items = _one_hot_table(features, "item_features", COAT_ITEM_GROUPS)
    users = _one_hot_table(features, "user_features", COAT_USER_GROUPS)
    parts = []
    for split in ("train", "test"):
        ratings = read_matrix(folder / f"{split}.ascii")
        if ratings.shape != (len(users), len(items)):
            raise DataError(
                f"{folder / f'{split}.ascii'} is {ratings.shape[0]} x {ratings.shape[1]}, but "
                f"{features} describes {len(users)} users and {len(items)} items"
            )
        user, item = np.nonzero(ratings)
        parts.append(
            pl.DataFrame({"user_id": user, "item_id": item, "rating": ratings[user, item]})
            .cast({"rating": pl.Int8})
            .with_columns(split=pl.lit(split))
        )
    return coat_dataset(
        name,
        interactions=pl.concat(parts),
        items=items.with_row_index("item_id"),
        users=users.with_row_index("user_id"),
    )


def coat_dataset(
    name: str,
    interactions: pl.DataFrame,
    items: pl.DataFrame,
    users: pl.DataFrame,
    *,
    replica: bool = False,
) -> Dataset:
    """Builds a dataset from Coat's tables, wording the attributes as a judge reads them."""
    for table, groups in ((items, COAT_ITEM_GROUPS), (users, COAT_USER_GROUPS)):
        for column in groups.values():
            if column not in table.columns:
                raise DataError(f"Coat's table {table.columns} has no column {column!r}")
    kind = pl.col("jacket_type").replace_strict(JACKETS, default=pl.col("jacket_type") + " jacket")
    color = pl.when(pl.col("color") == "other").then(pl.lit("")).otherwise(pl.col("color"))
    words = pl.format("{}'s {} {}", pl.col("gender"), color, kind)
    items = items.with_columns(text=words.str.replace_all(r"\s+", " "))
    users = users.with_columns(
        text=pl.format(
            "a {} aged {} from {} area, {} interested in fashion",
            pl.col("gender").replace({"men": "man", "women": "woman"}),
            pl.col("age"),
            pl.col("location").replace(AREAS),
            pl.col("fashion_interest"),
        )
    )
    return Dataset.from_frame(
        name,
        interactions,
        items,
        users,
        text="text",
        user_text="text",
        scenario="clothes",
        replica=replica,
    )


def read_matrix(file: Path) -> NDArray[np.float32]:
    """Reads a matrix of numbers separated by white space.

    Raises:
        DataError: if the file is missing or a line has another length than the first.
    """
    if not file.is_file():
        raise DataError(f"{file} is missing: unpack the publisher's archive there")
    rows = [line.split() for line in file.read_text().splitlines() if line.strip()]
    for number, row in enumerate(rows, start=1):
        if len(row) != len(rows[0]):
            raise DataError(
                f"{file}, line {number}: {len(row)} numbers, but line 1 has {len(rows[0])}"
            )
    return np.array(rows, dtype=np.float32)


def import_tables(
    folder: Path, name: str, *, text: Sequence[str] = (), scenario: Scenario = "products"
) -> Dataset:
    """Reads ``items.csv``, ``interactions.csv`` and, where there is one, ``users.csv``.

    Columns are those of :meth:`Dataset.from_frame`. A folder with Coat's columns (``jacket_type``)
    is worded as Coat.

    Args:
        folder: holds the CSV files, UTF-8, one header line each.
        name: how results call this data.
        text: the item columns that a judge reads.
        scenario: what the items are.

    Raises:
        DataError: for a missing file or column, naming it.
    """
    items = _read_csv(folder / "items.csv")
    interactions = _read_csv(folder / "interactions.csv").rename(
        {"timestamp": "time"}, strict=False
    )
    users = _read_csv(folder / "users.csv") if (folder / "users.csv").is_file() else None
    if users is not None and "jacket_type" in items.columns:
        return coat_dataset(name, interactions, items, users)
    if not text:
        raise DataError(
            f"text is empty: name the columns of {folder / 'items.csv'} that describe an item, "
            f"for example --text title; its columns are {items.columns}"
        )
    return Dataset.from_frame(name, interactions, items, users, text=text, scenario=scenario)


def _read_csv(file: Path) -> pl.DataFrame:
    if not file.is_file():
        raise DataError(f"{file} is missing")
    try:
        return pl.read_csv(file, infer_schema_length=None)
    except pl.exceptions.PolarsError as error:
        raise DataError(f"{file} is not a CSV table: {error}") from error


def _one_hot_table(folder: Path, stem: str, groups: dict[str, str]) -> pl.DataFrame:
    values = folder / f"{stem}_map.txt"
    if not values.is_file():
        raise DataError(f"{values} is missing: unpack the publisher's archive there")
    one_hot = read_matrix(folder / f"{stem}.ascii")
    names = [line.split(":", 1) for line in values.read_text().splitlines() if line.strip()]
    if len(names) != one_hot.shape[1]:
        raise DataError(f"{values} names {len(names)} columns, the matrix has {one_hot.shape[1]}")
    table = {}
    for group, column in groups.items():
        of_group = [i for i, (g, _) in enumerate(names) if g == group]
        if not of_group:
            raise DataError(f"{values} has no line of the group {group!r}")
        labels = np.array([names[i][1] for i in of_group])
        table[column] = labels[one_hot[:, of_group].argmax(axis=1)]
    return pl.DataFrame(table)
