"""The state of an environment as plain data, so that a stopped run goes on where it was.

An environment that can be stopped has two methods. ``get_state()`` returns a dict (nested as you
like) of arrays, lists, numbers, strings, booleans and None, in which nothing is shared with the
environment. ``set_state(state)`` takes it back, after a ``reset()``: the environment then continues
bit for bit as the one that returned it. All of recsim's environments have them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gymnasium.wrappers import OrderEnforcing, PassiveEnvChecker, TimeLimit

State = dict[str, Any]

# What gym.make() wraps around an environment, and what each wrapper remembers of the session.
WRAPPERS: dict[type, tuple[str, ...]] = {
    OrderEnforcing: (),
    PassiveEnvChecker: (),
    TimeLimit: ("_elapsed_steps",),
}


def get_state(env: Any) -> State:
    """Returns the state of an environment and of ``gym.make``'s wrappers around it.

    Args:
        env: a Gymnasium environment or vector environment.

    Raises:
        TypeError: if the environment, or another wrapper around it, has not the two methods.
    """
    if type(env) in WRAPPERS:
        kept = {name: getattr(env, name) for name in WRAPPERS[type(env)]}
        return {**kept, "env": get_state(env.env)}
    check_has_state(env)
    state: State = env.get_state()
    return state


def set_state(env: Any, state: State) -> None:
    """Takes back what :func:`get_state` returned.

    Args:
        env: an environment made with the same arguments, in the same wrappers, that was reset.
        state: what :func:`get_state` returned.

    Raises:
        TypeError: as :func:`get_state`.
        ValueError: if the environment was made with other arguments.
    """
    if type(env) in WRAPPERS:
        for name in WRAPPERS[type(env)]:
            setattr(env, name, state[name])
        set_state(env.env, state["env"])
        return
    check_has_state(env)
    env.set_state(state)


def check_has_state(env: Any) -> None:
    """Raises TypeError if ``env`` has not the two methods itself (a wrapper may forward them)."""
    for name in ("get_state", "set_state"):
        if not hasattr(type(env), name):
            raise TypeError(
                f"{type(env).__name__} cannot be stopped and continued, as it has no {name}(): "
                "add get_state() and set_state() (see recsim_envs.state), or leave the wrapper out"
            )


def check_settings(saved: Mapping[str, Any], own: Mapping[str, Any], owner: str) -> None:
    """Raises ValueError, naming both values, where what was saved was set otherwise.

    Args:
        saved: the settings in a saved state, by name.
        own: those of the object that is to take it.
        owner: what the object is, for the message.
    """
    names = [name for name in {**saved, **own} if saved.get(name) != own.get(name)]
    if names:
        theirs = ", ".join(f"{name}={saved.get(name)!r}" for name in names)
        ours = ", ".join(f"{name}={own.get(name)!r}" for name in names)
        raise ValueError(
            f"the saved state has {theirs}, but {owner} has {ours}: make it with the saved values"
        )
