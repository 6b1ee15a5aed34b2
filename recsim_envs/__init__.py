"""Gymnasium environments for reinforcement learning in recommender systems.

Importing this package registers ``recsim/LFM-v0``, ``recsim/Industry-v0`` and ``recsim/Coat-v0``::

    import gymnasium as gym
    import recsim_envs

    env = gym.make("recsim/LFM-v0")
    users = gym.make_vec("recsim/LFM-v0", num_envs=256)  # one reward-model call a step
"""

import gymnasium as gym

__version__ = "0.1.0"

gym.register(
    id="recsim/LFM-v0",
    entry_point="recsim_envs.lfm:LFMEnv",
    vector_entry_point="recsim_envs.lfm:LFMVectorEnv",
)
gym.register(
    id="recsim/Industry-v0",
    entry_point="recsim_envs.industry:IndustryEnv",
    vector_entry_point="recsim_envs.industry:IndustryVectorEnv",
)
gym.register(
    id="recsim/Coat-v0",
    entry_point="recsim_envs.coat:CoatEnv",
    vector_entry_point="recsim_envs.coat:CoatVectorEnv",
)
