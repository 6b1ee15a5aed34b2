"""Your own data, from a folder of files to an agent's Return.

    python -m examples.own_data FOLDER --text title brand

reads what docs/own-data.md says is recognised, fits the reward models, and pre-trains iALP with the
judge that needs no language model. It prints HR@10 of the reward models, and the mean Return and
Length of iALP's sessions on the test split before and after.
"""

from __future__ import annotations

from pathlib import Path

import gymnasium as gym
import numpy as np
import torch
import tyro
from stable_baselines3.common.evaluation import evaluate_policy

import recsim_envs  # noqa: F401  registers the environments
from ialp_agents import IALP
from llm_oracle import LLMOracleVectorEnv
from llm_oracle.judges.simple import TfidfJudge
from recsim_envs.data.store import data_home
from recsim_envs.data.tables import import_tables
from recsim_envs.data.text import text_features
from recsim_envs.rewards.card import print_account
from recsim_envs.rewards.prepare import prepare
from recsim_envs.sb3 import BatchedVecEnv

ENV_IDS = {"music": "recsim/LFM-v0", "products": "recsim/Industry-v0"}


def main(
    folder: tyro.conf.Positional[Path],
    name: str = "own-data",
    text: tuple[str, ...] = (),
    verdicts: int = 640,
    sessions: int = 200,
    max_epochs: int = 100,
) -> dict[str, float]:
    """Prepares, pre-trains and plays.

    Args:
        folder: with the files.
        name: of the prepared data.
        text: the item columns that a judge reads; default those of the format.
        verdicts: how often the judge is asked.
        sessions: how many are played to evaluate.
        max_epochs: most passes over the sequences in a fit.

    Returns:
        Return before and after, and HR@10 of the training reward model.
    """
    torch.set_num_threads(1)
    dataset = import_tables(folder, name, text=text)
    print_account(dataset.account)
    card = prepare(dataset, data_home() / name, max_epochs=max_epochs)
    results = {}
    for part, model in card["models"].items():
        results[part] = model["held_out_last_items"]["hr_at_10"]
        print(f"reward model {part}: HR@10 {results[part]:.3f}")
    env_id = ENV_IDS[dataset.scenario]
    users = gym.make_vec(env_id, num_envs=16, data=name, leaves=False)
    texts = {"embedding_dim": 64, "item_features": text_features(dataset, dim=64)}
    ialp = IALP(
        "SASRecPolicy",
        BatchedVecEnv(LLMOracleVectorEnv(users, TfidfJudge(dataset), k=10)),
        policy_kwargs={"features_extractor_kwargs": texts},
        seed=0,
    )
    test = BatchedVecEnv(gym.make_vec(env_id, num_envs=16, data=name, split="test"))
    for moment in ("before", "after"):
        if moment == "after":
            ialp.learn(verdicts)
        test.seed(0)
        played = evaluate_policy(
            ialp.recommender, test, n_eval_episodes=sessions, return_episode_rewards=True
        )
        results[moment] = float(np.mean(played[0]))
        print(f"{moment:6}: Return {results[moment]:.2f}, Length {np.mean(played[1]):.2f}")
    return results


if __name__ == "__main__":
    tyro.cli(main)
