"""Coat shoppers: a completed rating matrix rewards, and too similar an item ends the session.

This is EasyRL4Rec's CoatEnv (Yu et al., "EasyRL4Rec: An Easy-to-use Library for Reinforcement
Learning Based Recommender Systems", SIGIR 2024), whose published results the paper's baselines
repeat to the digit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from recsim_envs.arrays import BoolArray, FloatArray, IntArray
from recsim_envs.checks import check_choice
from recsim_envs.data.dataset import Dataset
from recsim_envs.data.store import data_folder
from recsim_envs.data.stored import read_stored
from recsim_envs.rewards.ratings import RATINGS_FILE, ratings_of
from recsim_envs.state import State
from recsim_envs.users.patience import Patience
from recsim_envs.users.simulator import (
    Observation,
    Outcome,
    Repeats,
    Simulator,
    Split,
    Start,
    Steps,
    Terms,
)

Window = Literal["exact", "easyrl4rec"]
HISTORY_LENGTH = 12


def item_distances(ratings: NDArray[np.float32]) -> FloatArray:
    """Euclidean distances between the item columns of (n_users, n_items) ratings.

    Returns:
        (n_items + 1, n_items + 1): the padding item n_items is infinitely far from all others.
    """
    columns = ratings.T.astype(np.float64)  # (n_items, n_users)
    square = (columns**2).sum(axis=1)
    squared = square[:, None] + square - 2.0 * columns @ columns.T
    distance = np.sqrt(np.maximum(squared, 0.0))
    np.fill_diagonal(distance, 0.0)
    return np.pad(distance, (0, 1), constant_values=np.inf)


class ShopperSimulator(Simulator):
    """N users with fixed tastes, bored by an item that is close to a recently shown one.

    Args:
        n: number of users simulated at once.
        dataset: the catalogue and the users.
        ratings: (n_users, n_items) rewards, in 1..5.
        distance: what :func:`item_distances` returns for the true ratings.
        window: which of the shown items count as recent. "exact": the last 7. "easyrl4rec": as
            EasyRL4Rec's code does, whose slice starts at a negative index in the first 7 steps
            and so forgets early items.
        leave_distance: the user leaves if an item is closer than this to a recent one (EasyRL4Rec's
            setting: 6).
        n_recent: how many shown items count as recent (EasyRL4Rec's setting: 7).
        max_steps: the length cap (EasyRL4Rec's setting: 30).
        leaves: if False the user never leaves before the cap.
        repeats: "mask" leaves items already shown out of the action masks.
    """

    def __init__(
        self,
        n: int,
        dataset: Dataset,
        ratings: NDArray[np.float32],
        distance: FloatArray,
        *,
        window: Window = "exact",
        leave_distance: float = 6.0,
        n_recent: int = 7,
        max_steps: int = 30,
        leaves: bool = True,
        repeats: Repeats = "allow",
    ) -> None:
        check_choice("window", window, get_args(Window))
        super().__init__(n, dataset, HISTORY_LENGTH, max_steps, leaves, repeats)
        self.observation_space = spaces.Dict(
            user=spaces.Discrete(dataset.n_users), history=self.history_space
        )
        self.ratings = ratings
        self.distance = distance
        self.window = window
        self.leave_distance = leave_distance
        self.n_recent = n_recent
        self.user = np.zeros(n, dtype=np.int64)

    @property
    def choices(self) -> dict[str, int]:
        """The user."""
        return {"user": self.dataset.n_users}

    def start(self, users: IntArray, rng: np.random.Generator, chosen: Start) -> None:
        """Draws the users uniformly, unless they are chosen."""
        drawn = rng.integers(self.dataset.n_users, size=len(users))
        self.user[users] = chosen["user"][users] if "user" in chosen else drawn

    def observe(self) -> Observation:
        """Users beside their histories."""
        return {"user": self.user.copy(), "history": super().observe()}

    def respond(self, items: IntArray, rng: np.random.Generator) -> Outcome:
        """Pays the rating; the user leaves if the item is too close to a recent one."""
        nearest = self.distance[items[:, None], self._recent()].min(axis=1)  # (N,)
        rating = self.ratings[self.user, items].astype(np.float64)
        return Outcome(
            reward=rating,
            leaves=nearest < self.leave_distance,
            enters=np.ones(self.n, dtype=bool),
            terms={"nearest": nearest},
        )

    def compiled_steps(self) -> Steps:
        """The same in one call."""
        from recsim_envs.users.fast import ShopperSteps

        return ShopperSteps(self)

    def terms_at_start(self) -> Terms:
        """Nothing was shown yet: everything is infinitely far."""
        return {**super().terms_at_start(), "nearest": np.full(self.n, np.inf)}

    def patience_at(self, terms: Mapping[str, float]) -> Patience:
        """How far the latest coat is from the most alike recent one; twice the limit is full."""
        limit = self.leave_distance
        return Patience("distance to a recent coat", terms["nearest"], limit, 2 * limit)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The users, too."""
        return {**super().arrays(), "user": self.user}

    def settings(self) -> State:
        """The rule, too."""
        return {
            **super().settings(),
            "window": self.window,
            "leave_distance": self.leave_distance,
            "n_recent": self.n_recent,
        }

    def outlook(self) -> tuple[FloatArray, BoolArray]:
        """The user's row of ratings, and which items are too close to a recent one."""
        nearest = self.distance[:-1, self._recent()].min(axis=2).T  # (N, n_items)
        return self.ratings[self.user].astype(np.float64), nearest < self.leave_distance

    def _recent(self) -> IntArray:
        """The shown items that count as recent, others replaced by padding: (N, max_steps)."""
        step, column = self.steps[:, None], np.arange(self.max_steps)
        first = step - self.n_recent
        if self.window == "easyrl4rec":
            first = np.where(first < 0, step + first, first)
        recent = (column >= first) & (column < step)
        return np.where(recent, self.shown, self.dataset.n_items)


def load_shopper_simulator(
    n: int,
    *,
    data: str,
    split: Split,
    window: Window,
    leave_distance: float,
    n_recent: int,
    max_steps: int,
    leaves: bool,
    repeats: Repeats,
) -> ShopperSimulator:
    """Builds a simulator from prepared data; arguments as on the environment's page.

    Args:
        n: number of users simulated at once.
        data: "replica" or the name of prepared data.
        split: whose rewards.
        window: of :class:`ShopperSimulator`, as the rest.
        leave_distance: the same.
        n_recent: the same.
        max_steps: the same.
        leaves: the same.
        repeats: the same.

    Raises:
        DataError: for data that is not prepared, or holds no users and ratings.
        ValueError: for an argument out of its range.
    """
    check_choice("split", split, get_args(Split))
    folder = data_folder(data, "coat")
    stored = read_stored(folder, RATINGS_FILE)
    ratings = ratings_of(stored)
    simulator = ShopperSimulator(
        n,
        Dataset.of(stored),
        ratings[split],
        item_distances(ratings["test"]),
        window=window,
        leave_distance=leave_distance,
        n_recent=n_recent,
        max_steps=max_steps,
        leaves=leaves,
        repeats=repeats,
    )
    simulator.reward_hash, simulator.split = stored.about["files"][RATINGS_FILE], split
    simulator.fast = True
    return simulator
