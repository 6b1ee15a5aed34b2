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
        self.q = nn.Sequential(nn.Embedding(n_items + 1, 8), nn.Linear(8, n_items))

    def forward(self, obs, state=None, info=None):
        history = obs if isinstance(obs, np.ndarray) else obs["history"]
        return self.q(torch.as_tensor(history)[:, -1].long()), state


@pytest.mark.parametrize("workers", ["DummyVectorEnv", "SubprocVectorEnv"])
@pytest.mark.parametrize("env_id", IDS)
def test_tianshou_collects_and_learns(env_id, workers):
    from tianshou import env as tianshou_env
    from tianshou.algorithm.algorithm_base import policy_within_training_step
    from tianshou.algorithm.modelfree.dqn import DQN, DiscreteQLearningPolicy
    from tianshou.algorithm.optim import AdamOptimizerFactory
    from tianshou.data import Collector, VectorReplayBuffer

    users = getattr(tianshou_env, workers)(
        [lambda: gym.make(f"recsim_envs:{env_id}", max_steps=5) for _ in range(2)]
    )
    try:
        space = users.action_space[0]
        policy = DiscreteQLearningPolicy(model=QNetwork(int(space.n)), action_space=space)
        agent = DQN(policy=policy, optim=AdamOptimizerFactory(lr=1e-3))
        collector = Collector(agent, users, VectorReplayBuffer(100, 2))
        collector.reset()
        result = collector.collect(n_step=40, random=True)
        assert result.n_collected_steps == 40 and result.n_collected_episodes >= 8
        batch, _ = collector.buffer.sample(0)
        assert (batch.info["item"] == batch.act).all(), "an info is not that of its step"
        with policy_within_training_step(agent.policy):
            assert np.isfinite(agent.update(collector.buffer, sample_size=16).loss)
        assert collector.collect(n_episode=4).n_collected_episodes == 4
    finally:
        users.close()
