"""Gymnasium environments for reinforcement learning in recommender systems.

Importing this package registers ``recsim/LFM-v0``, ``recsim/Industry-v0`` and ``recsim/Coat-v0``::

    import gymnasium as gym
    import recsim_envs

    env = gym.make("recsim/LFM-v0")
    users = gym.make_vec("recsim/LFM-v0", num_envs=256)  # one reward-model call a step
"""

import gymnasium as gym

__version__ = "0.1.0"

for _name, _module in (("LFM", "lfm"), ("Industry", "industry"), ("Coat", "coat")):
    gym.register(
        id=f"recsim/{_name}-v0",
        entry_point=f"recsim_envs.{_module}:{_name}Env",
        vector_entry_point=f"recsim_envs.{_module}:{_name}VectorEnv",
    )
