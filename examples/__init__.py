"""Agents that are not ours on the environments: one script each, see its first lines."""
