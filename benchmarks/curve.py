"""Plays an agent on the test split, once or again and again while it learns."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback

from recsim_envs.envs import RecommenderVectorEnv
from recsim_envs.report.play import Sessions, play


def evaluate(
    model: BaseAlgorithm, users: RecommenderVectorEnv, seed: int, deterministic: bool
) -> Sessions:
    """Plays a session with each user; every agent of a seed meets the same users.

    Args:
        model: an agent of single items, or of slates.
        users: of the test split.
        seed: of the agent.
        deterministic: whether it takes its most probable items.
    """

    def act(observations: Any) -> Any:
        actions, _ = model.predict(observations, deterministic=deterministic)
        # A slate's first item is what the policy for single items does, random or greedy.
        return actions if actions.ndim == 1 else actions[:, 0]

    return play(users, act, seed=10_000 + seed)


class TestCurve(BaseCallback):
    """Plays test sessions after given numbers of steps.

    Args:
        users: of the test split.
        steps: when to play, rising; 0 plays before the first step.
        seed: of the agent.
        deterministic: whether it takes its most probable items.

    Attributes:
        points: dicts of ``steps`` and the sessions' mean ``reward``, ``length``, ``distinct``.
        returns: of the sessions that ended while learning.
        seconds: spent here.
    """

    __test__ = False  # its name is no test's

    def __init__(
        self, users: RecommenderVectorEnv, steps: Sequence[float], seed: int, deterministic: bool
    ) -> None:
        super().__init__()
        self.users = users
        self.due = list(steps)
        self.seed = seed
        self.deterministic = deterministic
        self.points: list[dict[str, float]] = []
        self.returns: list[float] = []
        self.seconds = 0.0

    def _on_training_start(self) -> None:
        self._play_if_due()

    def _on_step(self) -> bool:
        for info in self.locals["infos"]:
            if "episode" in info:
                self.returns.append(float(info["episode"]["r"]))
        self._play_if_due()
        return True

    def _play_if_due(self) -> None:
        if not self.due or self.num_timesteps < self.due[0]:
            return
        self.due.pop(0)
        start = time.perf_counter()
        played = evaluate(self.model, self.users, self.seed, self.deterministic)
        self.points.append(
            {
                "steps": self.num_timesteps,
                "reward": float(played.reward.mean()),
                "length": float(played.length.mean()),
                "distinct": float(played.distinct.mean()),
            }
        )
        self.seconds += time.perf_counter() - start
