"""The publisher's Coat files: Schnabel et al., "Recommendations as Treatments" (ICML 2016)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from recsim_envs.arrays import Float32Array
from recsim_envs.data.dataset import DataError, require_columns

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


def read_coat(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Reads the publisher's Coat archive.

    Args:
        folder: holds ``train.ascii``, ``test.ascii`` (users x items, 0 = not rated) and
            ``user_item_features/``.

    Returns:
        Interactions, items and users, as :func:`recsim_envs.data.tables.from_frame` takes them.

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
        rating = ratings[user, item].astype(int)
        columns = {"user_id": user, "item_id": item, "rating": rating, "split": split}
        parts.append(pd.DataFrame(columns))
    items, users = word_coat(
        items.assign(item_id=range(len(items))), users.assign(user_id=range(len(users)))
    )
    return pd.concat(parts, ignore_index=True), items, users


def word_coat(items: pd.DataFrame, users: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Adds a column ``text`` to Coat's tables: the attributes as a judge reads them."""
    for table, groups in ((items, COAT_ITEM_GROUPS), (users, COAT_USER_GROUPS)):
        require_columns(table, tuple(groups.values()), "Coat's table")
    item_rows = items[["gender", "color", "jacket_type"]].itertuples(index=False, name=None)
    coats = [
        " ".join(
            [f"{gender}'s"]
            + ([] if color == "other" else [color])
            + [JACKETS.get(kind, f"{kind} jacket")]
        )
        for gender, color, kind in item_rows
    ]
    user_rows = users[["gender", "age", "location", "fashion_interest"]]
    people = [
        f"a {({'men': 'man', 'women': 'woman'}).get(gender, gender)} aged {age} from "
        f"{AREAS.get(location, location)} area, {interest} interested in fashion"
        for gender, age, location, interest in user_rows.itertuples(index=False, name=None)
    ]
    return items.assign(text=coats), users.assign(text=people)


def read_matrix(file: Path) -> Float32Array:
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


def _one_hot_table(folder: Path, stem: str, groups: dict[str, str]) -> pd.DataFrame:
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
    return pd.DataFrame(table)
