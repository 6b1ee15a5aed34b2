"""Plays sessions with a policy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np

from recsim_envs.arrays import FloatArray, IntArray
from recsim_envs.envs import RecommenderVectorEnv

Act = Callable[[Any], IntArray]
"""A policy: observations of N users to N items."""
USERS_AT_ONCE = 256
"""Whoever scores the whole catalogue for each user needs memory for all of them."""


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


def play(env: RecommenderVectorEnv, act: Act, seed: int, rounds: int = 1) -> Sessions:
    """Plays one session with each of the environment's users.

    Only each user's first session counts: counting whatever ends first would favour short ones.

    Args:
        env: N users.
        act: the policy.
        seed: of the users; that of the next round is one higher.
        rounds: how often N new users come. Every policy meets the same ones.

    Returns:
        N sessions a round.
    """
    return joined([_play_once(env, act, seed + number) for number in range(rounds)])


def _play_once(env: RecommenderVectorEnv, act: Act, seed: int) -> Sessions:
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


def joined(parts: Sequence[Sessions]) -> Sessions:
    """The sessions of all ``parts``, in order."""
    return Sessions(
        np.concatenate([part.reward for part in parts]),
        np.concatenate([part.length for part in parts]),
        np.concatenate([part.distinct for part in parts]),
    )


def rounds_of(sessions: int) -> tuple[int, int]:
    """Splits ``sessions`` into users at once and rounds; what is left over is rounded up."""
    rounds = -(-sessions // USERS_AT_ONCE)
    return -(-sessions // rounds), rounds


def make_users(env_id: str, n: int, **arguments: Any) -> RecommenderVectorEnv:
    """Makes a vector environment of recsim."""
    env = gym.make_vec(env_id, num_envs=n, **arguments)
    assert isinstance(env, RecommenderVectorEnv)
    return env
