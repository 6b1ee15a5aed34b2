"""Replay buffers that remember which item of an agent's proposal the user was shown."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.buffers import DictReplayBuffer, ReplayBuffer


class _ItemActions:
    """Mixed in before an SB3 replay buffer: stores the item shown first, then the others.

    An agent may propose a slate of k items, of which a judge takes one, ``info["item"]``; what the
    actor and the critic learn from is the item taken. Where ``info["pick"]`` is -1, the judge took
    none, or is missing, the slate says nothing of how its candidates compare: it is stored as k
    times the item shown.
    """

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
        k = slates.shape[1]
        if k > 1 and not all("item" in info for info in infos):
            raise KeyError(
                'info["item"] is missing: an environment that takes slates must name the item shown'
            )
        stored = np.empty_like(slates)  # (N, k)
        for row, (info, slate) in enumerate(zip(infos, slates, strict=True)):
            item = info.get("item", slate[0])
            stored[row] = item
            if info.get("pick", -1) >= 0:
                stored[row, 1:] = slate[np.flatnonzero(slate != item)[: k - 1]]
        super().add(obs, next_obs, stored, reward, done, infos)  # type: ignore[misc]


class ItemReplayBuffer(_ItemActions, ReplayBuffer):
    """SB3's ReplayBuffer for ``Box`` observations, the item shown first in the action."""


class DictItemReplayBuffer(_ItemActions, DictReplayBuffer):
    """SB3's DictReplayBuffer for ``Dict`` observations, the item shown first in the action."""
