"""PG: REINFORCE, the paper's policy-gradient baseline."""

from ialp_agents.pg.pg import PG

__all__ = ["PG"]
