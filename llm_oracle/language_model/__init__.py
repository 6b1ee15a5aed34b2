"""A causal language model, in this process or behind a server, and what its numbers are worth."""
