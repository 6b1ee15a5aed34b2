"""The publisher's Coat files: Schnabel et al., "Recommendations as Treatments" (ICML 2016)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from recsim_envs.arrays import Float32Array
from recsim_envs.data.dataset import require_columns
from recsim_envs.data.scale import LOW_TO_HIGH
from recsim_envs.errors import DataError

LARGEST = 1e30
"""Beyond it, 32 bits end."""

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
        ratings = _whole_numbers(folder / f"{split}.ascii")
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


def _whole_numbers(file: Path) -> Float32Array:
    ratings = read_matrix(file, 0, LOW_TO_HIGH[1])
    between = np.flatnonzero((ratings != ratings.round()).any(axis=1))
    if len(between):
        raise DataError(f"{file}, row {between[0] + 1}: a rating is no whole number: correct it")
    return ratings


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


def read_matrix(file: Path, low: float = -LARGEST, high: float = LARGEST) -> Float32Array:
    """Reads a matrix of numbers separated by white space, one row a line.

    Args:
        file: in UTF-8.
        low: the lowest number that may stand there.
        high: the highest.

    Raises:
        DataError: if the file is missing or empty, a line has another length than the first, or
            something in it is no number from ``low`` to ``high``.
    """
    rows: list[Float32Array] = []
    for number, line in _lines(file):
        fields = line.split()
        place = f"{file}, line {number}"
        if rows and len(fields) != len(rows[0]):
            raise DataError(
                f"{place}: {len(fields)} numbers, but the first line has {len(rows[0])}"
            )
        try:
            row = np.array(fields, dtype=np.float64)
        except ValueError as error:
            raise DataError(f"{place}: {error}: correct it") from error
        bad = ~((row >= low) & (row <= high))  # NaN is in no range
        if bad.any():
            raise DataError(
                f"{place}: {fields[int(bad.argmax())][:80]} is no number from {low:g} to {high:g}: "
                "correct it"
            )
        rows.append(row.astype(np.float32))
    if not rows:
        raise DataError(f"{file} is empty: unpack the publisher's archive there")
    return np.stack(rows)


def _lines(file: Path) -> list[tuple[int, str]]:
    """The lines that hold something, with their numbers."""
    if not file.is_file():
        raise DataError(f"{file} is missing: unpack the publisher's archive there")
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{file} is not in UTF-8 ({error}): convert it") from error
    return [(i, line) for i, line in enumerate(text.split("\n"), start=1) if line.strip()]


def _one_hot_table(folder: Path, stem: str, groups: dict[str, str]) -> pd.DataFrame:
    values, matrix = folder / f"{stem}_map.txt", folder / f"{stem}.ascii"
    lines = _lines(values)
    one_hot = read_matrix(matrix, 0, 1)
    names = []
    for number, line in lines:
        group, colon, label = line.strip().partition(":")
        if not colon:
            raise DataError(f"{values}, line {number}: {line[:80]!r} is no GROUP:VALUE: correct it")
        if "\0" in label:
            raise DataError(f"{values}, line {number}: {line[:80]!r} holds the character NUL")
        names.append((group, label))
    if len(names) != one_hot.shape[1]:
        raise DataError(
            f"{values} names {len(names)} columns, but {matrix} has {one_hot.shape[1]}: one line "
            "a column"
        )
    table = {}
    for group, column in groups.items():
        of_group = [i for i, (g, _) in enumerate(names) if g == group]
        if not of_group:
            raise DataError(f"{values} has no line of the group {group!r}")
        chosen = one_hot[:, of_group]
        other = np.flatnonzero((chosen != 0).sum(axis=1) != 1)
        if len(other):
            raise DataError(
                f"{matrix}, row {other[0] + 1}: {int((chosen[other[0]] != 0).sum())} of the "
                f"columns of the group {group!r} are marked: mark one"
            )
        labels = np.array([names[i][1] for i in of_group])
        table[column] = labels[chosen.argmax(axis=1)]
    return pd.DataFrame(table)
