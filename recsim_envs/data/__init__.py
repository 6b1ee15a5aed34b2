"""Data: one schema, the readers of published and of own tables, and the folders on disk."""
