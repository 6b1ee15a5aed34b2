"""Readers of the files that people have, one module a publisher's format."""
