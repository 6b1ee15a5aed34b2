"""Tianshou collects and learns on the ids: `make test-clients` installs it."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip("tianshou", reason="tianshou is not installed: run `make test-clients`")
pytestmark = pytest.mark.filterwarnings("ignore")  # of tianshou's own making

import recsim_envs  # noqa: E402, F401  (registers the ids)

IDS = [spec.id for spec in gym.registry.values() if spec.namespace == "recsim"]


class QNetwork(nn.Module):
    """Q-values of all items after the newest one."""

    def __init__(self, n_items):
        super().__init__()
        self.n_items = n_items
        self.q = nn.Embedding(n_items + 1, n_items)

    def forward(self, obs, state=None, info=None):
        history = obs["history"] if "history" in obs else obs
        return self.q(torch.as_tensor(np.asarray(history)[:, -1]).long()), state


@pytest.mark.parametrize("workers", ["DummyVectorEnv", "SubprocVectorEnv"])
@pytest.mark.parametrize("env_id", IDS)
def test_tianshou_collects_and_learns(env_id, workers):
    from tianshou import env as tianshou_env
    from tianshou.data import Collector, VectorReplayBuffer
    from tianshou.policy import DQNPolicy

    users = getattr(tianshou_env, workers)(
        [lambda: gym.make(f"recsim_envs:{env_id}", max_steps=5) for _ in range(2)]
    )
    try:
        n_items = users.action_space[0].n
        network = QNetwork(int(n_items))
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
        policy = DQNPolicy(network, optimizer, target_update_freq=10)
        collector = Collector(policy, users, VectorReplayBuffer(100, 2))
        result = collector.collect(n_step=40, random=True)
        assert result["n/st"] == 40 and result["n/ep"] >= 8
        batch, _ = collector.buffer.sample(0)
        assert (batch.info["item"] == batch.act).all(), "an info is not that of its step"
        losses = policy.update(16, collector.buffer)
        assert np.isfinite(losses["loss"])
        assert collector.collect(n_episode=4)["n/ep"] == 4
    finally:
        users.close()
