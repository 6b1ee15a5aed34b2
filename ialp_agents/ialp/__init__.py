"""iALP: an actor-critic agent that a judge's choices pre-train (Algorithm 1)."""

from ialp_agents.ialp.ialp import IALP

__all__ = ["IALP"]
