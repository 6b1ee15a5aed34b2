"""A Gymnasium vector environment as a Stable-Baselines3 ``VecEnv``: one call steps all users."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.spaces import MultiDiscrete
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorWrapper
from numpy.typing import NDArray
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvStepReturn

from recsim_envs.checks import ONE_ITEM, as_ids
from recsim_envs.state import State, get_state, set_state


class BatchedVecEnv(VecEnv):
    """Steps all users with one call of the vector environment.

    Only the info dicts, which SB3 wants one a user, are made in a loop over users. Each holds the
    vector environment's named terms for that user, as Python scalars; at the end of a session those
    of its last step, and SB3's ``terminal_observation`` and ``TimeLimit.truncated``.
    ``reset_infos`` holds what the last :meth:`reset` said.

    It counts as SB3's ``Monitor`` does: at the end of a session ``episode`` holds its Return ``r``,
    its Length ``l``, the seconds ``t`` since this object was made and, where the infos have it,
    ``distinct``. So SB3's logs show them, ``evaluate_policy`` reads them, and a ``VecMonitor`` is
    only needed for what else it does, such as its file (SB3 then warns that it counts anew).

    Args:
        env: a vector environment with ``AutoresetMode.SAME_STEP``: recsim's, Gymnasium's
            ``SyncVectorEnv`` or ``AsyncVectorEnv`` of recsim's, or either in vector wrappers.

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
        self._own_options = False
        self._started = time.time()
        # Of the sessions under way; float32, as VecMonitor adds the rewards up.
        self._returns = np.zeros(env.num_envs, dtype=np.float32)  # (N,)
        self._lengths = np.zeros(env.num_envs, dtype=np.int64)  # (N,)
        super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)

    def set_options(self, options: list[dict[str, Any]] | dict[str, Any] | None = None) -> None:
        """Options of the next reset.

        Args:
            options: the vector environment's own, such as ``{"user": 3}`` for all users; or a list
                of each user's, such as ``[{"user": 3}, {}]``.

        Raises:
            ValueError: for a list of another length.
        """
        if isinstance(options, list) and len(options) != self.num_envs:
            raise ValueError(f"{len(options)} options for {self.num_envs} users: give one a user")
        super().set_options(options)
        self._own_options = isinstance(options, list)

    def reset(self) -> Any:
        """Replaces all users; the first seed given to ``seed()`` seeds them all."""
        common = None if self._own_options else self._options[0]
        observations, infos = self.env.reset(seed=self._seeds[0], options=common or None)
        self.reset_infos = _per_user(infos, self.num_envs)
        if self._own_options:
            for i, own in enumerate(self._options):
                if own:
                    options = {**own, "reset_mask": np.arange(self.num_envs) == i}
                    observations, infos = self.env.reset(options=options)
                    self.reset_infos[i] = _per_user(infos, self.num_envs)[i]
        self._reset_seeds()
        self._reset_options()
        self._own_options = False
        self._returns[:], self._lengths[:] = 0, 0
        return observations

    def step_async(self, actions: NDArray[Any]) -> None:
        """Keeps the actions for :meth:`step_wait`.

        Raises:
            ValueError: for another shape, no integers, or an action out of range; no user has
                been stepped.
        """
        space = self.env.action_space
        if isinstance(space, MultiDiscrete):
            takes_one = space.shape == (self.num_envs,)
            advice = ONE_ITEM if takes_one else ""
            actions = as_ids("actions", actions, space.shape, space.nvec, advice)
        self._actions = actions

    def step_wait(self) -> VecEnvStepReturn:
        """Steps all users."""
        observations, paid, terminated, truncated, infos = self.env.step(self._actions)
        rewards = np.asarray(paid, dtype=np.float32)
        self._returns += rewards
        self._lengths += 1
        done = terminated | truncated
        per_user = _per_user(infos, self.num_envs)
        if np.count_nonzero(done):
            # Beside them, infos may hold those of the next session's reset, as Gymnasium's do.
            last = _per_user(infos.get("final_info", {}), self.num_envs)
            for i in np.flatnonzero(done).tolist():
                per_user[i].update(last[i])
                per_user[i]["terminal_observation"] = infos["final_obs"][i]
                per_user[i]["TimeLimit.truncated"] = bool(truncated[i] and not terminated[i])
                per_user[i]["episode"] = self._episode(i, per_user[i])
            self._returns[done], self._lengths[done] = 0, 0
        return observations, rewards, done, per_user

    def get_state(self) -> State:
        """The vector environment's state and the running sums, see :mod:`recsim_envs.state`."""
        return {
            "returns": self._returns.copy(),
            "lengths": self._lengths.copy(),
            "env": get_state(self.env),
        }

    def set_state(self, state: State) -> None:
        """Continues where the environment was that returned ``state``; a step must not be open."""
        set_state(self.env, state["env"])
        self._returns[:], self._lengths[:] = state["returns"], state["lengths"]

    def get_images(self) -> list[NDArray[np.uint8] | None]:
        """Each user's frame, where the vector environment has ``render_mode="rgb_array"``."""
        frames: Any = self.env.render()
        return list(frames or ())

    def close(self) -> None:
        """Closes the vector environment."""
        self.env.close()

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """Each user's attribute; one that belongs to the vector environment is every user's."""
        owner = self._owner(attr_name)
        if isinstance(owner, SyncVectorEnv | AsyncVectorEnv) and not hasattr(owner, attr_name):
            values = owner.get_attr(attr_name)
        else:
            values = (getattr(owner, attr_name),) * self.num_envs
        return [values[i] for i in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Sets an attribute for all users."""
        if indices is not None:
            raise ValueError(f"indices={indices}: the users share one environment; use None")
        setattr(self._owner(attr_name), attr_name, value)

    def env_method(
        self,
        method_name: str,
        *method_args: Any,
        indices: VecEnvIndices = None,
        **method_kwargs: Any,
    ) -> list[Any]:
        """Calls a batched method such as ``action_masks`` and returns its rows."""
        owner = self._owner(method_name)
        if isinstance(owner, SyncVectorEnv | AsyncVectorEnv) and not hasattr(owner, method_name):
            rows = owner.call(method_name, *method_args, **method_kwargs)
        else:
            rows = getattr(owner, method_name)(*method_args, **method_kwargs)
        return [rows[i] for i in self._get_indices(indices)]

    def env_is_wrapped(
        self, wrapper_class: type[gym.Wrapper[Any, Any, Any, Any]], indices: VecEnvIndices = None
    ) -> list[bool]:
        """True for SB3's ``Monitor``, as whose it counts; nothing is known of others around a user.

        SB3 asks before it reads Return and Length from ``episode``.
        """
        return [wrapper_class is Monitor for _ in self._get_indices(indices)]

    def seed(self, seed: int | None = None) -> Sequence[int | None]:
        """Seeds the generator that all users share, from the next reset on."""
        self._seeds = [seed] * self.num_envs
        return self._seeds

    def _episode(self, i: int, info: dict[str, Any]) -> dict[str, Any]:
        """What SB3's monitors say of a session that has ended, and ``distinct``."""
        episode = {
            "r": float(self._returns[i]),
            "l": int(self._lengths[i]),
            "t": round(time.time() - self._started, 6),
        }
        if "distinct" in info:
            episode["distinct"] = info["distinct"]
        return episode

    def _owner(self, name: str) -> gym.vector.VectorEnv[Any, Any, Any]:
        """The outermost layer that has the attribute: vector wrappers forward none."""
        layer = self.env
        while isinstance(layer, VectorWrapper) and not hasattr(layer, name):
            layer = layer.env
        return layer


def _per_user(infos: dict[str, Any], n: int) -> list[dict[str, Any]]:
    """Splits what Gymnasium calls vector infos, arrays beside masks, into one dict a user."""
    whole, parts = {}, {}
    for key, values in infos.items():
        if key.startswith("_") or key in ("final_obs", "final_info"):
            continue
        rows = _per_user(values, n) if isinstance(values, dict) else _as_list(values)
        mask = infos.get(f"_{key}")
        if mask is None or False not in mask.tolist():  # faster than all() where there are few
            whole[key] = rows
        else:
            parts[key] = rows, np.flatnonzero(mask).tolist()
    if whole:
        names = tuple(whole)
        columns = zip(*whole.values(), strict=True)
        per_user = [dict(zip(names, row, strict=True)) for row in columns]
    else:
        per_user = [{} for _ in range(n)]
    for key, (rows, users) in parts.items():
        for i in users:
            per_user[i][key] = rows[i]
    return per_user


def _as_list(values: NDArray[Any]) -> list[Any]:
    # Scalars as Python's own, which SB3's monitors write and compare; a user's array stays one.
    return values.tolist() if values.ndim == 1 else list(values)
