"""What the agents log of sessions beside SB3's means of Return and Length."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
from stable_baselines3.common.logger import Logger


def record_sessions(logger: Logger, episodes: Collection[dict[str, Any]] | None) -> None:
    """Records ``rollout/R_avg`` and, where the sessions name it, ``rollout/distinct``.

    R_avg is the paper's Return / Length, of the sums over the window: a mean of each session's own
    ratio would weigh a step of a short session more.

    Args:
        logger: of the algorithm.
        episodes: SB3's ``ep_info_buffer``, the latest sessions.
    """
    if not episodes:
        return
    rewards, steps = (sum(episode[key] for episode in episodes) for key in ("r", "l"))
    logger.record("rollout/R_avg", float(rewards / steps))
    distinct = [episode["distinct"] for episode in episodes if "distinct" in episode]
    if distinct:
        logger.record("rollout/distinct", float(np.mean(distinct)))
