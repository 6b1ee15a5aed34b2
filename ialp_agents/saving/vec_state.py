"""The state of Stable-Baselines3's own wrappers, around what ``recsim_envs.state`` knows."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor

from recsim_envs.state import State, get_state, set_state

# Of the session under way; the lists of all sessions that Monitor also keeps decide nothing.
MONITOR = ("rewards", "needs_reset", "total_steps")
VEC_MONITOR = ("episode_returns", "episode_lengths", "episode_count")


def get_vec_state(env: Any) -> State:
    """Returns the state of a VecEnv.

    Args:
        env: one with the two methods of :mod:`recsim_envs.state`, such as recsim's
            ``BatchedVecEnv``; or a ``DummyVecEnv`` of environments that have them; or either in a
            ``VecMonitor``.

    Raises:
        TypeError: for another one.
    """
    if type(env) is VecMonitor:
        return {**_copied(env, VEC_MONITOR), "env": get_vec_state(env.venv)}
    if type(env) is DummyVecEnv:
        return {"envs": [_get_one(inner) for inner in env.envs]}
    return get_state(env)


def set_vec_state(env: Any, state: State) -> None:
    """Takes back what :func:`get_vec_state` returned for such a VecEnv.

    Raises:
        TypeError: as :func:`get_vec_state`.
        ValueError: if the environment was made with other arguments.
    """
    if type(env) is VecMonitor:
        vars(env).update({name: state[name] for name in VEC_MONITOR})
        set_vec_state(env.venv, state["env"])
    elif type(env) is DummyVecEnv:
        for inner, saved in zip(env.envs, state["envs"], strict=True):
            _set_one(inner, saved)
    else:
        set_state(env, state)


def _copied(env: Any, names: tuple[str, ...]) -> State:
    return deepcopy({name: getattr(env, name) for name in names})


def _get_one(env: Any) -> State:
    if type(env) is Monitor:
        return {**_copied(env, MONITOR), "env": get_state(env.env)}
    return get_state(env)


def _set_one(env: Any, state: State) -> None:
    if type(env) is Monitor:
        vars(env).update({name: state[name] for name in MONITOR})
        env = env.env
        state = state["env"]
    set_state(env, state)
