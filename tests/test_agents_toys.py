"""Recommenders small enough to know their best policy, for the agents' tests."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.env_checker import check_env
from stable_baselines3.common.vec_env import DummyVecEnv

N_ITEMS, LENGTH, HISTORY = 50, 10, 6
CLUSTER = np.random.default_rng(0).permutation(N_ITEMS) % 5


class Clusters(gym.Env[Any, Any]):
    """The right item is one of the last item's cluster: reward 1, else 0. Best return: LENGTH.

    With ``k`` it is a judge's environment: of a slate the (perfect) judge takes a right item; if
    there is none, a random item of the slate is shown, with reward 0.
    """

    def __init__(self, k: int = 0, leaves: bool = False) -> None:
        self.observation_space = spaces.Box(0, N_ITEMS, (HISTORY,), np.int32)
        self.action_space = spaces.MultiDiscrete([N_ITEMS] * k) if k else spaces.Discrete(N_ITEMS)
        self.leaves = leaves

    def right(self) -> np.ndarray:
        return CLUSTER == CLUSTER[self.session[-1]]

    def observe(self) -> Any:
        padding = [N_ITEMS] * (HISTORY - len(self.session))
        return np.array(padding + self.session[-HISTORY:], dtype=np.int32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.session = [int(self.np_random.integers(N_ITEMS))]
        self.steps = 0
        return self.observe(), {}

    def step(self, action: Any) -> Any:
        slate = np.atleast_1d(action)
        right = slate[self.right()[slate]]
        item = int(right[0] if len(right) else self.np_random.choice(slate))
        reward = float(len(right) > 0)
        self.session.append(item)
        self.steps += 1
        left = self.leaves and reward == 0
        info = {"item": item}
        if isinstance(self.action_space, spaces.MultiDiscrete):
            info["pick"] = int(np.flatnonzero(slate == item)[0]) if len(right) else -1
        return self.observe(), reward, left, self.steps == LENGTH, info

    def get_state(self) -> dict[str, Any]:
        names = ("session", "steps", "user") if hasattr(self, "user") else ("session", "steps")
        kept = {name: getattr(self, name) for name in names}
        return {**deepcopy(kept), "rng": self.np_random.bit_generator.state}

    def set_state(self, state: dict[str, Any]) -> None:
        state = deepcopy(state)
        self.np_random.bit_generator.state = state.pop("rng")
        vars(self).update(state)


class Tastes(Clusters):
    """Each user likes one cluster, whatever the session: the form of Coat's observations."""

    def __init__(self, k: int = 0) -> None:
        super().__init__(k)
        self.observation_space = spaces.Dict(
            user=spaces.Discrete(5), history=self.observation_space
        )

    def right(self) -> np.ndarray:
        return CLUSTER == self.user

    def observe(self) -> Any:
        return {"user": np.int64(self.user), "history": super().observe()}

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        gym.Env.reset(self, seed=seed)
        self.user = int(self.np_random.integers(5))
        self.session: list[int] = []
        self.steps = 0
        return self.observe(), {}


def vectorized(make: Any, n: int = 8, seed: int = 0, **kwargs: Any) -> DummyVecEnv:
    env = DummyVecEnv([lambda: make(**kwargs) for _ in range(n)])
    env.seed(seed)
    return env


def mean_return(act: Any, env: DummyVecEnv, steps: int = LENGTH) -> float:
    """Mean return of one session in each of the environments."""
    obs, total = env.reset(), np.zeros(env.num_envs)
    for _ in range(steps):
        obs, reward, _, _ = env.step(act(obs))
        total += reward
    return float(total.mean())


@pytest.mark.parametrize("make", [Clusters, Tastes])
def test_toys_are_gymnasium_environments(make: Any) -> None:
    check_env(make())


def test_best_and_random_returns_are_known() -> None:
    env = vectorized(Clusters, n=200)
    member = {c: np.flatnonzero(CLUSTER == c)[0] for c in range(5)}
    best = mean_return(lambda obs: np.array([member[CLUSTER[i]] for i in obs[:, -1]]), env)
    rng = np.random.default_rng(0)
    uniform = mean_return(lambda obs: rng.integers(N_ITEMS, size=200), env)
    assert best == LENGTH
    assert uniform == pytest.approx(LENGTH / 5, abs=0.3)
