"""Whether the order of a sequence's items is known, and is that of time."""

from __future__ import annotations

import numpy as np
import pandas as pd

from recsim_envs.arrays import IntArray
from recsim_envs.data.account import Account
from recsim_envs.data.times import TIME_COLUMNS
from recsim_envs.errors import DataError
from recsim_envs.notices import logger

ENOUGH = 20
"""Neighbours: so many stand in the order of the ids by chance once in a million."""
FIX = (
    f"add a column {TIME_COLUMNS[0]!r} or 'position' that tells them apart, or say --rows-in-order "
    "if the rows are in the order of time (in Python, reading=Reading(rows_in_order=True))"
)


def check_order(
    table: pd.DataFrame, item_ids: pd.Series, name: str, rows_in_order: bool, account: Account
) -> None:
    """Warns where the rows' order alone says what came first, and refuses that of the items.

    Args:
        table: the interactions as sorted, columns ``sequence``, ``item``, and ``time`` and
            ``position`` where there are such.
        item_ids: the id of each item.
        name: of the interactions.
        rows_in_order: the caller says that the rows are in the order of time.
        account: notes what was found.

    Raises:
        DataError: if neither time nor position tells any two neighbours apart, and all of them
            stand in the order of the item ids.
    """
    by = [column for column in ("time", "position") if column in table.columns]
    same = np.diff(table["sequence"].to_numpy()) == 0
    tied = same.copy()
    for column in by:
        tied &= np.diff(table[column].to_numpy()) == 0
    n_tied, n = int(tied.sum()), int(same.sum())
    if rows_in_order or not n_tied:
        account.note("order: that of the rows, as given" if n_tied else "order: known everywhere")
        return
    item = table["item"].to_numpy()
    by_id = n_tied >= ENOUGH and any(_sorted(rank[item], tied) for rank in _ranks(item_ids))
    what = " and ".join(by)
    note = f"order: {n_tied} of {n} neighbours in a sequence have the same {what}"
    if n_tied == n:
        why = f"the same {what} everywhere" if by else "no column of a time or position"
        note = f"order: {name} has {why}"
        if by_id:
            raise DataError(
                f"{note}, and the rows of every sequence are in the order of the item ids, which "
                f"is not that of time: {FIX}"
            )
    note += ": there the order of the rows is taken as that of time"
    if by_id:
        note += ", though it is that of the item ids, which a reward model will learn"
    account.note(note)
    if by_id or n_tied == n:
        logger.warning(f"{note}: {FIX}")


def _ranks(item_ids: pd.Series) -> list[IntArray]:
    """Places of the items in their table, by id as text and, where all are, by id as number."""
    ranks = [np.arange(len(item_ids)), item_ids.rank(method="dense").to_numpy()]
    as_numbers = pd.to_numeric(item_ids, errors="coerce")
    return ranks if as_numbers.isna().any() else [*ranks, as_numbers.to_numpy()]


def _sorted(rank: IntArray, neighbours: np.ndarray) -> bool:
    step = np.diff(rank)[neighbours]
    # One item again and again is in no order.
    return bool(step.any() and ((step >= 0).all() or (step <= 0).all()))
