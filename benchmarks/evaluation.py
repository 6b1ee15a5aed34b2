"""Plays sessions with a policy, and the reference policies that put a result into proportion."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np

from recsim_envs.arrays import FloatArray, IntArray
from recsim_envs.data.dataset import Dataset
from recsim_envs.envs import RecommenderVectorEnv
from recsim_envs.users.shoppers import ShopperSimulator

Act = Callable[[Any], IntArray]
"""A policy: observations of N users to N items."""
LIKED = 4


@dataclass(frozen=True)
class Sessions:
    """Whole sessions, one an entry, each (n,).

    Attributes:
        reward: sum of a session's rewards (the paper's Return).
        length: recommendations until the user left (the paper's Length).
        distinct: share of distinct items in the session, from 0 to 1.
    """

    reward: FloatArray
    length: IntArray
    distinct: FloatArray

    @property
    def average_reward(self) -> float:
        """The paper's R_avg: reward a recommendation, Return / Length."""
        return float(self.reward.sum() / self.length.sum())


def play(env: RecommenderVectorEnv, act: Act, seed: int) -> Sessions:
    """Plays one session with each of the environment's users.

    Only each user's first session counts: counting whatever ends first would favour short ones.

    Args:
        env: N users.
        act: the policy.
        seed: of the users.
    """
    observations, _ = env.reset(seed=seed)
    n = env.num_envs
    reward, length, distinct = np.zeros(n), np.zeros(n, dtype=np.int64), np.zeros(n)
    playing = np.ones(n, dtype=bool)
    while playing.any():
        observations, rewards, terminated, truncated, infos = env.step(act(observations))
        reward += rewards * playing
        length += playing
        distinct = np.where(playing, infos["distinct"], distinct)
        playing &= ~(terminated | truncated)
    return Sessions(reward, length, distinct)


def make_users(env_id: str, n: int, **arguments: Any) -> RecommenderVectorEnv:
    """Makes a vector environment of recsim."""
    env = gym.make_vec(env_id, num_envs=n, **arguments)
    assert isinstance(env, RecommenderVectorEnv)
    return env


def reference_policies(env: RecommenderVectorEnv, seed: int) -> dict[str, Act]:
    """Policies that no learning agent should be shown without.

    - random: uniformly random items.
    - popularity: the most popular item not shown yet in the session (Coat: most often rated 4 or
      5 among the self-selected ratings).
    - static cycle (Coat): the items of best true mean rating that keep their distance, in a circle;
      nothing in it is personal.
    - score-greedy oracle: reads the simulator, and takes the item of highest expected reward that
      does not make the user leave; in sessions (LFM, Industry) only items not shown yet.

    Args:
        env: the users that will be played with; the oracles look into its simulator.
        seed: of the random policy.
    """
    rng = np.random.default_rng(seed)
    ranking = np.argsort(-_liked_counts(env.dataset), kind="stable")
    simulator = env.simulator
    n_items = env.dataset.n_items

    def random(_: Any) -> IntArray:
        items: IntArray = rng.integers(n_items, size=env.num_envs)
        return items

    def popularity(_: Any) -> IntArray:
        items: IntArray = ranking[simulator.steps]
        return items

    def oracle(_: Any) -> IntArray:
        reward, leaves = simulator.outlook()
        value = np.where(leaves, reward - 1e6, reward)
        if not isinstance(simulator, ShopperSimulator):  # whose users punish repeats themselves
            value = np.where(simulator.already_shown(), value - 1e3, value)
        items: IntArray = value.argmax(axis=1)
        return items

    policies: dict[str, Act] = {"random": random, "popularity": popularity}
    if isinstance(simulator, ShopperSimulator):
        circle = np.array(_best_apart(simulator))
        policies["static cycle"] = lambda _: circle[simulator.steps % len(circle)]
    return {**policies, "score-greedy oracle": oracle}


def _liked_counts(dataset: Dataset) -> IntArray:
    liked = dataset.interactions
    if "rating" in liked.columns:
        liked = liked[(liked["rating"] >= LIKED) & (liked["split"] == "train")]
    return np.bincount(liked["item"].to_numpy(), minlength=dataset.n_items)


def _best_apart(simulator: ShopperSimulator) -> list[int]:
    """The n_recent + 1 items of best mean rating that are all far enough from each other."""
    apart: list[int] = []
    for item in np.argsort(-simulator.ratings.mean(axis=0), kind="stable"):
        if all(simulator.distance[item, other] >= simulator.leave_distance for other in apart):
            apart.append(int(item))
        if len(apart) == simulator.n_recent + 1:
            break
    return apart
