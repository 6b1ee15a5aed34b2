"""Replicas."""

from recsim_envs.replica.catalogues import generate_industry, generate_lfm
from recsim_envs.replica.coat import generate_coat

__all__ = ["generate_coat", "generate_industry", "generate_lfm"]
