"""The state of Stable-Baselines3's own wrappers, around what ``recsim_envs.state`` knows."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor

from recsim_envs.state import State, get_state, set_state

# Of the session under way; the lists of all sessions that Monitor also keeps decide nothing.
MONITORS: dict[type, tuple[str, ...]] = {
    Monitor: ("rewards", "needs_reset", "total_steps"),
    VecMonitor: ("episode_returns", "episode_lengths", "episode_count"),
}


def get_vec_state(env: Any) -> State:
    """Returns the state of a VecEnv.

    Args:
        env: one with the two methods of :mod:`recsim_envs.state`, such as recsim's
            ``BatchedVecEnv``; or a ``DummyVecEnv`` of environments that have them; or either in a
            ``VecMonitor``.

    Raises:
        TypeError: for another one.
    """
    if type(env) in MONITORS:
        kept = {name: deepcopy(getattr(env, name)) for name in MONITORS[type(env)]}
        return {**kept, "env": get_vec_state(_inside(env))}
    if type(env) is DummyVecEnv:
        return {"envs": [get_vec_state(inner) for inner in env.envs]}
    return get_state(env)


def set_vec_state(env: Any, state: State) -> None:
    """Takes back what :func:`get_vec_state` returned for such a VecEnv.

    Raises:
        TypeError: as :func:`get_vec_state`.
        ValueError: if the environment was made with other arguments.
    """
    if type(env) in MONITORS:
        for name in MONITORS[type(env)]:
            setattr(env, name, state[name])
        set_vec_state(_inside(env), state["env"])
    elif type(env) is DummyVecEnv:
        for inner, saved in zip(env.envs, state["envs"], strict=True):
            set_vec_state(inner, saved)
    else:
        set_state(env, state)


def _inside(env: Monitor | VecMonitor) -> Any:
    return env.env if isinstance(env, Monitor) else env.venv
