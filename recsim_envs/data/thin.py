"""Fewer rows of an interaction table: the first users, the k-core, sessions of long histories."""

from __future__ import annotations

import numpy as np
import pandas as pd

from recsim_envs.arrays import BoolArray, IntArray
from recsim_envs.data.account import Account
from recsim_envs.data.columns import Table
from recsim_envs.errors import DataError

HOUR = 3600


def first_users(events: Table, kept: BoolArray, n: int, account: Account) -> BoolArray:
    """Which rows, (n,), are of the first ``n`` users, in the order of the rows.

    Args:
        events: the interactions, with ``user_id``.
        kept: (n,) which rows are left; the others are accounted for.
        n: how many users.
        account: of the rows that are dropped.
    """
    first: BoolArray = pd.factorize(events.frame["user_id"])[0] < n
    account.keep("interactions", first | ~kept, f"not of the first {n} users")
    return first


def core(user: IntArray, item: IntArray, k: int) -> BoolArray:
    """Which pairs, (n,), stay when users and items of fewer than ``k`` of them go, over and over.

    Source: Seidman, "Network structure and minimum degree" (1983), on the bipartite graph.
    """
    kept = np.ones(len(user), dtype=bool)
    while True:
        counts = [np.bincount(codes, weights=kept)[codes] for codes in (user, item)]
        smaller = kept & (counts[0] >= k) & (counts[1] >= k)
        if smaller.sum() == kept.sum():
            return kept
        kept = smaller


def in_core(
    table: pd.DataFrame, items: pd.DataFrame, users: pd.Series | None, k: int, account: Account
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The k-core of the choices, and its catalogue.

    Args:
        table: the choices, columns ``sequence`` and ``item``, a row of ``items``.
        items: the catalogue.
        users: (n,) the id of each choice's user; None where sequences stand for users.
        k: least number of choices of a user and of an item.
        account: of what is dropped.

    Raises:
        DataError: if nothing is left.
    """
    # A session may be nobody's.
    nobody = users is None or not users.str.strip().all()
    user = pd.factorize(table["sequence"] if nobody else users)[0]
    kept = core(user, table["item"].to_numpy(), k)
    account.keep("interactions", kept, f"outside the {k}-core")
    if not kept.any():
        raise DataError(f"--k-core {k} leaves no interaction: lower it")
    table = table[kept]
    inside = np.isin(np.arange(len(items)), table["item"])
    account.keep("items", inside, f"outside the {k}-core")
    number = (np.cumsum(inside) - 1).astype(np.int32)  # (n_items,) of those that stay
    item = number[table["item"].to_numpy()]
    return table.assign(item=item), items[inside].reset_index(drop=True)


def sessions(table: pd.DataFrame, gap: float, account: Account) -> pd.DataFrame:
    """Cuts sequences where more than ``gap`` hours pass between two choices.

    Args:
        table: the choices, sorted by ``sequence`` and ``time``.
        gap: hours.
        account: notes how many sessions there are.
    """
    new_sequence = np.diff(table["sequence"].to_numpy(), prepend=-1) != 0
    long_pause = np.diff(table["time"].to_numpy(), prepend=0) > gap * HOUR
    number = np.cumsum(new_sequence | long_pause) - 1
    n_before, n_after = int(new_sequence.sum()), int(number.max(initial=-1)) + 1
    account.note(f"sessions: {n_before} sequences cut at pauses over {gap:g} hours into {n_after}")
    return table.assign(sequence=number.astype(np.int32))
