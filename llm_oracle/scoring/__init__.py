"""The ways in which a language model's answer becomes a score for each candidate."""
