"""What an agent is on disk: pre-trained policies, SB3's save and load, and checkpoints."""
