"""Plays an agent with test users before, while and after it learns."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback

from benchmarks.records import Record
from recsim_envs.envs import RecommenderVectorEnv
from recsim_envs.report.figures import interval, r_avg
from recsim_envs.report.play import Sessions, play, rounds_of

SAMPLED = 2
"""Sessions that are recorded item by item."""


def evaluate(
    model: BaseAlgorithm,
    users: RecommenderVectorEnv,
    seed: int,
    deterministic: bool,
    rounds: int = 1,
) -> Sessions:
    """Plays sessions with users; every agent of a seed meets the same ones.

    Args:
        model: an agent of single items, or of slates.
        users: whom it plays with.
        seed: of the agent.
        deterministic: whether it takes its most probable items.
        rounds: sessions a user.
    """
    return play(users, act_of(model, deterministic), seed=10_000 + seed, rounds=rounds)


def act_of(model: BaseAlgorithm, deterministic: bool) -> Callable[[Any], Any]:
    """What an agent shows users, as a function of their observations."""

    def act(observations: Any) -> Any:
        actions, _ = model.predict(observations, deterministic=deterministic)
        # A slate's first item is what the policy for single items does, random or greedy.
        return actions if actions.ndim == 1 else actions[:, 0]

    return act


def summary(sessions: Sessions) -> Record:
    """Means of sessions, and 95% intervals over them (which say nothing about other seeds)."""
    average = r_avg(sessions)
    return {
        "reward": float(sessions.reward.mean()),
        "length": float(sessions.length.mean()),
        "average_reward": average.value,
        "distinct": float(sessions.distinct.mean()),
        "reward_interval": interval(sessions.reward.tolist()),
        "length_interval": interval(sessions.length.tolist()),
        "average_reward_interval": [average.low, average.high],
        "sessions": len(sessions.length),
    }


def sample_sessions(
    act: Callable[[Any], Any], users: RecommenderVectorEnv, seed: int
) -> list[Record]:
    """Plays a session with each of some users and records it item by item.

    Returns:
        Dicts of ``start``, the history's item ids, and ``steps``: item, reward, and the patience
        that is left (None where the users have none).
    """
    observations, _ = users.reset(seed=20_000 + seed)
    histories = observations["history"] if isinstance(observations, dict) else observations
    n_items = users.dataset.n_items
    sessions: list[Record] = [
        {"start": [int(item) for item in history if item < n_items], "steps": []}
        for history in histories
    ]
    playing = np.ones(users.num_envs, dtype=bool)
    while playing.any():
        observations, rewards, terminated, truncated, infos = users.step(act(observations))
        for user in np.flatnonzero(playing):
            patience = round(float(infos["patience"][user]), 3) if "patience" in infos else None
            step = [int(infos["item"][user]), round(float(rewards[user]), 3), patience]
            sessions[user]["steps"].append(step)
        playing &= ~(terminated | truncated)
    return sessions


class TestCurve(BaseCallback):
    """Plays test sessions after given numbers of steps, and keeps the sessions learned from.

    Args:
        make_users: makes n users of the test split.
        tests: sessions to play, by the number of steps after which; 0 is before the first, the last
            after the last update.
        seed: of the agent.
        deterministic: whether it takes its most probable items.

    Attributes:
        points: the tests' :func:`summary`, each with its ``steps``.
        episodes: of the sessions that ended while learning: ``steps`` so far, ``return`` and
            ``length``, as lists.
        samples: sessions before and after learning, see :func:`sample_sessions`.
        seconds: spent here.
    """

    __test__ = False  # its name is no test's

    def __init__(
        self,
        make_users: Callable[[int], RecommenderVectorEnv],
        tests: Mapping[int, int],
        seed: int,
        deterministic: bool,
    ) -> None:
        super().__init__()
        self.make_users = make_users
        self.due = sorted(tests.items())
        self.seed = seed
        self.deterministic = deterministic
        self.points: list[Record] = []
        self.episodes: dict[str, list[float]] = {"steps": [], "return": [], "length": []}
        self.samples: dict[str, list[Record]] = {}
        self.seconds = 0.0
        self._users: dict[int, RecommenderVectorEnv] = {}

    def _on_training_start(self) -> None:
        if self.due and self.due[0][0] == 0:
            self._play()
        self._sample("before")

    def _on_step(self) -> bool:
        for info in self.locals["infos"]:
            if "episode" in info:
                self.episodes["steps"].append(self.num_timesteps)
                self.episodes["return"].append(round(float(info["episode"]["r"]), 3))
                self.episodes["length"].append(int(info["episode"]["l"]))
        while len(self.due) > 1 and self.num_timesteps >= self.due[0][0]:
            self._play()
        return True

    def _on_training_end(self) -> None:
        while self.due:
            self._play()
        self._sample("after")

    def _play(self) -> None:
        start = time.perf_counter()
        _, sessions = self.due.pop(0)
        n, rounds = rounds_of(sessions)
        played = evaluate(self.model, self._of(n), self.seed, self.deterministic, rounds)
        self.points.append({"steps": self.num_timesteps, **summary(played)})
        self.seconds += time.perf_counter() - start

    def _sample(self, when: str) -> None:
        start = time.perf_counter()
        act = act_of(self.model, self.deterministic)
        self.samples[when] = sample_sessions(act, self._of(SAMPLED), self.seed)
        self.seconds += time.perf_counter() - start

    def _of(self, n: int) -> RecommenderVectorEnv:
        if n not in self._users:
            self._users[n] = self.make_users(n)
        return self._users[n]
