"""Learns offline, with d3rlpy's discrete CQL, from a Minari data set of a judge's verdicts.

    recsim export-minari runs/.../interactions.safetensors my-shop/smollm2-v0
    python -m examples.offline_cql my-shop/smollm2-v0

prints the mean Return of sessions on the test split, before and after. For LFM and Industry, whose
observations are arrays. d3rlpy is installed as `make test-clients` does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import d3rlpy
import minari
import numpy as np
import torch
import tyro
from d3rlpy.logging import NoopAdapterFactory
from d3rlpy.models.encoders import EncoderFactory
from torch import Tensor, nn


class Histories(nn.Module):
    """Item ids, (B, H), to the mean of their vectors: ids are names, not quantities."""

    def __init__(self, n_items: int, dim: int) -> None:
        super().__init__()
        self.n_items = n_items
        self.items = nn.Embedding(n_items + 1, dim, padding_idx=n_items)

    def forward(self, histories: Tensor) -> Tensor:
        """Returns (B, dim)."""
        ids = histories.long()
        n = ids.ne(self.n_items).sum(1, keepdim=True).clamp(min=1)
        mean: Tensor = self.items(ids).sum(1) / n
        return mean


@dataclass()
class HistoriesFactory(EncoderFactory):  # type: ignore[misc]  # d3rlpy may not be installed
    """Tells d3rlpy to use :class:`Histories`."""

    n_items: int
    dim: int = 64

    def create(self, observation_shape: Any) -> Histories:
        """Returns a new encoder."""
        return Histories(self.n_items, self.dim)

    @staticmethod
    def get_type() -> str:
        """Its name in d3rlpy's files."""
        return "histories"


def main(
    name: tyro.conf.Positional[str], n_steps: int = 2_000, sessions: int = 100, seed: int = 0
) -> tuple[float, float]:
    """Learns, and returns the mean Return on the test split, before and after."""
    torch.set_num_threads(1)
    d3rlpy.seed(seed)
    recorded = minari.load_dataset(name)
    episodes = list(recorded)
    # Not d3rlpy.datasets.get_minari: 2.8 wants a registered length cap, and takes L + 1
    # observations for L actions of an episode: later actions stand beside other observations.
    data = d3rlpy.dataset.MDPDataset(
        observations=np.concatenate([episode.observations[:-1] for episode in episodes]),
        actions=np.concatenate([episode.actions for episode in episodes]),
        rewards=np.concatenate([episode.rewards for episode in episodes]),
        terminals=np.concatenate([episode.terminations for episode in episodes]),
        timeouts=np.concatenate([episode.truncations for episode in episodes]),
        action_space=d3rlpy.ActionSpace.DISCRETE,
        action_size=int(recorded.action_space.n),
    )
    config = d3rlpy.algos.DiscreteCQLConfig(
        gamma=0.9, encoder_factory=HistoriesFactory(int(recorded.action_space.n))
    )
    cql = config.create(device="cpu")
    cql.build_with_dataset(data)
    users = recorded.recover_environment(eval_env=True)
    before = play(cql, users, sessions, seed)
    cql.fit(
        data,
        n_steps=n_steps,
        n_steps_per_epoch=n_steps,
        logger_adapter=NoopAdapterFactory(),
        show_progress=False,
    )
    after = play(cql, users, sessions, seed)
    print(f"before: Return {before:.2f}\nafter : Return {after:.2f}")
    return before, after


def play(agent: Any, users: Any, sessions: int, seed: int) -> float:
    """Returns the mean Return of sessions with users whom no judge stands in for."""
    total = 0.0
    for session in range(sessions):
        observation, _ = users.reset(seed=seed + session)
        over = False
        while not over:
            (item,) = agent.predict(observation[None])
            observation, reward, terminated, truncated, _ = users.step(item)
            total, over = total + reward, terminated or truncated
    return total / sessions


if __name__ == "__main__":
    tyro.cli(main)
