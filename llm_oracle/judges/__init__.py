"""The judges: two simple ones, and the one that asks a language model."""
