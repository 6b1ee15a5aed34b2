"""A-iALP: a pre-trained iALP agent that adapts to its users (Algorithm 2)."""

from ialp_agents.aialp.aialp import AIALP

__all__ = ["AIALP"]
