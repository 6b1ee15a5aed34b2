"""Ratings: their scale, which of them say that an item was liked, and which are for measuring."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from recsim_envs.arrays import BoolArray
from recsim_envs.data.account import Account
from recsim_envs.data.columns import Table, texts
from recsim_envs.data.dataset import HELD_OUT
from recsim_envs.errors import DataError

LOW_TO_HIGH = (1.0, 5.0)
"""The scale of recsim/Coat-v0; other scales are stretched or shrunk onto it."""
LIKED_FROM = 0.75
"""Of the way from the lowest to the highest rating: 4 of 1 to 5."""
SPLITS = ("train", "test")


def check_scale(events: Table, ratings: pd.Series, scale: tuple[float, float]) -> None:
    """Refuses ratings outside the declared scale.

    Raises:
        DataError: naming the row, or for a scale that is none.
    """
    low, high = scale
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise DataError(f"rating_scale={scale}: give the lowest and the highest rating, as 1 5")
    outside = np.flatnonzero((ratings < low) | (ratings > high))
    if len(outside):
        row = int(outside[0])
        raise DataError(
            f"{events.place(row)}: rating {ratings.iloc[row]} is outside {low:g}..{high:g}: "
            "correct it, or declare the scale; the ratings span "
            f"{ratings.min():g}..{ratings.max():g}, so perhaps --rating-scale {ratings.min():g} "
            f"{ratings.max():g}"
        )


def on_our_scale(
    events: Table, ratings: pd.Series, scale: tuple[float, float], account: Account
) -> pd.Series:
    """The ratings from 1 to 5, whatever their scale: 5.5 of 1 to 10 is a 3."""
    check_scale(events, ratings, scale)
    low, high = scale
    if scale == LOW_TO_HIGH:
        return ratings
    account.note(f"ratings: {low:g}..{high:g} as 1..5, in proportion")
    return 1 + 4 * (ratings - low) / (high - low)


def who_liked(
    events: Table,
    ratings: pd.Series,
    scale: tuple[float, float],
    liked: float | None,
    account: Account,
) -> BoolArray:
    """Which rows are choices, (n,): those rated ``liked`` or more.

    Raises:
        DataError: if none is, or ``liked`` is not on the scale.
    """
    check_scale(events, ratings, scale)
    low, high = scale
    least = low + LIKED_FROM * (high - low) if liked is None else liked
    if not low <= least <= high:
        raise DataError(f"liked={least} is not on the scale {low:g}..{high:g}: lower or raise it")
    account.note(f"ratings: {low:g}..{high:g}; items rated {least:g} or more are the choices")
    kept: BoolArray = (ratings >= least).to_numpy()
    if not kept.any():
        raise DataError(
            f"{events.name}: no rating reaches {least:g}, the highest is {ratings.max():g}: lower "
            "--liked, or drop the column where every row is a choice"
        )
    return account.keep("interactions", kept, f"rated below {least:g}")


def mark_splits(events: Table, seed: int, account: Account) -> pd.Series:
    """Which ratings are learned from ("train") and which only measure ("test").

    Without a column ``split`` a fifth, drawn at random, measures.

    Raises:
        DataError: for any other mark, naming the row.
    """
    n = len(events.frame)
    if "split" not in events.frame.columns:
        held_out = np.random.default_rng(seed).permutation(n) < round(HELD_OUT * n)
        account.note(
            "split: no column, so a fifth of the ratings, drawn at random, stand in for those of "
            "randomly drawn items; users chose what they rated, so the measured errors are too low"
        )
        marks = pd.Series(np.where(held_out, "test", "train"))
    else:
        marks = texts(events, "split")
        other = np.flatnonzero(~marks.isin(SPLITS))
        if len(other):
            row = int(other[0])
            raise DataError(
                f"{events.place(row)}: split {marks.iloc[row]!r}: mark self-selected ratings "
                "'train' and those of randomly drawn items 'test', or drop the column"
            )
    return marks
