"""What a judge is.

A judge stands in for the user: it sees what the user chose so far and a slate of candidates, and
says which of them the user takes next, or that the user takes none of them.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from recsim_envs.arrays import IntArray
from recsim_envs.data.dataset import Dataset

NONE = -1
"""The pick that means: the user takes none of the candidates."""


class JudgeError(RuntimeError):
    """A judge has no verdict: its server is silent, or its model chose none of the options."""


class Judge(Protocol):
    """Chooses for a batch of users.

    A verdict depends only on its own row: batching is for speed and never changes a pick.

    Attributes:
        name: how records and tables call this judge.
        n_items: size of the catalogue it knows; item ids are ``0..n_items-1``.
    """

    name: str
    n_items: int

    def choose(
        self, histories: IntArray, slates: IntArray, users: IntArray | None = None
    ) -> IntArray:
        """Picks one candidate a row.

        Args:
            histories: (B, H) item ids, oldest first, padded on the left with ``n_items``.
            slates: (B, k) ids of the candidates.
            users: (B,) user ids where the data describes its users, else None.

        Returns:
            (B,) int64, the pick's index in its slate, or -1 for none of them.

        Raises:
            ValueError: if the shapes do not match or an id is outside the catalogue.
        """
        ...


def item_counts(dataset: Dataset, counts: ArrayLike | None) -> NDArray[np.number]:
    """Returns ``counts`` (n_items,), by default ``dataset.popularity``.

    Raises:
        ValueError: if ``counts`` has another shape.
    """
    result = np.asarray(dataset.popularity if counts is None else counts)
    if result.shape != (dataset.n_items,):
        raise ValueError(
            f"counts has shape {result.shape}: give one count an item, ({dataset.n_items},)"
        )
    return result


def check_request(n_items: int, histories: IntArray, slates: IntArray) -> None:
    """Refuses what no judge could answer.

    Raises:
        ValueError: if the shapes do not match or an id is outside the catalogue.
    """
    if histories.ndim != 2 or slates.ndim != 2 or len(histories) != len(slates):
        raise ValueError(
            f"histories {histories.shape} and slates {slates.shape} do not match: "
            "give (B, H) and (B, k) of the same B"
        )
    if slates.size and not 0 <= slates.min() <= slates.max() < n_items:
        raise ValueError(
            f"slates holds ids {slates.min()}..{slates.max()}, but this judge knows items "
            f"0..{n_items - 1}: build the judge from the environment's own dataset"
        )
    if histories.size and not 0 <= histories.min() <= histories.max() <= n_items:
        raise ValueError(
            f"histories holds ids {histories.min()}..{histories.max()}, but this judge knows items "
            f"0..{n_items - 1} (and {n_items} as padding): build it from the environment's dataset"
        )
