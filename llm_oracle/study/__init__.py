"""How good a judge is, and how it is tuned."""
