"""The agents of the comparison, built alike: same encoder, same text features, same budget."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3 import A2C, DQN
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from ialp_agents import AIALP, IALP, PG, SASRecActorCriticPolicy, SASRecExtractor

ONLINE_AGENTS = ("DQN", "PG", "A2C", "A-iALP_ft", "A-iALP_ap")
GAMMA = 0.9
"""Discount factor of every agent (not given in the paper)."""
BATCH_SIZE = 128
"""Transitions a gradient step of every agent with a replay buffer (not given in the paper)."""


def make_ialp(
    env: VecEnv,
    features: NDArray[np.float32] | None,
    updates: int,
    seed: int,
    policy: dict[str, Any] | None = None,
    **changes: Any,
) -> IALP:
    """IALP for pre-training with a judge.

    Args:
        env: the judge's environment.
        features: (n_items, d) text features that the item vectors start from; None: from random.
        updates: gradient steps after each step of all users.
        seed: of the agent.
        policy: arguments of its policy that differ from the defaults.
        **changes: arguments of IALP that do.
    """
    arguments: dict[str, Any] = {
        "gamma": GAMMA,
        "batch_size": BATCH_SIZE,
        "gradient_steps": updates,
        "policy_kwargs": {"features_extractor_kwargs": {"item_features": features}}
        | (policy or {}),
        "seed": seed,
        "device": "cpu",
    }
    return IALP("SASRecPolicy", env, **(arguments | changes))


def make_online_agent(
    name: str,
    env: VecEnv,
    features: NDArray[np.float32],
    pretrained: Path,
    updates: int,
    seed: int,
    **changes: Any,
) -> BaseAlgorithm:
    """One of :data:`ONLINE_AGENTS` on an environment of users.

    Args:
        name: which.
        env: the users.
        features: (n_items, d) text features that the item embeddings start from.
        pretrained: folder of the pre-trained iALP policy, read by the A-iALP agents.
        updates: gradient steps after each step of all users, for the agents with a replay buffer;
            PG and A2C update once a rollout.
        seed: of the agent.
        **changes: arguments that differ from those here: of an A-iALP agent, or of A2C's policy.
    """
    extractor: dict[str, Any] = {"features_extractor_kwargs": {"item_features": features}}
    common: dict[str, Any] = {"gamma": GAMMA, "seed": seed, "device": "cpu"}
    if name == "DQN":
        is_dict = hasattr(env.observation_space, "spaces")
        return DQN(
            "MultiInputPolicy" if is_dict else "MlpPolicy",
            env,
            learning_rate=1e-3,
            buffer_size=100_000,
            learning_starts=500,
            batch_size=BATCH_SIZE,
            train_freq=1,
            gradient_steps=updates,
            target_update_interval=500,
            exploration_fraction=0.5,
            policy_kwargs={
                "features_extractor_class": SASRecExtractor,
                "net_arch": [],
                **extractor,
            },
            **common,
        )
    if name == "PG":
        return PG(SASRecActorCriticPolicy, env, policy_kwargs=extractor, **common)
    if name == "A2C":
        return A2C(SASRecActorCriticPolicy, env, policy_kwargs=extractor | changes, **common)
    arguments: dict[str, Any] = {
        "scheme": "ft" if name == "A-iALP_ft" else "ap",
        "batch_size": BATCH_SIZE,
        "train_freq": 1,
        "gradient_steps": updates,
        **common,
    }
    return AIALP.from_pretrained(pretrained, env, **(arguments | changes))
