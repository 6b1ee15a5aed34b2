"""Records what an agent and a judge do, for others to learn from."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.vector import VectorWrapper
from numpy.typing import NDArray

from llm_oracle.interactions import HISTORY, Interactions
from llm_oracle.judge import Judge
from llm_oracle.judges.language import LanguageModelJudge
from llm_oracle.oracle_env import LLMOracleVectorEnv, Observation
from recsim_envs import __version__
from recsim_envs.envs import RecommenderVectorEnv
from recsim_envs.provenance import git_revision
from recsim_envs.state import State, get_state, set_state
from recsim_envs.trees import Tree

VECTOR_KWARGS = ("num_envs", "vectorization_mode", "autoreset_mode")
"""Arguments of ``gym.make_vec`` that ``gym.make`` does not know."""


class RecordInteractions(VectorWrapper[Any, Any, Any, Any, Any]):
    """Remembers every step of an environment in which a judge rewards; changes nothing of it.

    A few hundred bytes a step and user, in memory until :meth:`save`. They belong to the
    environment's state: a pre-training that was killed and resumed from a checkpoint has recorded
    what an unbroken one would have.

    Args:
        env: around recsim's own vector environment, as ``gym.make_vec`` makes it.

    Raises:
        ValueError: for another environment, of which it is not known how to make it again.

    Example:
        >>> import gymnasium as gym
        >>> import recsim_envs
        >>> from llm_oracle import LLMOracleVectorEnv, PopularityJudge
        >>> from llm_oracle.recording import RecordInteractions
        >>> users = gym.make_vec("recsim/Coat-v0", num_envs=4, leaves=False)
        >>> judge = PopularityJudge(users.dataset)
        >>> env = RecordInteractions(LLMOracleVectorEnv(users, judge, k=5))
        >>> _ = env.reset(seed=0)
        >>> _ = env.step(env.action_space.sample())
        >>> env.interactions().steps["slates"].shape
        (1, 4, 5)
    """

    def __init__(self, env: LLMOracleVectorEnv) -> None:
        super().__init__(env)
        users = env.env
        if not isinstance(users, RecommenderVectorEnv) or users.spec is None:
            raise ValueError(
                f"the judge's users are {users}: record recsim's own, "
                "LLMOracleVectorEnv(gym.make_vec('recsim/...', num_envs=N), judge)"
            )
        self.autoreset_mode = env.autoreset_mode
        kwargs = users.spec.kwargs.items()
        self._about: Tree = {
            "env": users.spec.id,
            "kwargs": {name: value for name, value in kwargs if name not in VECTOR_KWARGS},
            "data": {
                "name": users.dataset.name,
                "hash": users.dataset.hash,
                "replica": users.dataset.replica,
            },
            "n_items": env.n_items,
            "judge": describe(env.judge),
            "k": env.k,
            "reward": env.reward,
            "users": env.num_envs,
            "recsim": __version__,
            "revision": git_revision(),
        }
        self._seeds: list[int] = []
        self._observation: dict[str, NDArray[Any]] = {}
        self._begins = np.ones(self.num_envs, dtype=bool)
        self._kept: dict[str, list[dict[str, NDArray[Any]]]] = {}
        self._forget()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """As the environment's; a session that it replaces is cut."""
        observation, infos = self.env.reset(seed=seed, options=options)
        if seed is not None:
            self._seeds.append(int(seed))
        self._begins |= np.asarray((options or {}).get("reset_mask", True))
        self._observation = _copied(observation)
        return observation, infos

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """As the environment's."""
        observation, rewards, terminated, truncated, infos = self.env.step(actions)
        after = _copied(observation)
        last = {name: values.copy() for name, values in after.items()}
        for user in np.flatnonzero(terminated | truncated).tolist():
            for name, value in _named(infos["final_obs"][user]).items():
                last[name][user] = value
        step = {
            "slates": np.array(actions, dtype=np.int64),
            "picks": infos["pick"].copy(),
            "items": infos["item"].copy(),
            "rewards": np.array(rewards, dtype=np.float64),
            "terminations": terminated.copy(),
            "truncations": truncated.copy(),
            "begins": self._begins,
        }
        self._kept["observations"].append(self._observation)
        self._kept["next_observations"].append(last)
        self._kept["steps"].append(step)
        self._observation, self._begins = after, terminated | truncated
        return observation, rewards, terminated, truncated, infos

    def interactions(self) -> Interactions:
        """Returns what was recorded up to now.

        Raises:
            ValueError: before the first step.
        """
        if not self._kept["steps"]:
            raise ValueError("nothing was recorded yet: let an agent learn on this environment")
        return Interactions(
            {**deepcopy(self._about), "seeds": list(self._seeds)},
            **{name: _stacked(rows) for name, rows in self._kept.items()},
        )

    def save(self, file: str | Path) -> None:
        """Writes :meth:`interactions` for ``recsim export-minari``."""
        self.interactions().save(file)

    def get_state(self) -> State:
        """The environment's state and what was recorded, see :mod:`recsim_envs.state`."""
        return {
            "kept": {name: _stacked(rows) for name, rows in self._kept.items()},
            "seeds": list(self._seeds),
            "begins": self._begins.copy(),
            "observation": deepcopy(self._observation),
            "env": get_state(self.env),
        }

    def set_state(self, state: State) -> None:
        """Continues the recording of the environment that returned ``state``."""
        set_state(self.env, state["env"])
        self._forget()
        for name, stacked in state["kept"].items():
            length = len(next(iter(stacked.values()), ()))
            rows = ({key: values[t] for key, values in stacked.items()} for t in range(length))
            self._kept[name].extend(rows)
        self._seeds = list(state["seeds"])
        self._begins = state["begins"].copy()
        self._observation = deepcopy(state["observation"])

    def _forget(self) -> None:
        self._kept = {"observations": [], "next_observations": [], "steps": []}


def describe(judge: Judge) -> Tree:
    """What is known of a judge, JSON-able; a server's address stays at home."""
    about: Tree = {"name": judge.name}
    if isinstance(judge, LanguageModelJudge):
        about |= judge.describe()
        about.pop("server", None)
        about |= {"calibration": asdict(judge.calibration), "seed": judge.seed}
    return about


def _named(observation: Observation) -> dict[str, NDArray[Any]]:
    return observation if isinstance(observation, dict) else {HISTORY: observation}


def _copied(observation: Observation) -> dict[str, NDArray[Any]]:
    return {name: np.array(values) for name, values in _named(observation).items()}


def _stacked(rows: list[dict[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]} if rows else {}
