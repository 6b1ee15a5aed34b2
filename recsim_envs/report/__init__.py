"""How good a simulator is, and what wins it: reference policies and ``recsim env-report``."""
