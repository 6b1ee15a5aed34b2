"""Gymnasium's two faces of a simulator: a vector environment, and a batch of one."""

from __future__ import annotations

from typing import Any, SupportsFloat

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from recsim_envs.dataset import Dataset
from recsim_envs.simulator import BoolArray, Observation, Simulator
from recsim_envs.state import State


class RecommenderVectorEnv(gym.vector.VectorEnv[Any, Any, Any]):
    """N users as one environment: a single reward-model call steps them all.

    A user who is gone is replaced in the same step (``AutoresetMode.SAME_STEP``): the returned
    observation is the new user's first, and ``infos["final_obs"][i]`` the old user's last, where
    ``infos["_final_obs"][i]``. All other infos are those of the step just taken, each (N,);
    ``infos["final_info"]`` repeats them with the mask of ended sessions.
    """

    def __init__(self, simulator: Simulator, render_mode: str | None = None) -> None:
        self.metadata = {"render_modes": [], "autoreset_mode": AutoresetMode.SAME_STEP}
        if render_mode is not None:
            raise ValueError(f"render_mode={render_mode!r}: a vector environment renders nothing")
        self.render_mode = None
        self.simulator = simulator
        self.num_envs = simulator.n
        self.single_observation_space = simulator.observation_space
        self.single_action_space = simulator.action_space
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)

    @property
    def dataset(self) -> Dataset:
        """The catalogue and its source."""
        return self.simulator.dataset

    def action_masks(self) -> BoolArray:
        """Allowed actions, (N, n_items)."""
        return self.simulator.action_masks()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Replaces all users; ``seed`` seeds the one generator that all of them share."""
        super().reset(seed=seed, options=options)
        self.simulator.reset(np.ones(self.num_envs, dtype=bool), self.np_random)
        return self.simulator.observe(), {}

    def step(self, actions: Any) -> tuple[Observation, Any, BoolArray, BoolArray, dict[str, Any]]:
        """Shows item ``actions[i]`` to user i; see the class for the infos."""
        reward, terminated, truncated, terms = self.simulator.step(actions, self.np_random)
        infos: dict[str, Any] = dict(terms)
        done = terminated | truncated
        if done.any():
            last = self.simulator.observe()
            final_obs = np.full(self.num_envs, None, dtype=object)
            for i in np.flatnonzero(done):
                final_obs[i] = (
                    {key: value[i] for key, value in last.items()}
                    if isinstance(last, dict)
                    else last[i]
                )
            final_info = {key: value.copy() for key, value in terms.items()}
            final_info.update({f"_{key}": done.copy() for key in terms})
            infos.update(
                final_obs=final_obs, _final_obs=done, final_info=final_info, _final_info=done.copy()
            )
            self.simulator.reset(done, self.np_random)
        return self.simulator.observe(), reward, terminated, truncated, infos

    def get_state(self) -> State:
        """The users and the generator that they share, see :mod:`recsim_envs.state`."""
        return {"simulator": self.simulator.get_state(), "rng": self.np_random.bit_generator.state}

    def set_state(self, state: State) -> None:
        """Continues where the environment was that returned ``state``.

        Raises:
            ValueError: if that one was made with other arguments; the message names both.
        """
        self.simulator.set_state(state["simulator"])
        self.np_random.bit_generator.state = state["rng"]


class RecommenderEnv(gym.Env[Any, np.int64]):
    """One user: the same dynamics as :class:`RecommenderVectorEnv`, with a batch of one."""

    metadata = {"render_modes": ["ansi"], "render_fps": 1}

    def __init__(self, simulator: Simulator, render_mode: str | None = None) -> None:
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise ValueError(f"render_mode={render_mode!r}: use 'ansi' or None")
        self.simulator = simulator
        self.render_mode = render_mode
        self.observation_space = simulator.observation_space
        self.action_space = simulator.action_space
        self._over = True
        self._last: dict[str, Any] = {}

    @property
    def dataset(self) -> Dataset:
        """The catalogue and its source."""
        return self.simulator.dataset

    def action_masks(self) -> BoolArray:
        """Allowed actions, (n_items,)."""
        allowed: BoolArray = self.simulator.action_masks()[0]
        return allowed

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Brings a new user."""
        super().reset(seed=seed, options=options)
        self.simulator.reset(np.ones(1, dtype=bool), self.np_random)
        self._over, self._last = False, {}
        return self._observe(), {}

    def step(
        self, action: np.int64
    ) -> tuple[Observation, SupportsFloat, bool, bool, dict[str, Any]]:
        """Shows one item.

        Raises:
            gymnasium.error.ResetNeeded: if the session is over.
        """
        if self._over:
            raise gym.error.ResetNeeded("the session is over: call reset() for a new user")
        reward, terminated, truncated, infos = self.simulator.step(
            np.asarray(action).reshape(1), self.np_random
        )
        self._over = bool(terminated[0] or truncated[0])
        self._last = {key: value[0].item() for key, value in infos.items()}
        self._last["reward"] = float(reward[0])
        info = {key: value for key, value in self._last.items() if key != "reward"}
        return self._observe(), float(reward[0]), bool(terminated[0]), bool(truncated[0]), info

    def render(self) -> str | None:
        """In "ansi" mode: the session's items, newest last, and what the last one did."""
        if self.render_mode is None:
            return None
        texts = self.dataset.items["text"]
        shown = self.simulator.history[0]
        lines = [f"  {texts[int(item)]}" for item in shown if item < self.dataset.n_items]
        terms = ", ".join(f"{key}={value:.4g}" for key, value in self._last.items())
        return "\n".join([repr(self.dataset), *lines, terms])

    def get_state(self) -> State:
        """The user and the random generator, see :mod:`recsim_envs.state`."""
        return {
            "simulator": self.simulator.get_state(),
            "rng": self.np_random.bit_generator.state,
            "over": self._over,
            "last": dict(self._last),
        }

    def set_state(self, state: State) -> None:
        """As :meth:`RecommenderVectorEnv.set_state`."""
        self.simulator.set_state(state["simulator"])
        self.np_random.bit_generator.state = state["rng"]
        self._over, self._last = state["over"], dict(state["last"])

    def _observe(self) -> Observation:
        observation = self.simulator.observe()
        if isinstance(observation, dict):
            return {key: value[0] for key, value in observation.items()}
        return observation[0]
