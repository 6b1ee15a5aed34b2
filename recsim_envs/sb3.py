"""A Gymnasium vector environment as a Stable-Baselines3 ``VecEnv``, without a loop over users."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvStepReturn

from recsim_envs.state import State, get_state, set_state


class BatchedVecEnv(VecEnv):
    """Steps all users with one call of the vector environment.

    Each user's info dict holds ``item``, the item shown, and where a judge chose it ``pick``, its
    place in the slate or -1; at the end of a session also SB3's ``terminal_observation`` and
    ``TimeLimit.truncated``. The other named terms stay batched, in :attr:`last_infos`.

    Args:
        env: a vector environment with ``AutoresetMode.SAME_STEP``, whose infos hold ``item``.

    Raises:
        ValueError: for another autoreset mode.
    """

    def __init__(self, env: gym.vector.VectorEnv[Any, Any, Any]) -> None:
        mode = env.metadata.get("autoreset_mode")
        if mode != AutoresetMode.SAME_STEP:
            raise ValueError(
                f"autoreset_mode={mode}: SB3 needs the next session's first observation in the "
                "same step; make the environment with AutoresetMode.SAME_STEP"
            )
        self.env = env
        self.last_infos: dict[str, Any] = {}
        super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)

    def reset(self) -> Any:
        """Replaces all users; the first seed given to ``seed()`` seeds them all."""
        observations, self.last_infos = self.env.reset(seed=self._seeds[0])
        self._reset_seeds()
        self._reset_options()
        return observations

    def step_async(self, actions: NDArray[Any]) -> None:
        """Keeps the actions for :meth:`step_wait`."""
        self._actions = actions

    def step_wait(self) -> VecEnvStepReturn:
        """Steps all users."""
        observations, rewards, terminated, truncated, infos = self.env.step(self._actions)
        self.last_infos = infos
        done = terminated | truncated
        named = [key for key in ("item", "pick") if key in infos]
        rows = zip(*(infos[key].tolist() for key in named), strict=True)
        per_user: list[dict[str, Any]] = [dict(zip(named, row, strict=True)) for row in rows]
        for i in np.flatnonzero(done):
            per_user[i]["terminal_observation"] = infos["final_obs"][i]
            per_user[i]["TimeLimit.truncated"] = bool(truncated[i] and not terminated[i])
        return observations, np.asarray(rewards, dtype=np.float32), done, per_user

    def get_state(self) -> State:
        """The vector environment's state, see :mod:`recsim_envs.state`."""
        return get_state(self.env)

    def set_state(self, state: State) -> None:
        """Continues where the environment was that returned ``state``; a step must not be open."""
        set_state(self.env, state)

    def close(self) -> None:
        """Closes the vector environment."""
        self.env.close()

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """The vector environment's attribute, once a user; (N, ...) values of methods are split."""
        value = getattr(self.env, attr_name)
        return [value for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Sets an attribute for all users."""
        if indices is not None:
            raise ValueError(f"indices={indices}: the users share one environment; use None")
        setattr(self.env, attr_name, value)

    def env_method(
        self,
        method_name: str,
        *method_args: Any,
        indices: VecEnvIndices = None,
        **method_kwargs: Any,
    ) -> list[Any]:
        """Calls a batched method such as ``action_masks`` and returns its rows."""
        rows = getattr(self.env, method_name)(*method_args, **method_kwargs)
        return [rows[i] for i in self._get_indices(indices)]

    def env_is_wrapped(
        self, wrapper_class: type[gym.Wrapper[Any, Any, Any, Any]], indices: VecEnvIndices = None
    ) -> list[bool]:
        """No single-user wrapper can be inside."""
        return [False for _ in self._get_indices(indices)]

    def seed(self, seed: int | None = None) -> Sequence[int | None]:
        """Seeds the generator that all users share, from the next reset on."""
        self._seeds = [seed] * self.num_envs
        return self._seeds
