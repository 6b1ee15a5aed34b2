"""Rewards learned from data: the models, how they are fitted, and how good they are."""
