"""Builds the replicas that the package ships, reward models included (``make replicas``)."""

from __future__ import annotations

import functools

import numpy as np
import torch
import tyro

from recsim_envs.data.store import REPLICAS
from recsim_envs.rewards.prepare import prepare
from tools.replica import generate_coat, generate_industry, generate_lfm


def main(seed: int = 0) -> None:
    """Generates all three and fits their models; some minutes.

    Args:
        seed: of the generators and of everything fitted.
    """
    torch.set_num_threads(1)
    coat, truth = generate_coat(seed)
    prepare(coat, REPLICAS / "coat", truth=truth.astype(np.float32), seed=seed)
    # Narrower than real data's models, for these are part of every download. Industry's projects
    # take more to tell apart than the artists of music, which has three times the items.
    narrow = functools.partial(prepare, seed=seed, embedding_dim=16)
    narrow(generate_industry(seed), REPLICAS / "industry", similarity_dim=80)
    narrow(generate_lfm(seed), REPLICAS / "lfm", similarity_dim=32)


if __name__ == "__main__":
    tyro.cli(main)
