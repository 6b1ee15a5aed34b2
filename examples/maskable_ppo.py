"""sb3-contrib's MaskablePPO: no item twice in a session, by the environment's action masks.

    python -m examples.maskable_ppo

prints, before and after the training, the mean Return, Length and share of distinct items of
sessions on the test split. The users are a replica. Needs ``pip install sb3-contrib``.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from sb3_contrib import MaskablePPO
from sb3_contrib.common.maskable.evaluation import evaluate_policy

import recsim_envs  # noqa: F401  registers the environments
from ialp_agents import SASRecExtractor
from recsim_envs.sb3 import BatchedVecEnv


def make_users(n: int, split: str) -> BatchedVecEnv:
    """Makes users whose ``action_masks()`` leave out the items already shown."""
    users = gym.make_vec("recsim/Industry-v0", num_envs=n, split=split, repeats="mask")
    return BatchedVecEnv(users)


def play(model: MaskablePPO, users: BatchedVecEnv, sessions: int = 200) -> tuple[float, ...]:
    """Returns the mean Return, Length and share of distinct items of ``sessions`` sessions."""
    distinct: list[float] = []

    def watch(loop: dict[str, Any], _: dict[str, Any]) -> None:
        if loop["done"]:
            distinct.append(loop["info"]["distinct"])

    returns, lengths = evaluate_policy(
        model, users, sessions, callback=watch, return_episode_rewards=True
    )
    return float(np.mean(returns)), float(np.mean(lengths)), float(np.mean(distinct))


def main(steps: int = 50_000, n_users: int = 64, seed: int = 0) -> dict[str, tuple[float, ...]]:
    """Trains, and plays sessions on the test split before and after.

    Args:
        steps: recommendations to train with.
        n_users: users stepped together.
        seed: of the users and of the agent.

    Returns:
        Mean Return, Length and share of distinct items, before and after.
    """
    torch.set_num_threads(1)
    model = MaskablePPO(
        "MlpPolicy",
        make_users(n_users, "train"),
        learning_rate=3e-3,
        n_steps=12,
        batch_size=256,
        n_epochs=4,
        gamma=0.9,
        ent_coef=0.01,
        policy_kwargs={"features_extractor_class": SASRecExtractor, "net_arch": []},
        seed=seed,
        device="cpu",
    )
    test = make_users(n_users, "test")
    print(test.get_attr("dataset")[0])
    results = {}
    for moment in ("before", "after"):
        if moment == "after":
            model.learn(steps)
        test.seed(seed)
        results[moment] = play(model, test)
        print(
            "{:6}: Return {:.2f}, Length {:.2f}, distinct {:.2f}".format(moment, *results[moment])
        )
    return results


if __name__ == "__main__":
    main()
