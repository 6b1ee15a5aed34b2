"""The errors of what is read: a user's tables, and files that recsim wrote earlier."""

from __future__ import annotations


class DataError(ValueError):
    """Bad input data; the message names the place and the fix."""


class DamagedFileError(DataError):
    """A file whose content is not what was written into it."""
