"""A whole step of the users, compiled: their answers, what they remember, and whether they leave.

The rules are those of :mod:`recsim_envs.users.sessions` and :mod:`recsim_envs.users.shoppers`,
whose NumPy steps are the reference that tests hold these to. What could leave an array's bounds is
refused before anything changes: compiled code checks no index.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recsim_envs.arrays import Float32Array, FloatArray, IntArray
from recsim_envs.compiled import compiled
from recsim_envs.rewards.kernels import Kept, Weights, probability_of
from recsim_envs.users.sessions import LEAVE_BELOW, REWARD_SCALE


class Sessions(NamedTuple):
    """The arrays of :class:`recsim_envs.users.simulator.Simulator` that a step changes.

    Attributes:
        history: (N, H).
        shown: (N, max_steps).
        steps: (N,).
        distinct: (N,) distinct items shown.
    """

    history: NDArray[np.int32]
    shown: IntArray
    steps: IntArray
    distinct: IntArray


@compiled
def step_listeners(
    items: IntArray,
    uniform: FloatArray,
    sessions: Sessions,
    patience: FloatArray,
    recent: NDArray[np.int32],
    rule: int,
    all_enter: bool,
    leaves: bool,
    weights: Weights,
    kept: Kept,
    numbers: FloatArray,
    flags: NDArray[np.bool_],
) -> None:
    """A step of N users of a :class:`recsim_envs.users.sessions.SessionSimulator`.

    Args:
        items: (N,).
        uniform: (N,) draws from 0 to 1; a user accepts where the draw is below the probability.
        sessions: changed in place, as ``patience`` (N,) and ``recent`` (N, H).
        patience: see there.
        recent: see there.
        rule: place of the user model in ``UserModel``.
        all_enter: whether items enter the history unless they are refused.
        leaves: whether users leave before the cap.
        weights: of the reward model.
        kept: what was computed of these users' histories.
        numbers: (4, N) to be written: reward, share of distinct items, probability, patience.
        flags: (3, N) to be written: terminated, truncated, accepted.
    """
    n_items = len(weights.item) - 1
    check(items, sessions, n_items)
    for user in range(len(items)):
        item = items[user]
        probability = probability_of(user, sessions.history[user], item, weights, kept)
        accepted = uniform[user] < probability
        if rule == 0:
            reward = REWARD_SCALE * probability
        elif rule == 1:
            reward = 1.0 if accepted else -0.1
        else:
            reward = 1.0 if accepted else 0.0
        lost = (1.0 - reward) + 1.0 if rule == 1 else min(max(2.0 - reward, 0.0), 2.0)
        patience[user] -= lost
        push(recent[user], item)
        record(user, item, accepted or all_enter, sessions)
        numbers[0, user] = reward
        numbers[1, user] = sessions.distinct[user] / sessions.steps[user]
        numbers[2, user] = probability
        numbers[3, user] = patience[user]
        flags[0, user] = leaves and patience[user] < LEAVE_BELOW
        flags[1, user] = not flags[0, user] and sessions.steps[user] >= sessions.shown.shape[1]
        flags[2, user] = accepted


@compiled
def step_shoppers(
    items: IntArray,
    sessions: Sessions,
    shoppers: IntArray,
    ratings: Float32Array,
    distance: FloatArray,
    n_recent: int,
    forgets: bool,
    limit: float,
    leaves: bool,
    numbers: FloatArray,
    flags: NDArray[np.bool_],
) -> None:
    """A step of N users of a :class:`recsim_envs.users.shoppers.ShopperSimulator`.

    Args:
        items: (N,).
        sessions: changed in place.
        shoppers: (N,) rows of ``ratings``.
        ratings: (n_users, n_items).
        distance: (n_items + 1, n_items + 1).
        n_recent: how many shown items count as recent.
        forgets: whether the window is EasyRL4Rec's.
        limit: the distance below which a user leaves.
        leaves: whether users leave before the cap.
        numbers: (3, N) to be written: reward, share of distinct items, distance to the nearest.
        flags: (2, N) to be written: terminated, truncated.
    """
    n_items = len(distance) - 1
    check(items, sessions, n_items)
    for user in range(len(items)):
        if not 0 <= shoppers[user] < len(ratings):
            raise IndexError("a user is not among the ratings")
    for user in range(len(items)):
        item, step = items[user], sessions.steps[user]
        first = step - n_recent
        if forgets and first < 0:
            first += step
        nearest = np.inf
        for place in range(max(first, 0), step):
            nearest = min(nearest, distance[item, sessions.shown[user, place]])
        record(user, item, True, sessions)
        numbers[0, user] = ratings[shoppers[user], item]
        numbers[1, user] = sessions.distinct[user] / sessions.steps[user]
        numbers[2, user] = nearest
        flags[0, user] = leaves and nearest < limit
        flags[1, user] = not flags[0, user] and sessions.steps[user] >= sessions.shown.shape[1]


@compiled
def check(items: IntArray, sessions: Sessions, n_items: int) -> None:
    """Raises IndexError where a step would read or write outside of an array."""
    for user in range(len(items)):
        if not 0 <= items[user] < n_items:
            raise IndexError("an item is not in the catalogue")
        if not 0 <= sessions.steps[user] < sessions.shown.shape[1]:
            raise IndexError("a session goes on after its last step")
        for place in range(sessions.history.shape[1]):
            if not 0 <= sessions.history[user, place] <= n_items:
                raise IndexError("a history holds what is not in the catalogue")
        for place in range(sessions.steps[user]):
            if not 0 <= sessions.shown[user, place] <= n_items:
                raise IndexError("a session holds what is not in the catalogue")


@compiled
def record(user: int, item: int, enters: bool, sessions: Sessions) -> None:
    """Writes down that an item was shown."""
    new = 1
    for place in range(sessions.steps[user]):
        if sessions.shown[user, place] == item:
            new = 0
    sessions.distinct[user] += new
    sessions.shown[user, sessions.steps[user]] = item
    sessions.steps[user] += 1
    if enters:
        push(sessions.history[user], item)


@compiled
def push(row: NDArray[Any], item: int) -> None:
    """Appends an item to a row, whose oldest goes."""
    for place in range(len(row) - 1):
        row[place] = row[place + 1]
    row[len(row) - 1] = item
