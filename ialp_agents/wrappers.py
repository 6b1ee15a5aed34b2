"""Which of SB3's wrappers sessions of items can't bear."""

from __future__ import annotations

from typing import Any

from stable_baselines3.common.vec_env import VecEnvWrapper, VecFrameStack, VecNormalize


def check_wrappers(env: Any) -> None:
    """Refuses wrappers that change item ids, which the observation space may not show.

    Args:
        env: of an agent; what is no wrapper of a ``VecEnv`` is not looked at.

    Raises:
        ValueError: for ``VecNormalize(norm_obs=True)`` or ``VecFrameStack`` around ``env``.
    """
    while isinstance(env, VecEnvWrapper):
        if isinstance(env, VecNormalize) and env.norm_obs:
            raise ValueError(
                "env is in VecNormalize(norm_obs=True), which would scale item ids as if they "
                "were quantities: set norm_obs=False (norm_reward=True is fine)"
            )
        if isinstance(env, VecFrameStack):
            raise ValueError(
                "env is in VecFrameStack, which would put histories side by side: leave it out (a "
                "history is no image: it holds the session's latest items already)"
            )
        env = env.venv
