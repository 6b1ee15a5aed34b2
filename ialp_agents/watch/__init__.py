"""A local page on which two policies are watched with the same user: ``python -m`` runs it."""
