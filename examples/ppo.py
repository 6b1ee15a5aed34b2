"""Stable-Baselines3's PPO with a features extractor of your own.

    python -m examples.ppo

prints, before and after the training, the mean Return and Length of sessions on the test split. The
users are a replica.
"""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn

import recsim_envs  # noqa: F401  registers the environments
from recsim_envs.sb3 import BatchedVecEnv

ENV_ID = "recsim/Industry-v0"


class GRUExtractor(BaseFeaturesExtractor):
    """A recurrent network over the session's items.

    Args:
        observation_space: ``Box(0, n_items, (H,))`` of item ids, left-padded with ``n_items``.
        dim: d, the size of the item vectors and of the features.
    """

    def __init__(self, observation_space: spaces.Box, dim: int = 64) -> None:
        super().__init__(observation_space, dim)
        padding = int(observation_space.high.max())
        self.items = nn.Embedding(padding + 1, dim, padding_idx=padding)
        self.gru = nn.GRU(dim, dim, batch_first=True)

    def forward(self, histories: Tensor) -> Tensor:
        """Maps (B, H) item ids, which SB3 hands over as floats, to (B, d) features."""
        _, state = self.gru(self.items(histories.long()))  # (1, B, d)
        features: Tensor = state[0]
        return features


def main(steps: int = 50_000, n_users: int = 64, seed: int = 0) -> dict[str, tuple[float, float]]:
    """Trains, and plays sessions on the test split before and after.

    Args:
        steps: recommendations to train with.
        n_users: users stepped together.
        seed: of the users and of the agent.

    Returns:
        Mean Return and Length, before and after.
    """
    torch.set_num_threads(1)
    model = PPO(
        "MlpPolicy",
        BatchedVecEnv(gym.make_vec(ENV_ID, num_envs=n_users)),
        learning_rate=3e-3,
        n_steps=12,  # the longest session
        batch_size=256,
        n_epochs=4,
        gamma=0.9,
        ent_coef=0.01,
        # net_arch=[]: the heads stand directly on the extractor.
        policy_kwargs={"features_extractor_class": GRUExtractor, "net_arch": []},
        seed=seed,
        device="cpu",
    )
    test = BatchedVecEnv(gym.make_vec(ENV_ID, num_envs=n_users, split="test"))
    print(test.get_attr("dataset")[0])
    results = {}
    for moment in ("before", "after"):
        if moment == "after":
            model.learn(steps)
        test.seed(seed)
        played = evaluate_policy(
            model, test, n_eval_episodes=200, deterministic=False, return_episode_rewards=True
        )
        results[moment] = return_, length = float(np.mean(played[0])), float(np.mean(played[1]))
        print(f"{moment:6}: Return {return_:.2f}, Length {length:.2f}")
    return results


if __name__ == "__main__":
    main()
