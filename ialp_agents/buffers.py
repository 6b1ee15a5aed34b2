"""Replay buffers that remember the one item the user was shown, whatever the agent proposed."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.buffers import DictReplayBuffer, ReplayBuffer

from ialp_agents.spaces import item_space


class _ItemActions:
    """Mixed in before an SB3 replay buffer: stores ``info["item"]``, or else the action.

    An agent may propose a slate of k items, of which a judge takes one; what the actor and the
    critic learn from is the item taken.
    """

    def __init__(
        self,
        buffer_size: int,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        *args: Any,
        **kwargs: Any,
    ) -> None:
        super().__init__(  # type: ignore[call-arg]
            buffer_size, observation_space, item_space(action_space), *args, **kwargs
        )

    def add(
        self,
        obs: Any,
        next_obs: Any,
        action: NDArray[Any],
        reward: NDArray[Any],
        done: NDArray[Any],
        infos: list[dict[str, Any]],
    ) -> None:
        """Adds one step of every environment.

        Args:
            obs: what was seen, (N, H) or a dict of (N, ...).
            next_obs: what was seen after it; a session's last observation where it ended.
            action: (N,) items or (N, k) slates.
            reward: (N,).
            done: (N,).
            infos: N dicts; ``item`` is the item shown, and must be there if the action is a slate.

        Raises:
            KeyError: if the action is a slate and an ``info`` does not name the item taken.
        """
        slates = action.reshape(len(infos), -1)  # (N, k)
        if slates.shape[1] > 1 and not all("item" in info for info in infos):
            raise KeyError(
                'info["item"] is missing: an environment that takes slates must name the item shown'
            )
        items = [info.get("item", slate[0]) for info, slate in zip(infos, slates, strict=True)]
        super().add(obs, next_obs, np.array(items), reward, done, infos)  # type: ignore[misc]


class ItemReplayBuffer(_ItemActions, ReplayBuffer):
    """SB3's ReplayBuffer for ``Box`` observations, with the item shown as the action."""


class DictItemReplayBuffer(_ItemActions, DictReplayBuffer):
    """SB3's DictReplayBuffer for ``Dict`` observations, with the item shown as the action."""
