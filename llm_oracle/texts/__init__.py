"""What a language model reads: items, users and the question, in words."""
