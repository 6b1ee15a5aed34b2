"""Simulated users: what they answer, and when they leave."""
